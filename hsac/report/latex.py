"""Text for LaTeX: plain ASCII that pdfLaTeX prints as the text reads."""

import re
import unicodedata

# What TeX would take as a command or, in its own font encoding, print as another sign.
ASCII = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    '"': "''",
    "<": "$<$",
    ">": "$>$",
    **{sign: f"\\{sign}" for sign in "{}$&#%_"},
}
SIGNS = {
    "±": "$\\pm$",
    "∓": "$\\mp$",
    "−": "$-$",
    "×": "$\\times$",
    "·": "$\\cdot$",
    "⊕": "$\\oplus$",
    "≤": "$\\leq$",
    "≥": "$\\geq$",
    "≠": "$\\neq$",
    "≈": "$\\approx$",
    "∞": "$\\infty$",
    "√": "$\\surd$",
    "∂": "$\\partial$",
    "∇": "$\\nabla$",
    "∫": "$\\int$",
    "∈": "$\\in$",
    "→": "$\\rightarrow$",
    "←": "$\\leftarrow$",
    "⟨": "$\\langle$",
    "⟩": "$\\rangle$",
    "ℓ": "$\\ell$",
    "°": "$^{\\circ}$",
    "–": "--",
    "—": "---",
    "…": "\\ldots{}",
    "⁄": "/",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "ß": "\\ss{}",
    "ø": "\\o{}",
    "Ø": "\\O{}",
    "ł": "\\l{}",
    "Ł": "\\L{}",
    "æ": "\\ae{}",
    "Æ": "\\AE{}",
}
# Letters that TeX has a command for. Other capitals look like Latin ones.
SMALL = (
    "alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho"
    " varsigma sigma tau upsilon varphi chi psi omega"
)
CAPITAL = "A B \\Gamma \\Delta E Z H \\Theta I K \\Lambda M N \\Xi O \\Pi P"
LATER_CAPITAL = "\\Sigma T \\Upsilon \\Phi X \\Psi \\Omega"
GREEK = {chr(0x3B1 + i): f"\\{name}" for i, name in enumerate(SMALL.split())} | {"ο": "o"}
GREEK |= {chr(0x391 + i): name for i, name in enumerate(CAPITAL.split())}
# U+03A2, between Rho and Sigma, is no letter.
GREEK |= {chr(0x3A3 + i): name for i, name in enumerate(LATER_CAPITAL.split())}
ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
    "\u0328": "k",
}
ACCENTED = re.compile(rf"-(?=-)|(.)([{''.join(ACCENTS)}]*)", re.DOTALL)


def escaped(text: str) -> str:
    """Write text so that LaTeX prints it.

    Args:
        text: Any text.

    Returns:
        ASCII. A character that LaTeX has no command for stands as its code, as in [U+4E2D].
    """
    # Where there is one character for a letter and its accent, it may be one that SIGNS knows.
    composed = unicodedata.normalize("NFC", " ".join(text.split()))
    written = _written(composed)
    # After the end of a row, which comes before a cell, these two would belong to that end.
    return "{}" + written if written.startswith(("[", "*")) else written


def _written(text: str) -> str:
    return ACCENTED.sub(_letter, text)


def _letter(found: re.Match[str]) -> str:
    """Write a letter with the accents after it."""
    letter, accents = found.groups()
    # TeX would join the two hyphens of an option to a dash.
    if letter is None:
        return "-{}"
    written = _character(letter)
    for accent in accents:
        written = rf"\{ACCENTS[accent]}{{{written}}}"
    return written


def _character(letter: str) -> str:
    if letter in GREEK:
        return f"${GREEK[letter]}$"
    if letter in SIGNS:
        return SIGNS[letter]
    if letter.isascii() and letter.isprintable():
        return ASCII.get(letter, letter)
    # Unicode says that é is e and an accent, and that ² is <super> 2.
    codes = unicodedata.decomposition(letter).split()
    kind = codes.pop(0) if codes and codes[0].startswith("<") else ""
    if not codes:
        return f"[U+{ord(letter):04X}]"
    inner = _written("".join(chr(int(code, 16)) for code in codes))
    if kind == "<super>":
        return rf"\textsuperscript{{{inner}}}"
    return rf"\textsubscript{{{inner}}}" if kind == "<sub>" else inner
