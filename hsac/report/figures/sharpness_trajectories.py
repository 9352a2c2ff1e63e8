"""Scope sharpness against training step."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from hsac.report.figures import style
from hsac.report.figures.curvature_trajectories import MOVING, finished, series
from hsac.study.method import Method, plain

TITLE = (
    "Sharpness during training (worst-case loss increase; geometric mean over seeds ± 1 sd of its"
    " log)"
)


def draw(
    runs: pd.DataFrame,
    trajectories: pd.DataFrame,
    order: Mapping[str, Sequence[str]],
    references: Mapping[str, str],
) -> Figure:
    """Draw sharpness against the training step, a panel an experiment.

    Drawn are Euclidean, the reference's curvature and the moving rules, under each weight rule.
    Methods with a loss or head of their own are left to the tables.

    Args:
        runs: The gathered runs.
        trajectories: The gathered trajectories.
        order: Experiments and their methods, in the tables' order.
        references: The reference method of each experiment.

    Returns:
        The figure.
    """
    rows = finished(runs, trajectories).dropna(subset=["sharpness"])
    # A trajectory has a row a layer, and sharpness is the whole model's.
    rows = rows.drop_duplicates(["experiment", "method", "seed", "step"])
    names = [n for n in style.experiments(runs, order) if n in set(rows["experiment"])]
    if not names:
        return style.nothing(TITLE, "No run with a logged sharpness at this scale.")
    columns = min(3, len(names))
    figure, axes = style.grid(math.ceil(len(names) / columns), columns, 4.4, 2.7, TITLE)
    drawn: list[str] = []
    titles = style.titles(runs)
    for panel, name in zip(axes.flat, names, strict=False):
        block = rows[rows["experiment"] == name]
        kept = Method.of(references.get(name, ""))
        for method in style.ordered(plain(block["method"]), order.get(name, ())):
            own = Method.of(method)
            is_reference = (own.curvature, own.start) == (kept.curvature, kept.start)
            if own.curvature in (*MOVING, "euclidean") or is_reference:
                steps, values = series(block[block["method"] == method], "sharpness")
                style.band(panel, steps, values, method, log=True)
                drawn.append(method)
        panel.set_title(titles[name])
        panel.set_xlabel("training step")
        panel.set_ylabel("sharpness (nats)")
        panel.set_yscale("log")
    for panel in axes.flat[len(names) :]:
        panel.set_axis_off()
    style.method_legend(figure, style.ordered(drawn, style.every_method(order)))
    return figure
