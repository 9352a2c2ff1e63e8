"""Scope sharpness against training step."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from hsac.report.figures import style
from hsac.report.figures.curvature_trajectories import finished, moving, series
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
    rows = finished(runs, trajectories)
    # Both from what was logged, so that a rule of a plugin counts as any other.
    moved, flat = moving(rows), _flat(rows)
    rows = rows.dropna(subset=["sharpness"])
    # A trajectory has a row a layer, and sharpness is the whole model's.
    rows = rows.drop_duplicates(["experiment", "method", "seed", "step"])
    names = [n for n in style.experiments(runs, order) if n in set(rows["experiment"])]
    if not names:
        return style.nothing(TITLE, "No run with a logged sharpness at this scale.")
    columns = min(3, len(names))
    figure, axes = style.grid(math.ceil(len(names) / columns), columns, 4.4, 2.7, TITLE)
    shown: dict[str, list[str]] = {}
    for name in names:
        kept = Method.of(references.get(name, ""))
        methods = plain(rows.loc[rows["experiment"] == name, "method"])
        for method in style.ordered(methods, order.get(name, ())):
            own = Method.of(method)
            is_reference = (own.curvature, own.start) == (kept.curvature, kept.start)
            if (name, method) in moved | flat or is_reference:
                shown.setdefault(name, []).append(method)
    every = [method for methods in shown.values() for method in methods]
    drawn = style.ordered(every, style.every_method(order))
    titles, shades = style.titles(runs), style.shades(drawn)
    for panel, name in zip(axes.flat, names, strict=False):
        block = rows[rows["experiment"] == name]
        for method in shown.get(name, ()):
            steps, values = series(block[block["method"] == method], "sharpness")
            style.band(panel, steps, values, method, shade=shades[method], log=True)
        panel.set_title(titles[name])
        panel.set_xlabel("training step")
        panel.set_ylabel("sharpness (nats)")
        panel.set_yscale("log")
    for panel in axes.flat[len(names) :]:
        panel.set_axis_off()
    style.method_legend(figure, drawn, shades)
    return figure


def _flat(rows: pd.DataFrame) -> set[tuple[str, str]]:
    """Find experiment and method of the Euclidean models, whose curvature is 0 or none at all."""
    cells = ["experiment", "method"]
    largest = rows.assign(curvature=rows["curvature"].fillna(0)).groupby(cells)["curvature"].max()
    return set(largest[largest == 0].index)
