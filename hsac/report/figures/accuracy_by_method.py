"""Test accuracy of every method, a panel an experiment."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hsac.report.figures import style
from hsac.report.statistics import Replicates, mean_interval

TITLE = "Test accuracy by method (selected on validation, 95 % intervals over seeds)"


def draw(
    runs: pd.DataFrame, order: Mapping[str, Sequence[str]], references: Mapping[str, str]
) -> Figure:
    """Draw a point with its 95 % t interval a method, with faint dots for seeds (%).

    A dashed line stands at the reference's mean.

    Args:
        runs: The gathered runs.
        order: Experiments and their methods, in the tables' order.
        references: The reference method of each experiment.

    Returns:
        The figure.
    """
    names = style.experiments(runs, order)
    if not names:
        return style.nothing(TITLE, "No runs yet.")
    methods = [runs.loc[runs["experiment"] == name, "method"].unique() for name in names]
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    # Room for the longest label, and for the fullest panel of each row.
    longest = max(len(method) for of in methods for method in of)
    width = 4.6 + 0.08 * max(0, longest - 16)
    fullest = [max(map(len, methods[k : k + columns])) for k in range(0, len(names), columns)]
    heights = [0.27 * most + 0.9 for most in fullest]
    shape = {"height_ratios": heights}
    figure, axes = style.grid(rows, columns, width, sum(heights) / rows, TITLE, gridspec_kw=shape)
    titles = style.titles(runs)
    for panel, name in zip(axes.flat, names, strict=False):
        block = runs[runs["experiment"] == name]
        present = style.ordered(block["method"], order.get(name, ()))
        _panel(panel, block, name, present, references.get(name, ""))
        panel.set_title(titles[name])
    for panel in axes.flat[len(names) :]:
        panel.set_axis_off()
    return figure


def _panel(
    axes: Axes, block: pd.DataFrame, experiment: str, methods: list[str], reference: str
) -> None:
    labels = []
    for row, method in enumerate(methods):
        cell = block[block["method"] == method]
        replicates = Replicates(cell, experiment, method, scale=100)
        values = replicates.values.to_numpy()
        m, shade = mean_interval(replicates), style.colour(method)
        # A fixed vertical spread keeps equal accuracies of different seeds apart.
        reach = 0.22 if len(values) > 1 else 0.0
        offsets = np.linspace(-reach, reach, len(values))
        axes.scatter(values, row + offsets, s=9, color=shade, alpha=0.4, linewidths=0)
        if m.n:
            half = (m.high - m.low) / 2 if m.n > 1 else 0.0
            axes.errorbar(
                m.mean,
                row,
                xerr=half,
                color=shade,
                marker=style.marker(method),
                markersize=5,
                capsize=2.5,
            )
        if method == reference and m.n:
            axes.axvline(m.mean, color=shade, linestyle="--", linewidth=0.9, zorder=1)
        failed = "" if len(values) == len(cell) else f" ({len(values)}/{len(cell)} ok)"
        labels.append(("▸ " if method == reference else "") + method + failed)
    axes.set_yticks(range(len(methods)), labels)
    # Upside down, so that the first method stands on top as in the tables.
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.set_xlabel("test accuracy (%); ▸ and dashed line: reference")
