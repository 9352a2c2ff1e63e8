"""Text for LaTeX is ASCII, whatever it says."""

import ast
from pathlib import Path

import pandas as pd
import pytest
from smoke_results import small, smoke_results

from hsac.report import tables
from hsac.report.latex import escaped

REPORT = Path(tables.__file__).parent
# All but the list of signs itself, which has accents without a letter.
SOURCES = sorted(path for path in REPORT.glob("*.py") if path.stem != "latex")


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("1 - δ", "1 - $\\delta$"),
        ("ρ and τ", "$\\rho$ and $\\tau$"),
        ("Δ Ω α ω", "$\\Delta$ $\\Omega$ $\\alpha$ $\\omega$"),
        ("Α ο ς", "$A$ $o$ $\\varsigma$"),
        ("93.1 ± 0.4", "93.1 $\\pm$ 0.4"),
        ("−0.4", "$-$0.4"),
        ("0–1", "0--1"),
        ("< 0.001", "$<$ 0.001"),
        ("θ₀ of H⁻¹", "$\\theta$\\textsubscript{0} of H\\textsuperscript{$-$}\\textsuperscript{1}"),
        ("Bécigneul x̂ ≠ ½", "B\\'{e}cigneul \\^{x} $\\neq$ 1/2"),
        ("100 % of a_b & #1 {x} $", "100 \\% of a\\_b \\& \\#1 \\{x\\} \\$"),
        (
            "\\input{x} ~ ^ |",
            "\\textbackslash{}input\\{x\\} \\textasciitilde{} \\textasciicircum{} \\textbar{}",
        ),
        ("--cores", "-{}-cores"),
        ("two\n\nlines", "two lines"),
        ("[0.1, 0.2]", "{}[0.1, 0.2]"),
        ("中\x00", "{}[U+4E2D][U+0000]"),
    ],
)
def test_signs_become_commands(text, want) -> None:
    """A cell that begins with a bracket would be an argument of the row's end before it."""
    assert escaped(text) == want


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_text_has_commands(path) -> None:
    """Each character of each text of the reports has a command, so headings and notes do."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = escaped(node.value)
            assert found.isascii()
            assert "[U+" not in found, node.value


def test_tables_are_ascii(tmp_path, monkeypatch) -> None:
    """Every .tex file of a results folder is ASCII, and its braces are balanced."""
    monkeypatch.chdir(tmp_path)
    results = smoke_results(tmp_path, small())
    written = sorted(results.rglob("*.tex"))
    assert {"digits", "overview", "failures", "coverage", "rank_correlations"} <= {
        path.stem for path in written
    }
    for path in written:
        text = path.read_text(encoding="utf-8")
        assert text.isascii(), path.name
        bare = text.replace("\\\\", "").replace("\\{", "").replace("\\}", "")
        assert bare.count("{") == bare.count("}"), path.name
        assert bare.replace("\\$", "").count("$") % 2 == 0, path.name


def test_headings_and_notes_alike() -> None:
    shown = pd.DataFrame({"Bound at 1 − δ": ["a_b & ρ"], "n": [3]})
    written = tables.latex(shown, "Kendall's τ, 5 %.")
    assert "Bound at 1 $-$ $\\delta$ & n \\\\" in written
    assert "a\\_b \\& $\\rho$ & 3 \\\\" in written
    assert written.endswith("{\\footnotesize Kendall's $\\tau$, 5 \\%.}\n")
