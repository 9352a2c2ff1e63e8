"""Test points of two-dimensional models in the Poincaré disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from hsac.files import read_json
from hsac.report.figures import style
from hsac.report.figures.loss_landscape import compared

TITLE = "Test points in the Poincaré disk (scaled by √c; the circle is the boundary at infinity)"


def draw(
    runs: pd.DataFrame,
    root: Path,
    order: Mapping[str, Sequence[str]],
    references: Mapping[str, str],
) -> Figure:
    """A row an experiment with a two-dimensional model, a panel a method (reference, learned,
    hsac), first seed stored.

    ``root``: the folder that the ``record`` column of ``runs`` is relative to.
    """
    found: dict[str, dict[str, dict]] = {}
    for name in style.experiments(runs, order):
        block = runs[(runs["experiment"] == name) & (runs["status"] == "ok")].sort_values("seed")
        for method in compared(
            style.ordered(block["method"], order.get(name, ())), references.get(name, "")
        ):
            for path in block.loc[block["method"] == method, "record"]:
                record = read_json(root / path)
                if record["embedding"]:
                    found.setdefault(name, {})[method] = record
                    break
    if not found:
        return style.nothing(TITLE, "No model with a two-dimensional ball at this scale.")
    most = max(map(len, found.values()))
    figure, axes = style.grid(len(found), most, 3.3, 3.4, TITLE)
    for row, (name, records) in enumerate(found.items()):
        for panel in axes[row, len(records) :]:
            panel.set_axis_off()
        classes = sorted(
            {label for record in records.values() for label in record["embedding"]["label"]}
        )
        for panel, (method, record) in zip(axes[row], records.items(), strict=False):
            _disk(panel, record["embedding"], classes)
            panel.set_title(
                f"{name}: {method}\nseed {record['seed']}, c = {record['embedding']['c']:.3g}"
            )
        if len(classes) <= len(style.CLASSES):
            handles = [
                Line2D(
                    [],
                    [],
                    linestyle="",
                    marker="o",
                    markersize=4,
                    color=style.CLASSES[k],
                    label=str(label),
                )
                for k, label in enumerate(classes)
            ]
            axes[row, len(records) - 1].legend(
                handles=handles,
                title="class",
                loc="center left",
                bbox_to_anchor=(1.0, 0.5),
                handletextpad=0.2,
                frameon=False,
            )
    return figure


def _disk(axes: Axes, embedding: dict, classes: Sequence[int]) -> None:
    points = np.sqrt(embedding["c"]) * np.array(embedding["x"], dtype=float).reshape(-1, 2)
    index = np.array([classes.index(label) for label in embedding["label"]], dtype=int)
    if len(classes) <= len(style.CLASSES):
        colours = [style.CLASSES[k] for k in index]
    else:
        colours = list(colormaps["viridis"](index / (len(classes) - 1)))
    axes.scatter(points[:, 0], points[:, 1], s=9, c=colours, alpha=0.7, linewidths=0)
    axes.add_patch(Circle((0, 0), 1, fill=False, color="#222222", linewidth=1.2))
    axes.set_xlim(-1.05, 1.05)
    axes.set_ylim(-1.05, 1.05)
    axes.set_aspect("equal")
    axes.set_axis_off()
