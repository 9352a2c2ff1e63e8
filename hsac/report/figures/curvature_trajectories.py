"""Curvature against training step under the rules that move it."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hsac.report.figures import style
from hsac.study.method import plain, split

TITLE = "Curvature c during training, by layer (geometric mean over seeds ± 1 sd of log c)"
MOVING = ("learned", "drift_up", "drift_down", "hsac")


def finished(runs: pd.DataFrame, trajectories: pd.DataFrame) -> pd.DataFrame:
    """The trajectory rows of the runs that are ok."""
    keys = ["experiment", "method", "seed"]
    return trajectories.merge(runs.loc[runs["status"] == "ok", keys], on=keys)


def series(cell: pd.DataFrame, value: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps (points,) and ``value`` (seeds, points) of one method's rows; NaN where a seed has no
    such step.
    """
    table = cell.pivot(index="seed", columns="step", values=value).astype(float)
    return table.columns.to_numpy(), table.to_numpy()


def draw(
    runs: pd.DataFrame, trajectories: pd.DataFrame, order: Mapping[str, Sequence[str]]
) -> Figure:
    """A panel an experiment and layer, a line a method without a loss or head of its own; c
    (dimensionless) on a log axis.
    """
    rows = finished(runs, trajectories)
    moving = [m for m in plain(rows["method"].unique()) if split(m).curvature in MOVING]
    rows = rows[rows["method"].isin(moving) & (rows["curvature"] > 0)]
    names = [n for n in style.experiments(runs, order) if n in set(rows["experiment"])]
    if not names:
        return style.nothing(TITLE, "No run with a moving curvature at this scale.")
    cells = [
        (n, str(k))
        for n in names
        for k in rows.loc[rows["experiment"] == n, "layer"].drop_duplicates()
    ]
    columns = min(3, len(cells))
    figure, axes = style.grid(math.ceil(len(cells) / columns), columns, 3.9, 2.3, TITLE)
    drawn: list[str] = []
    for panel, (name, key) in zip(axes.flat, cells, strict=False):
        layer = rows[(rows["experiment"] == name) & (rows["layer"] == key)]
        for method in style.ordered(layer["method"], order.get(name, ())):
            style.band(
                panel, *series(layer[layer["method"] == method], "curvature"), method, log=True
            )
            drawn.append(method)
        panel.set_yscale("log")
        style.log_axis(panel.yaxis)
        panel.set_title(style.title(f"{name}:", key))
        panel.set_xlabel("training step")
        panel.set_ylabel("curvature c")
    for panel in axes.flat[len(cells) :]:
        panel.set_axis_off()
    style.method_legend(
        figure, style.ordered(drawn, [m for methods in order.values() for m in methods])
    )
    return figure
