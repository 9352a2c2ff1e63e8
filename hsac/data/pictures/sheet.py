"""The contact sheet of an image set."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hsac.data.catalogue import Arrays
from hsac.data.store import PARTS
from hsac.data.variants._parts import generator
from hsac.report.figures.style import grid

ROWS, COLUMNS = 12, 16
INCHES = 0.5


def draw(name: str, arrays: Arrays) -> tuple[Figure, str, dict[str, Any]]:
    """A row a class, a column a sample, drawn at random from a fixed stream; at most ``ROWS``
    classes.

    Classes are taken at even steps of their order. When the parts hold different classes each part
    has its share of the rows and is named; else all samples are of the training part. Returns
    figure, caption and numbers.
    """
    label, split = arrays["label"], arrays["split"]
    within = {part: np.unique(label[split == part]) for part in range(3) if (split == part).any()}
    apart = sum(map(len, within.values())) == len(np.unique(label))
    chosen = [
        (part, c) for part, classes in within.items() for c in spaced(classes, ROWS // len(within))
    ]
    if not apart:
        chosen = [(0, c) for c in spaced(within[0], ROWS)]
    stream = generator(0, "contact sheet")
    rows = [
        stream.permutation(np.flatnonzero((label == c) & (split == part)))[:COLUMNS]
        for part, c in chosen
    ]
    pictures = mosaic([arrays["image"][index] for index in rows])
    names = [str(arrays["classes"][c]) for _, c in chosen]
    words = [
        f"{text} ({PARTS[part]})" if apart else text
        for text, (part, _) in zip(names, chosen, strict=True)
    ]
    height, width = arrays["image"].shape[1:3]
    title = (
        f"{name}: {len(label):,} images of {height} × {width}, {len(arrays['classes']):,} classes"
    )
    figure, axes = grid(1, 1, COLUMNS * INCHES, len(rows) * INCHES, title)
    panel = axes[0, 0]
    panel.imshow(pictures, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    middles = (np.arange(len(rows)) + 0.5) * (pictures.shape[0] / len(rows))
    panel.set_yticks(middles, readable(words), parse_math=False)
    panel.set_xticks([])
    panel.tick_params(length=0)
    panel.grid(False)
    panel.spines[:].set_visible(False)
    _fit(figure, panel, COLUMNS * INCHES, len(rows) * INCHES)
    shown = (
        f"{len(rows)} of {len(arrays['classes']):,} classes"
        if len(rows) < len(arrays["classes"])
        else "all classes"
    )
    which = "classes of a part are its own" if apart else "training part"
    caption = (
        f"Samples of {name}, drawn at random: {shown}, one a row ({which}); the names as the data"
        " give them."
    )
    return figure, caption, {"classes": names, "rows": [index.tolist() for index in rows]}


def _fit(figure: Figure, panel: Axes, width: float, height: float) -> None:
    """Give the panel ``width`` × ``height`` inches and the figure room for the longest class name
    beside it.
    """
    figure.set_layout_engine("none")
    figure.canvas.draw()
    names = (
        max(text.get_window_extent().width for text in panel.get_yticklabels()) / figure.dpi + 0.2
    )
    total = (names + width + 0.1, height + 0.6)
    figure.set_size_inches(total)
    panel.set_position((names / total[0], 0.1 / total[1], width / total[0], height / total[1]))


def spaced(classes: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of the classes, at even steps from the first to the last."""
    return classes[
        np.unique(np.linspace(0, len(classes) - 1, min(most, len(classes))).round().astype(int))
    ]


def mosaic(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of images uint8 (n, H, W) or (n, H, W, 3) as one white-lined picture, ``COLUMNS`` images
    wide.
    """
    height, width, *colours = rows[0].shape[1:]
    gap = max(1, height // 16)
    out = np.full((len(rows) * (height + gap), COLUMNS * (width + gap), *colours), 255, np.uint8)
    for i, images in enumerate(rows):
        for j, image in enumerate(images):
            top, left = i * (height + gap) + gap // 2, j * (width + gap) + gap // 2
            out[top : top + height, left : left + width] = image
    return out


def readable(words: list[str]) -> list[str]:
    """Class names with spaces for underscores; before a sign that fonts may lack stands its code
    point.
    """
    single = [len(word.split(" (")[0]) == 1 and ord(word[0]) > 255 for word in words]
    plain = [word.replace("_", " ") for word in words]
    return [
        f"U+{ord(word[0]):04X} {word}" if one else word
        for word, one in zip(plain, single, strict=True)
    ]
