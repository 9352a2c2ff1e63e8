"""Sharpness and generalisation gap against a fixed curvature."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hsac.report.figures import style
from hsac.report.statistics import mean_interval

TITLE = "Sharpness and generalisation gap across fixed curvatures (mean and 95 % interval over seeds)"
QUANTITIES = {"sharpness": "sharpness (nats)", "gap": "test NLL − train NLL (nats)"}


def draw(runs: pd.DataFrame, order: Mapping[str, Sequence[str]]) -> Figure:
    """A column an experiment; above final sharpness, below the last epoch's generalisation gap; c on a log axis."""
    ok = runs[runs["status"] == "ok"]
    ok = ok.assign(gap=ok["last_test_nll"] - ok["last_train_nll"])
    fixed = ok[(ok["curvature_rule"] == "fixed") & (ok["start"] > 0)]
    names = [n for n in style.experiments(runs, order) if n in set(fixed["experiment"])]
    if not names:
        return style.nothing(TITLE, "No finished run with a fixed curvature at this scale.")
    figure, axes = style.grid(2, len(names), 2.9, 2.4, TITLE, sharex="col")
    titles = style.titles(runs)
    for column, name in enumerate(names):
        cells = fixed[fixed["experiment"] == name]
        flat = ok[(ok["experiment"] == name) & (ok["curvature_rule"] == "euclidean")]
        for row, (quantity, label) in enumerate(QUANTITIES.items()):
            panel = axes[row, column]
            for weight in sorted(cells["weight_rule"].unique(), key=lambda rule: (rule == "sam", rule)):
                _sweep(panel, cells[cells["weight_rule"] == weight], weight, quantity)
            euclidean = mean_interval(flat.loc[flat["weight_rule"] != "sam", quantity]).mean
            if np.isfinite(euclidean):
                panel.axhline(euclidean, color=style.COLOURS["euclidean"], linestyle=":", linewidth=1.2)
            panel.set_xscale("log")
            panel.set_xlim(cells["start"].min() / 1.5, cells["start"].max() * 1.5)
            style.log_curvature(panel.xaxis)
            if column == 0:
                panel.set_ylabel(label)
        axes[0, column].set_title(titles[name].replace(" (", "\n("))
        axes[1, column].set_xlabel("fixed curvature c")
    rules = sorted(fixed["weight_rule"].unique(), key=lambda rule: (rule == "sam", rule))
    plain, sam = [r for r in rules if r != "sam"], "sam" in rules
    handles = [_handle(" or ".join(plain) + ", fixed c", "sgd+fixed")] * bool(plain)
    handles += [_handle("sam, fixed c", "sam+fixed")] * sam
    handles.append(Line2D([], [], color=style.COLOURS["euclidean"], linestyle=":", label="euclidean"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _handle(label: str, method: str) -> Line2D:
    return Line2D(
        [], [], color=style.colour(method), linestyle=style.line(method), marker=style.marker(method), label=label
    )


def _sweep(axes: Axes, cells: pd.DataFrame, weight: str, quantity: str) -> None:
    values = {c: mean_interval(cells.loc[cells["start"] == c, quantity]) for c in sorted(set(cells["start"].tolist()))}
    half = [0.0 if m.n < 2 else (m.high - m.low) / 2 for m in values.values()]
    method = f"{weight}+fixed"
    axes.errorbar(
        list(values),
        [m.mean for m in values.values()],
        yerr=half,
        color=style.colour(method),
        linestyle=style.line(method),
        marker=style.marker(method),
        markersize=4,
        capsize=2.5,
    )
