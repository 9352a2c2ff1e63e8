"""Characters rendered from the text fonts that matplotlib ships: a few-shot set and a set of a
hundred classes.

A character is drawn at 48 pixels per em, centred by its ink in a 56 x 56 cell (shrunk where it is
larger than 48), moved by a small affine jitter and averaged 2 x 2 down to 28 x 28 grey levels. So
sizes keep their proportions (o is smaller than O) and positions on the line do not show (a comma is
a quotation mark).
"""

import hashlib
import logging
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont
from fontTools.unicodedata import script
from matplotlib import get_data_path
from PIL import Image, ImageFont

log = logging.getLogger(__name__)

SIDE = 28
OVER = 2  # supersampling
CELL = SIDE * OVER
EM = 48
ALIKE = 0.95  # cosine beyond which two classes are held to look the same
SMALLEST = 12  # distinct bitmaps a class needs
HUNDRED = 100
TURNS = 8  # jitters of each bitmap in glyphs100
ALIKE_100 = 0.9  # the same for the mean over fonts, between two of the hundred
FAMILIES = {
    "DejaVuSans": ("", "-Bold", "-BoldOblique", "-Oblique"),
    "DejaVuSansMono": ("", "-Bold", "-BoldOblique", "-Oblique"),
    "DejaVuSerif": ("", "-Bold", "-BoldItalic", "-Italic"),
    "STIXGeneral": ("", "Bol", "BolIta", "Italic"),
    "cm": ("b10", "mi10", "r10", "ss10", "ti10", "tt10"),
}
FONTS = tuple(family + style for family, styles in FAMILIES.items() for style in styles)
"""The 22 text fonts."""
TEST_FONTS = ("DejaVuSans-BoldOblique", "DejaVuSansMono", "DejaVuSerif-Bold", "STIXGeneralItalic")
"""Fonts that only the test part of ``glyphs100`` shows, one of each family with a full character set."""
PARTS = {"Latn": 0, "Zyyy": 0, "Cyrl": 1, "Grek": 2, "Armn": 2, "Geor": 2}
"""Split by script: Latin and what all scripts share (numbers, signs) train, Cyrillic validates, the rest tests."""


@cache
def _font(name: str) -> ImageFont.FreeTypeFont:
    path = Path(get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(str(path), EM, layout_engine=ImageFont.Layout.BASIC)


def _code_points(name: str) -> list[int]:
    """Visible characters of a font, ascending. In the cm fonts, in TeX's order, only letters and
    digits are true.
    """
    path = Path(get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    with TTFont(path, lazy=True) as font:
        points = sorted(font.getBestCmap())
    if name.startswith("cm"):
        return [point for point in points if chr(point).isascii() and chr(point).isalnum()]
    return [point for point in points if unicodedata.category(chr(point))[0] not in "CZM"]


def _ink(name: str, point: int) -> np.ndarray:
    """A character's grey levels at 48 pixels per em, cut to its ink: uint8 (h, w), empty for a
    blank.
    """
    mask = _font(name).getmask(chr(point), mode="L")
    box = mask.getbbox()
    if box is None:
        return np.empty((0, 0), dtype=np.uint8)
    ink = mask.crop(box)
    return np.frombuffer(bytes(ink), dtype=np.uint8).reshape(ink.size[1], ink.size[0])


def _draw(
    ink: np.ndarray, angle: float = 0.0, scale: float = 1.0, right: float = 0.0, down: float = 0.0
) -> np.ndarray:
    """Ink centred in the cell, turned by ``angle`` (radians), scaled and shifted (pixels of 28):
    uint8 (28, 28).
    """
    height, width = ink.shape
    scale *= min(1.0, EM / max(height, width))
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    x, y = CELL / 2 + OVER * right, CELL / 2 + OVER * down
    # Pillow maps each place of the result back to a place of the source
    back = (cos, sin, width / 2 - cos * x - sin * y, -sin, cos, height / 2 + sin * x - cos * y)
    cell = Image.fromarray(ink).transform(
        (CELL, CELL), Image.Transform.AFFINE, back, Image.Resampling.BILINEAR
    )
    return np.asarray(cell.reduce(OVER))


def _jitter(name: str, point: int, turn: int) -> dict[str, float]:
    """Rotation up to 12 degrees, scale 0.85 to 1.1, shift up to 2 pixels: from font, character and
    turn alone.
    """
    words = np.frombuffer(hashlib.sha256(f"{name} {point} {turn}".encode()).digest(), dtype="<u8")
    uniform = words / 2.0**64
    return {
        "angle": float(np.deg2rad(24 * (uniform[0] - 0.5))),
        "scale": float(0.85 + 0.25 * uniform[1]),
        "right": float(4 * (uniform[2] - 0.5)),
        "down": float(4 * (uniform[3] - 0.5)),
    }


@dataclass(frozen=True)
class Bitmap:
    """One character in one font, drawn upright in the middle of the cell: ``plain`` uint8 (28, 28)."""

    font: str
    point: int
    ink: np.ndarray
    plain: np.ndarray


def _classes() -> dict[int, list[Bitmap]]:
    """Classes by their lowest code point, ascending; each with its distinct bitmaps in the order of
    FONTS.

    Candidates are the characters that at least 12 fonts draw. Two that are drawn identically in
    more than half of the fonts they share are one class (chains count); an identical drawing in
    fewer (the upright and the italic form of a Cyrillic letter often resemble different Latin ones)
    stays with the lower code point alone. Of bitmaps of a class that agree at 28 x 28 the first
    stays, and a class keeps its place with 12 or more.
    """
    points = {name: _code_points(name) for name in FONTS}
    shared = Counter(point for name in FONTS for point in points[name])
    fonts: dict[int, set[str]] = defaultdict(set)
    twins: Counter[tuple[int, int]] = Counter()
    drawn: list[tuple[str, int, np.ndarray]] = []
    for name in FONTS:
        first: dict[tuple[tuple[int, ...], bytes], int] = {}
        for point in points[name]:
            if shared[point] < SMALLEST:
                continue
            ink = _ink(name, point)
            if not ink.size:
                continue
            fonts[point].add(name)
            twin = first.setdefault((ink.shape, ink.tobytes()), point)
            if twin == point:
                drawn.append((name, point, ink))
            else:
                twins[twin, point] += 1
    head = {point: point for point in fonts}
    for (low, high), times in sorted(twins.items()):
        if 2 * times > len(fonts[low] & fonts[high]):
            head[_root(head, high)] = _root(head, low)
    distinct: dict[int, dict[bytes, Bitmap]] = defaultdict(dict)
    for name, point, ink in drawn:
        plain = _draw(ink)
        distinct[_root(head, point)].setdefault(plain.tobytes(), Bitmap(name, point, ink, plain))
    return {
        point: list(kept.values())
        for point, kept in sorted(distinct.items())
        if len(kept) >= SMALLEST
    }


def _root(head: dict[int, int], point: int) -> int:
    while head[point] != point:
        point = head[point]
    return point


def build() -> dict[str, np.ndarray]:
    """The few-shot set ``glyphs``: one jittered image per bitmap, classes split by script.

    Returns ``image`` uint8 (n, 28, 28), ink bright; ``label`` int64 (n,); ``split`` int8 (n,), 0
    train, 1 validation, 2 test, one value per class; ``group`` int64, one per image; ``classes``
    the characters in order of code point. A validation class with an upright image of cosine above
    0.95 with any training image is left out, a test class likewise against training and validation.
    The counts go to the log.
    """
    classes = _classes()
    part = {point: PARTS[script(chr(point))] for point in classes}
    alike: list[int] = []
    for later in (1, 2):
        before = [
            bitmap.plain
            for point, bitmaps in classes.items()
            if part[point] < later
            for bitmap in bitmaps
        ]
        mine = [point for point in classes if part[point] == later]
        owner = [point for point in mine for _ in classes[point]]
        closest = _closest([bitmap.plain for point in mine for bitmap in classes[point]], before)
        dropped = sorted(
            {point for point, cosine in zip(owner, closest, strict=True) if cosine > ALIKE}
        )
        for point in dropped:
            del classes[point]
        alike += dropped
    points = list(classes)
    sizes = [sum(part[point] == which for point in points) for which in range(3)]
    log.info(
        "glyphs: %d train, %d validation, %d test classes; %d left out as too alike",
        *sizes,
        len(alike),
    )
    rows = [(label, bitmap) for label, point in enumerate(points) for bitmap in classes[point]]
    label = np.array([label for label, _ in rows], dtype=np.int64)
    return {
        "image": np.stack([_draw(b.ink, **_jitter(b.font, b.point, 0)) for _, b in rows]),
        "label": label,
        "split": np.array([part[point] for point in points], dtype=np.int8)[label],
        "group": np.arange(label.size, dtype=np.int64),
        "classes": np.array([chr(point) for point in points]),
    }


def build_hundred() -> dict[str, np.ndarray]:
    """The set ``glyphs100``: 100 characters x 16 fonts x 8 jitters, four whole fonts for the test
    part.

    The characters are those with the most distinct bitmaps (ties by code point) that all 16 fonts
    outside the cm family draw distinctly; one whose upright images have a mean cosine above 0.9,
    font by font, with a character already taken is passed over. Returns what ``build`` does;
    ``group`` names the bitmap an image was jittered from, so a part cut by group holds no near
    copies of another part; no row is validation: the variants cut it.
    """
    fonts = [name for name in FONTS if not name.startswith("cm")]
    taken: dict[int, dict[str, Bitmap]] = {}
    looks: list[np.ndarray] = []
    owned = {
        point: {bitmap.font: bitmap for bitmap in bitmaps if bitmap.point == point}
        for point, bitmaps in _classes().items()
    }
    for point, own in sorted(owned.items(), key=lambda item: (-len(item[1]), item[0])):
        if len(taken) == HUNDRED or not own.keys() >= set(fonts):
            continue
        look = _unit_rows([own[name].plain for name in fonts])
        if all(float((look * other).sum(1).mean()) <= ALIKE_100 for other in looks):
            taken[point] = own
            looks.append(look)
    points = sorted(taken)
    rows = [
        (label, name, turn) for label in range(HUNDRED) for name in fonts for turn in range(TURNS)
    ]
    return {
        "image": np.stack(
            [_draw(taken[points[i]][n].ink, **_jitter(n, points[i], turn)) for i, n, turn in rows]
        ),
        "label": np.array([label for label, _, _ in rows], dtype=np.int64),
        "split": np.array([2 * (name in TEST_FONTS) for _, name, _ in rows], dtype=np.int8),
        "group": np.arange(len(rows), dtype=np.int64) // TURNS,
        "classes": np.array([chr(point) for point in points]),
    }


def _closest(images: list[np.ndarray], others: list[np.ndarray]) -> np.ndarray:
    """Each image's largest cosine with any of the others, float32 (len(images),)."""
    return (_unit_rows(images) @ _unit_rows(others).T).max(1)


def _unit_rows(images: list[np.ndarray]) -> np.ndarray:
    flat = np.stack(images).reshape(len(images), -1).astype(np.float32)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)
