"""Who calls what what: labels that people gave against the official ones."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from hsac.data.catalogue import Arrays
from hsac.report.figures.style import grid
from hsac.report.pictures.picture import Picture


def draw(name: str, arrays: Arrays) -> Picture:
    """Draw a panel a column of labels: how often each official class got each label.

    The official labels of a column are ``clean_label``, or ``clean_coarse_label`` when it is coarse
    and there are such.

    Args:
        name: Name of the dataset.
        arrays: Its columns.

    Returns:
        The picture. Its numbers are the shares of rows that differ, by column.
    """
    columns = sorted(column for column in arrays if not column.startswith("clean"))
    title = f"{name}: {len(arrays['clean_label']):,} labels given by people"
    figure, axes = grid(1, len(columns), 2.6, 2.8, title)
    differ = {}
    for panel, column in zip(axes[0], columns, strict=True):
        # For CIFAR-100N people also chose among the 20 superclasses.
        coarse = "coarse" in column and "clean_coarse_label" in arrays
        official = arrays["clean_coarse_label" if coarse else "clean_label"]
        differ[column] = float((official != arrays[column]).mean())
        shown = _shares(panel, official, arrays[column])
        panel.set_title(f"{column}\n{100 * differ[column]:.2f} % differ")
    axes[0, 0].set_ylabel("official class")
    figure.colorbar(shown, ax=axes[0].tolist(), shrink=0.7, label="share of the class")
    caption = (
        f"{name}: the share of each official class (rows) that people gave each label (columns of a"
        " panel)."
    )
    return Picture(figure, caption, {"differ": differ})


def _shares(panel: Axes, official: np.ndarray, given: np.ndarray) -> AxesImage:
    # People may name a class that no row is of.
    size = int(max(official.max(), given.max())) + 1
    table = np.zeros((size, size))
    # Not table[official, given] += 1, which counts a pair once however often it comes.
    np.add.at(table, (official, given), 1)
    # One scale for all panels, as they share a colour bar.
    rows = np.maximum(table.sum(axis=1, keepdims=True), 1)
    shown = panel.imshow(table / rows, vmin=0, vmax=1, cmap="Blues")
    panel.set_xlabel("label given")
    panel.grid(False)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(MaxNLocator(6, integer=True))
    return shown
