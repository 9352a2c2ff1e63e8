"""Who calls what what: labels that people gave against the official ones."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hsac.data.catalogue import Arrays
from hsac.report.figures.style import grid


def draw(name: str, arrays: Arrays) -> tuple[Figure, str, dict[str, Any]]:
    """A panel a column of labels: the share of each official class (row) that got each label
    (column).

    The official labels of a column are ``clean_label``, or the other ``clean_…`` column of as many
    classes when it is coarse. Returns figure, caption and numbers (share of rows that differ, by
    column).
    """
    columns = sorted(column for column in arrays if not column.startswith("clean"))
    figure, axes = grid(
        1, len(columns), 2.6, 2.8, f"{name}: {len(arrays['clean_label']):,} labels given by people"
    )
    differ = {}
    for panel, column in zip(axes[0], columns, strict=True):
        official = arrays["clean_coarse_label" if "coarse" in column else "clean_label"]
        size = int(official.max()) + 1
        table = np.zeros((size, size))
        np.add.at(table, (official, arrays[column]), 1)
        shown = panel.imshow(table / table.sum(axis=1, keepdims=True), vmin=0, vmax=1, cmap="Blues")
        differ[column] = float((official != arrays[column]).mean())
        panel.set_title(f"{column}\n{100 * differ[column]:.2f} % differ")
        panel.set_xlabel("label given")
        panel.grid(False)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(MaxNLocator(6, integer=True))
    axes[0, 0].set_ylabel("official class")
    figure.colorbar(shown, ax=axes[0].tolist(), shrink=0.7, label="share of the class")
    caption = (
        f"{name}: the share of each official class (rows) that people gave each label (columns of a"
        " panel)."
    )
    return figure, caption, {"differ": differ}
