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
    """A point with its 95 % t interval a method, faint dots for seeds, a dashed line at the
    reference's mean (%).
    """
    names = style.experiments(runs, order)
    if not names:
        return style.nothing(TITLE, "No runs yet.")
    methods = [runs.loc[runs["experiment"] == name, "method"].unique() for name in names]
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    # room for the longest label, and for the fullest panel of each row
    width = 4.6 + 0.08 * max(0, max(len(method) for of in methods for method in of) - 16)
    heights = [
        0.27 * max(map(len, methods[columns * row : columns * (row + 1)])) + 0.9
        for row in range(rows)
    ]
    shape = {"height_ratios": heights}
    figure, axes = style.grid(rows, columns, width, sum(heights) / rows, TITLE, gridspec_kw=shape)
    titles = style.titles(runs)
    for panel, name in zip(axes.flat, names, strict=False):
        block = runs[runs["experiment"] == name]
        _panel(
            panel,
            block,
            name,
            style.ordered(block["method"], order.get(name, ())),
            references.get(name, ""),
        )
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
        # a fixed vertical spread keeps equal accuracies of different seeds apart
        offsets = (
            np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else np.zeros(len(values))
        )
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
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.set_xlabel("test accuracy (%); ▸ and dashed line: reference")
