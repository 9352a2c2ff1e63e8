"""Test points of two-dimensional models in the Poincaré disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from hsac.files import read_json
from hsac.report.figures import style
from hsac.report.figures.curvature_trajectories import finished, moving
from hsac.report.figures.loss_landscape import compared

TITLE = "Test points in the Poincaré disk (scaled by √c; the circle is the boundary at infinity)"


def draw(
    runs: pd.DataFrame,
    trajectories: pd.DataFrame,
    root: Path,
    order: Mapping[str, Sequence[str]],
    references: Mapping[str, str],
) -> Figure:
    """Draw test points in the disk, a row an experiment with a two-dimensional model.

    There is a panel for the reference, learned and hsac, each of the first seed that stored one.

    Args:
        runs: The gathered runs.
        trajectories: The gathered trajectories, which tell the methods that moved a curvature.
        root: The folder that the ``record`` column of ``runs`` is relative to.
        order: Experiments and their methods, in the tables' order.
        references: The reference method of each experiment.

    Returns:
        The figure.
    """
    found: dict[str, dict[str, dict]] = {}
    moved = moving(finished(runs, trajectories))
    for name in style.experiments(runs, order):
        block = runs[(runs["experiment"] == name) & (runs["status"] == "ok")].sort_values("seed")
        methods = style.ordered(block["method"], order.get(name, ()))
        own = [method for method in methods if (name, method) in moved]
        for method in compared(methods, references.get(name, ""), own):
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
        _row(axes[row], name, records)
    return figure


def _row(panels: np.ndarray, name: str, records: dict[str, dict]) -> None:
    """Draw the records of an experiment, by method."""
    for panel in panels[len(records) :]:
        panel.set_axis_off()
    embeddings = [record["embedding"] for record in records.values()]
    # Over all panels, so that a colour is the same class in each.
    classes = sorted({label for embedding in embeddings for label in embedding["label"]})
    for panel, (method, record) in zip(panels, records.items(), strict=False):
        embedding = record["embedding"]
        _disk(panel, embedding, classes)
        panel.set_title(f"{name}: {method}\nseed {record['seed']}, c = {embedding['c']:.3g}")
    # Shades along a scale cannot be told apart in a legend.
    if len(classes) > len(style.CLASSES):
        return
    handles = []
    for shade, label in zip(style.CLASSES, classes, strict=False):
        look = {"linestyle": "", "marker": "o", "markersize": 4, "color": shade}
        handles.append(style.entry(str(label), **look))
    panels[len(records) - 1].legend(
        handles=handles,
        title="class",
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        handletextpad=0.2,
        frameon=False,
    )


def _disk(axes: Axes, embedding: dict, classes: Sequence[int]) -> None:
    # The ball has radius 1/√c.
    points = np.sqrt(embedding["c"]) * np.array(embedding["x"], dtype=float).reshape(-1, 2)
    index = np.array([classes.index(label) for label in embedding["label"]], dtype=int)
    if len(classes) <= len(style.CLASSES):
        colours = [style.CLASSES[k] for k in index]
    else:
        # More classes than colours that can be told apart are shaded along a scale.
        colours = list(colormaps["viridis"](index / (len(classes) - 1)))
    axes.scatter(points[:, 0], points[:, 1], s=9, c=colours, alpha=0.7, linewidths=0)
    axes.add_patch(Circle((0, 0), 1, fill=False, color="#222222", linewidth=1.2))
    axes.set_xlim(-1.05, 1.05)
    axes.set_ylim(-1.05, 1.05)
    axes.set_aspect("equal")
    axes.set_axis_off()
