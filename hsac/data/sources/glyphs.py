"""Characters rendered from the text fonts that matplotlib ships: a few-shot set and a hundred.

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
from itertools import chain, product
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont
from fontTools.unicodedata import script
from matplotlib import get_data_path
from PIL import Image, ImageFont

log = logging.getLogger(__name__)

SIDE = 28  # pixels of an image's side
OVER = 2  # supersampling
CELL = SIDE * OVER
EM = 48  # pixels
ALIKE = 0.95  # cosine beyond which two classes are held to look the same
SMALLEST = 12  # distinct bitmaps a class needs
HUNDRED = 100
TURNS = 8  # jitters of each bitmap in glyphs100
ALIKE_100 = 0.9  # as ALIKE, for the mean over fonts, between two of the hundred
FAMILIES = {
    "DejaVuSans": ("", "-Bold", "-BoldOblique", "-Oblique"),
    "DejaVuSansMono": ("", "-Bold", "-BoldOblique", "-Oblique"),
    "DejaVuSerif": ("", "-Bold", "-BoldItalic", "-Italic"),
    "STIXGeneral": ("", "Bol", "BolIta", "Italic"),
    "cm": ("b10", "mi10", "r10", "ss10", "ti10", "tt10"),
}
FONTS = tuple(family + style for family, styles in FAMILIES.items() for style in styles)
# Only the test part of ``glyphs100`` shows these, one of each family with a full character set.
TEST_FONTS = ("DejaVuSans-BoldOblique", "DejaVuSansMono", "DejaVuSerif-Bold", "STIXGeneralItalic")
# Split by script: Latin and what all scripts share (numbers, signs) train, Cyrillic validates, the
# rest tests.
PARTS = {"Latn": 0, "Zyyy": 0, "Cyrl": 1, "Grek": 2, "Armn": 2, "Geor": 2}


def _font_path(name: str) -> Path:
    return Path(get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"


@cache
def _font(name: str) -> ImageFont.FreeTypeFont:
    path = str(_font_path(name))
    # Pillow's other engine, Raqm, is not in every build.
    return ImageFont.truetype(path, EM, layout_engine=ImageFont.Layout.BASIC)


def _code_points(name: str) -> list[int]:
    """Return the visible characters of a font, ascending."""
    with TTFont(_font_path(name), lazy=True) as font:
        points = sorted(font.getBestCmap())
    # The cm fonts are in TeX's order: only their letters and digits are what the code point says.
    if name.startswith("cm"):
        return [point for point in points if chr(point).isascii() and chr(point).isalnum()]
    # Controls, blanks and combining marks show no character of their own.
    return [point for point in points if unicodedata.category(chr(point))[0] not in "CZM"]


def _ink(name: str, point: int) -> np.ndarray:
    """Render a character at 48 pixels per em, cut to its ink: uint8 (h, w), empty for a blank."""
    mask = _font(name).getmask(chr(point), mode="L")
    box = mask.getbbox()
    if box is None:
        return np.empty((0, 0), dtype=np.uint8)
    ink = mask.crop(box)
    return np.frombuffer(bytes(ink), dtype=np.uint8).reshape(ink.size[1], ink.size[0])


def _draw(
    ink: np.ndarray, angle: float = 0.0, scale: float = 1.0, right: float = 0.0, down: float = 0.0
) -> np.ndarray:
    """Draw ink centred in the cell, turned (radians), scaled and shifted (pixels of 28).

    Returns uint8 (28, 28).
    """
    height, width = ink.shape
    scale *= min(1.0, EM / max(height, width))
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    x, y = CELL / 2 + OVER * right, CELL / 2 + OVER * down
    # Pillow maps each place of the result back to a place of the source.
    back = (cos, sin, width / 2 - cos * x - sin * y, -sin, cos, height / 2 + sin * x - cos * y)
    cell = Image.fromarray(ink).transform(
        (CELL, CELL), Image.Transform.AFFINE, back, Image.Resampling.BILINEAR
    )
    # Averaging twice the resolution down smooths the edges.
    return np.asarray(cell.reduce(OVER))


def _jitter(name: str, point: int, turn: int) -> dict[str, float]:
    """Draw a rotation up to 12 degrees, a scale 0.85 to 1.1 and a shift up to 2 pixels."""
    # From font, character and turn alone, so that an image stays when others come or go.
    words = np.frombuffer(hashlib.sha256(f"{name} {point} {turn}".encode()).digest(), dtype="<u8")
    uniform = words / 2.0**64
    return {
        "angle": float(np.deg2rad(24 * (uniform[0] - 0.5))),
        "scale": float(0.85 + 0.25 * uniform[1]),
        "right": float(4 * (uniform[2] - 0.5)),
        "down": float(4 * (uniform[3] - 0.5)),
    }


Drawn = tuple[str, int, np.ndarray]  # font, code point and ink


@dataclass(frozen=True)
class Bitmap:
    """A character in one font.

    Attributes:
        font: Name of the font.
        point: Code point of the character.
        ink: Its grey levels, cut to its ink, uint8 (h, w).
        plain: The same upright in the middle of the cell, uint8 (28, 28).
    """

    font: str
    point: int
    ink: np.ndarray
    plain: np.ndarray


def _classes() -> dict[int, list[Bitmap]]:
    """Return classes by their lowest code point, each with its distinct bitmaps in FONTS' order.

    Candidates are the characters that at least 12 fonts draw. Two that are drawn identically in
    more than half of the fonts they share are one class (chains count). Of bitmaps of a class that
    agree at 28 x 28 the first stays, and a class keeps its place with 12 or more.
    """
    drawn, fonts, twins = _candidates()
    head = {point: point for point in fonts}
    # An identical drawing in fewer fonts stays with the lower code point alone: the upright and the
    # italic form of a Cyrillic letter often resemble different Latin ones.
    for (low, high), times in sorted(twins.items()):
        if 2 * times > len(fonts[low] & fonts[high]):
            head[_root(head, high)] = _root(head, low)
    distinct: dict[int, dict[bytes, Bitmap]] = defaultdict(dict)
    for name, point, ink in drawn:
        plain = _draw(ink)
        distinct[_root(head, point)].setdefault(plain.tobytes(), Bitmap(name, point, ink, plain))
    classes = {}
    for point, kept in sorted(distinct.items()):
        if len(kept) >= SMALLEST:
            classes[point] = list(kept.values())
    return classes


def _candidates() -> tuple[list[Drawn], dict[int, set[str]], Counter[tuple[int, int]]]:
    """Render the characters that enough fonts have.

    Returns the drawings, each once a font, the fonts of each character, and for two characters, the
    lower first, in how many fonts they are drawn identically.
    """
    points = {name: _code_points(name) for name in FONTS}
    shared = Counter(chain.from_iterable(points.values()))
    fonts: dict[int, set[str]] = defaultdict(set)
    twins: Counter[tuple[int, int]] = Counter()
    drawn: list[Drawn] = []
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
    return drawn, fonts, twins


def _root(head: dict[int, int], point: int) -> int:
    while head[point] != point:
        point = head[point]
    return point


def build() -> dict[str, np.ndarray]:
    """Make the few-shot set ``glyphs``: one jittered image per bitmap, classes split by script.

    A validation class with an upright image of cosine above 0.95 with any training image is left
    out, a test class likewise against training and validation. The counts go to the log.

    Returns:
        ``image`` uint8 (n, 28, 28), ink bright, ``label`` int64 (n,), ``split`` int8 (n,), 0 train,
        1 validation, 2 test, one value per class, ``group`` int64, one per image, and ``classes``,
        the characters in order of code point.
    """
    classes = _classes()
    part = {point: PARTS[script(chr(point))] for point in classes}
    alike = 0
    for later in (1, 2):
        for point in _too_alike(classes, part, later):
            del classes[point]
            alike += 1
    points = list(classes)
    sizes = [sum(part[point] == which for point in points) for which in range(3)]
    log.info(
        "glyphs: %d train, %d validation, %d test classes; %d left out as too alike", *sizes, alike
    )
    bitmaps = list(chain.from_iterable(classes.values()))
    label = np.repeat(np.arange(len(points)), [len(classes[point]) for point in points])
    return {
        "image": np.stack([_draw(b.ink, **_jitter(b.font, b.point, 0)) for b in bitmaps]),
        "label": label.astype(np.int64),
        "split": np.array([part[point] for point in points], dtype=np.int8)[label],
        "group": np.arange(label.size, dtype=np.int64),
        "classes": np.array([chr(point) for point in points]),
    }


def _too_alike(classes: dict[int, list[Bitmap]], part: dict[int, int], later: int) -> list[int]:
    """Return the classes of a part with an image too like one of the parts before it."""
    before: list[np.ndarray] = []
    for point, bitmaps in classes.items():
        if part[point] < later:
            before += [bitmap.plain for bitmap in bitmaps]
    owner, images = [], []
    for point, bitmaps in classes.items():
        if part[point] == later:
            owner += [point] * len(bitmaps)
            images += [bitmap.plain for bitmap in bitmaps]
    closest = _closest(images, before)
    return sorted({point for point, cosine in zip(owner, closest, strict=True) if cosine > ALIKE})


def build_hundred() -> dict[str, np.ndarray]:
    """Make the set ``glyphs100``: 100 characters x 16 fonts x 8 jitters, four fonts for the test.

    The characters are those with the most distinct bitmaps (ties by code point) that all 16 fonts
    outside the cm family draw distinctly. One whose upright images have a mean cosine above 0.9,
    font by font, with a character already taken is passed over.

    Returns:
        As `build`, but ``group`` names the bitmap that an image was jittered from, so a part cut by
        group holds no near copies of another part. No row is validation: the variants cut it.
    """
    fonts = [name for name in FONTS if not name.startswith("cm")]
    taken = _hundred(fonts)
    points = sorted(taken)
    images, labels, split = [], [], []
    for label, name, turn in product(range(HUNDRED), fonts, range(TURNS)):
        point = points[label]
        images.append(_draw(taken[point][name].ink, **_jitter(name, point, turn)))
        labels.append(label)
        split.append(2 if name in TEST_FONTS else 0)
    return {
        "image": np.stack(images),
        "label": np.array(labels, dtype=np.int64),
        "split": np.array(split, dtype=np.int8),
        "group": np.arange(len(labels), dtype=np.int64) // TURNS,
        "classes": np.array([chr(point) for point in points]),
    }


def _hundred(fonts: list[str]) -> dict[int, dict[str, Bitmap]]:
    """Choose the characters of ``glyphs100``; return their bitmaps by code point and font."""
    owned = {}
    for point, bitmaps in _classes().items():
        owned[point] = {bitmap.font: bitmap for bitmap in bitmaps if bitmap.point == point}
    taken: dict[int, dict[str, Bitmap]] = {}
    looks: list[np.ndarray] = []
    for point, own in sorted(owned.items(), key=lambda item: (-len(item[1]), item[0])):
        if len(taken) == HUNDRED or not own.keys() >= set(fonts):
            continue
        look = _unit_rows([own[name].plain for name in fonts])
        if all(float((look * other).sum(1).mean()) <= ALIKE_100 for other in looks):
            taken[point] = own
            looks.append(look)
    return taken


def _closest(images: list[np.ndarray], others: list[np.ndarray]) -> np.ndarray:
    """Compute each image's largest cosine with any of the others, float32 (len(images),)."""
    return (_unit_rows(images) @ _unit_rows(others).T).max(1)


def _unit_rows(images: list[np.ndarray]) -> np.ndarray:
    flat = np.stack(images).reshape(len(images), -1).astype(np.float32)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)
