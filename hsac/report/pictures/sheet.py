"""The contact sheet of an image set."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hsac.data.catalogue import Arrays
from hsac.data.store import PARTS
from hsac.data.variants._parts import generator
from hsac.report.figures.style import grid
from hsac.report.pictures.picture import Picture

ROWS, COLUMNS = 12, 16
SAMPLED = ("training", *PARTS[1:])  # the parts in a caption
INCHES = 0.5  # of an image's side on paper


def draw(name: str, arrays: Arrays) -> Picture:
    """Draw samples of at most ``ROWS`` classes, a row a class, from a fixed stream.

    Classes are taken at even steps of their order. When the parts hold different classes each part
    has its share of the rows and is named. Else all samples are of the first part that has images,
    which is training as a rule.

    Args:
        name: Name of the dataset.
        arrays: Its arrays.

    Returns:
        The picture. Its numbers are the classes shown and the rows of their samples.
    """
    chosen, apart = _chosen_classes(arrays)
    rows = _samples(arrays, chosen)
    names = [str(arrays["classes"][c]) for _, c in chosen]
    words = names
    if apart:
        words = [f"{text} ({PARTS[part]})" for text, (part, _) in zip(names, chosen, strict=True)]
    count, classes = len(arrays["label"]), len(arrays["classes"])
    height, width = arrays["image"].shape[1:3]
    title = f"{name}: {count:,} images of {height} × {width}, {classes:,} classes"
    figure, axes = grid(1, 1, COLUMNS * INCHES, len(rows) * INCHES, title)
    _show(axes[0, 0], mosaic([arrays["image"][index] for index in rows]), readable(words))
    _fit(figure, axes[0, 0], COLUMNS * INCHES, len(rows) * INCHES)
    shown = f"{len(rows)} of {classes:,} classes" if len(rows) < classes else "all classes"
    which = "classes of a part are its own" if apart else f"{SAMPLED[chosen[0][0]]} part"
    caption = (
        f"Samples of {name}, drawn at random: {shown}, one a row ({which}); the names as the data"
        " give them."
    )
    return Picture(figure, caption, {"classes": names, "rows": [index.tolist() for index in rows]})


def _chosen_classes(arrays: Arrays) -> tuple[list[tuple[int, int]], bool]:
    """Return part and class of each row of the sheet, and whether no class is in two parts."""
    label, split = arrays["label"], arrays["split"]
    within = {part: np.unique(label[split == part]) for part in range(3) if (split == part).any()}
    # The sum is larger where a class is in two parts.
    apart = sum(map(len, within.values())) == len(np.unique(label))
    if not apart:
        first = min(within)
        return [(first, c) for c in evenly_spaced(within[first], ROWS)], False
    chosen: list[tuple[int, int]] = []
    for part, classes in within.items():
        chosen += [(part, c) for c in evenly_spaced(classes, ROWS // len(within))]
    return chosen, True


def _samples(arrays: Arrays, chosen: list[tuple[int, int]]) -> list[np.ndarray]:
    stream = generator(0, "contact sheet")
    rows = []
    for part, c in chosen:
        inside = np.flatnonzero((arrays["label"] == c) & (arrays["split"] == part))
        rows.append(stream.permutation(inside)[:COLUMNS])
    return rows


def _show(panel: Axes, picture: np.ndarray, words: list[str]) -> None:
    # Without limits the darkest pixel of the sheet, however bright, would be black.
    panel.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    middles = (np.arange(len(words)) + 0.5) * (picture.shape[0] / len(words))
    # A name with two dollar signs would be read as a formula.
    panel.set_yticks(middles, words, parse_math=False)
    panel.set_xticks([])
    panel.tick_params(length=0)
    panel.grid(False)
    panel.spines[:].set_visible(False)


def _fit(figure: Figure, panel: Axes, width: float, height: float) -> None:
    """Give the panel its inches, and the figure room for the longest class name beside it."""
    # A layout engine would move the panel again when the figure is saved.
    figure.set_layout_engine("none")
    # The widths of texts are known only once they are drawn.
    figure.canvas.draw()
    widest = max(text.get_window_extent().width for text in panel.get_yticklabels())
    names = widest / figure.dpi + 0.2
    total = (names + width + 0.1, height + 0.6)
    figure.set_size_inches(total)
    panel.set_position((names / total[0], 0.1 / total[1], width / total[0], height / total[1]))


def evenly_spaced(classes: np.ndarray, most: int) -> np.ndarray:
    """Choose classes at even steps from the first to the last.

    Args:
        classes: The classes (K,).
        most: How many to choose at most.

    Returns:
        The chosen ones.
    """
    steps = np.linspace(0, len(classes) - 1, min(most, len(classes)))
    return classes[np.unique(steps.round().astype(int))]


def mosaic(rows: list[np.ndarray]) -> np.ndarray:
    """Put rows of images together as one white-lined picture.

    Args:
        rows: Images uint8 (n, H, W) or (n, H, W, 3) of each row, n up to ``COLUMNS``.

    Returns:
        The picture, ``COLUMNS`` images wide.
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
    """Make class names readable whatever the fonts.

    Args:
        words: The names, each perhaps with its part in brackets.

    Returns:
        The names with spaces for underscores. Before a sign that fonts may lack stands its code
        point.
    """
    lines = []
    for word in words:
        plain = word.replace("_", " ")
        # Beyond Latin-1 the report's font may lack the sign.
        is_sign = len(word.split(" (")[0]) == 1 and ord(word[0]) > 255
        lines.append(f"U+{ord(word[0]):04X} {plain}" if is_sign else plain)
    return lines
