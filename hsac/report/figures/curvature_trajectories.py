"""Curvature against training step under the rules that move it."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hsac.report.figures import style
from hsac.study.method import plain

TITLE = "Curvature c during training, by layer (geometric mean over seeds ± 1 sd of log c)"


def finished(runs: pd.DataFrame, trajectories: pd.DataFrame) -> pd.DataFrame:
    """Take the trajectories of the runs that are ok.

    Args:
        runs: The gathered runs.
        trajectories: The gathered trajectories.

    Returns:
        Their rows.
    """
    keys = ["experiment", "method", "seed"]
    return trajectories.merge(runs.loc[runs["status"] == "ok", keys], on=keys)


def moving(rows: pd.DataFrame) -> set[tuple[str, str]]:
    """Find the methods that moved a curvature, by what the runs logged.

    So a rule of a plugin counts as any other, and a search does not, whose curvature is the same
    all through the training that it chose.

    Args:
        rows: Trajectories, as `finished` gives them.

    Returns:
        Experiment and method, where the curvature of a layer changed between two steps of a run.
    """
    cells = ["experiment", "method"]
    values = rows.groupby([*cells, "seed", "layer"])["curvature"].nunique()
    moved = values[values > 1].reset_index()
    return set(moved[cells].itertuples(index=False, name=None))


def series(cell: pd.DataFrame, value: str) -> tuple[np.ndarray, np.ndarray]:
    """Arrange one method's rows by seed and step.

    Args:
        cell: The rows.
        value: The column to take.

    Returns:
        Steps (points,) and values (seeds, points), NaN where a seed has no such step.
    """
    table = cell.pivot(index="seed", columns="step", values=value).astype(float)
    return table.columns.to_numpy(), table.to_numpy()


def draw(
    runs: pd.DataFrame, trajectories: pd.DataFrame, order: Mapping[str, Sequence[str]]
) -> Figure:
    """Draw c of each method that moves it on a log axis, a panel an experiment and layer.

    Methods with a loss or head of their own are left to the tables.

    Args:
        runs: The gathered runs.
        trajectories: The gathered trajectories.
        order: Experiments and their methods, in the tables' order.

    Returns:
        The figure.
    """
    rows = finished(runs, trajectories)
    moved = moving(rows)
    kept = set(plain(dict.fromkeys(rows["method"])))
    cells_of_rows = zip(rows["experiment"], rows["method"], strict=True)
    shown = [cell in moved and cell[1] in kept for cell in cells_of_rows]
    # Euclidean layers are left out: a log axis has no 0.
    rows = rows[np.array(shown, dtype=bool) & (rows["curvature"] > 0).to_numpy()]
    names = [n for n in style.experiments(runs, order) if n in set(rows["experiment"])]
    if not names:
        return style.nothing(TITLE, "No run with a moving curvature at this scale.")
    cells = []
    for name in names:
        layers = rows.loc[rows["experiment"] == name, "layer"].drop_duplicates()
        cells += [(name, str(layer)) for layer in layers]
    columns = min(3, len(cells))
    figure, axes = style.grid(math.ceil(len(cells) / columns), columns, 3.9, 2.3, TITLE)
    drawn = style.ordered(rows["method"], style.every_method(order))
    shades = style.shades(drawn)
    for panel, (name, key) in zip(axes.flat, cells, strict=False):
        layer = rows[(rows["experiment"] == name) & (rows["layer"] == key)]
        for method in style.ordered(layer["method"], order.get(name, ())):
            steps, values = series(layer[layer["method"] == method], "curvature")
            style.band(panel, steps, values, method, shade=shades[method], log=True)
        panel.set_yscale("log")
        style.log_axis(panel.yaxis)
        panel.set_title(style.title(f"{name}:", key))
        panel.set_xlabel("training step")
        panel.set_ylabel("curvature c")
    for panel in axes.flat[len(cells) :]:
        panel.set_axis_off()
    style.method_legend(figure, drawn, shades)
    return figure
