"""What a fixed curvature does to sharpness, Hessian, certificate and generalisation gap."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hsac.report.figures import style
from hsac.report.statistics import Mean, Replicates, mean_interval

TITLE = "What curvature does at the end of training (mean and 95 % interval over seeds)"
QUANTITIES = {
    "sharpness": "sharpness (nats)",
    "top_eigenvalue": "top Hessian\neigenvalue (nats)",
    "trace": "Hessian trace (nats)",
    "bound": "certified\n0–1 risk",
    "gap": "test − train NLL\n(nats)",
}
# On a log axis where means are above 0 and span a decade.
POSITIVE = ("sharpness", "top_eigenvalue", "trace")
DECADE = 10.0
# Factor of c between the rules' markers and the value, so that intervals do not hide each other.
APART = 1.04


def draw(rows: pd.DataFrame, flat: pd.DataFrame) -> Figure:
    """Draw each quantity against c, a column an experiment and a row a quantity.

    The dotted line is the Euclidean model.

    Args:
        rows: A row a run at a fixed curvature: experiment, setting, weight_rule, seed, curvature
            and the columns of ``QUANTITIES``, NaN where unknown. A quantity that is known nowhere
            has no panels.
        flat: The Euclidean runs, the same columns but for the curvature. It may have no rows.

    Returns:
        The figure.
    """
    quantities = [name for name in QUANTITIES if name in rows and rows[name].notna().any()]
    if not quantities:
        return style.nothing(TITLE, "No finished run with a fixed curvature at this scale.")
    names = list(dict.fromkeys(rows["experiment"]))
    rules = sorted(set(rows["weight_rule"]), key=lambda rule: (not style.is_plain(rule), rule))
    figure, axes = style.grid(len(quantities), len(names), 3.0, 1.75, TITLE, sharex="col")
    titles = style.titles(rows)
    logarithmic = [name for name in quantities if name in POSITIVE and _spans_a_decade(rows, name)]
    has_flat = False
    for column, name in enumerate(names):
        block, euclidean = rows[rows["experiment"] == name], flat[flat["experiment"] == name]
        for row, quantity in enumerate(quantities):
            panel = axes[row, column]
            curves = {rule: _curve(block[block["weight_rule"] == rule], quantity) for rule in rules}
            level = _mean(euclidean[euclidean["weight_rule"].isin(style.PLAIN)], quantity).mean
            _panel(panel, curves, level)
            if quantity in logarithmic:
                # An interval can reach below 0 although its mean is above.
                panel.set_yscale("log", nonpositive="clip")
            has_flat |= bool(np.isfinite(level))
            if column == 0:
                panel.set_ylabel(QUANTITIES[quantity])
        low, high = block["curvature"].min(), block["curvature"].max()
        for panel in axes[:, column]:
            panel.set_xscale("log")
            panel.set_xlim(low / 1.5, high * 1.5)
            style.log_axis(panel.xaxis)
        # Name and setting in one line would be wider than these narrow panels.
        axes[0, column].set_title(titles[name].replace(" (", "\n("))
        axes[-1, column].set_xlabel("fixed curvature c")
    figure.align_ylabels()
    _legend(figure, rules, has_flat)
    return figure


def _curve(cells: pd.DataFrame, quantity: str) -> dict[float, Mean]:
    curvatures = sorted(set(cells["curvature"]))
    means = {c: _mean(cells[cells["curvature"] == c], quantity) for c in curvatures}
    return {c: m for c, m in means.items() if m.n}


def _mean(cell: pd.DataFrame, quantity: str) -> Mean:
    """Return the mean over the runs of one experiment and method; without runs, of nothing."""
    experiment, method = cell[["experiment", "method"]].iloc[0] if len(cell) else ("", "")
    return mean_interval(Replicates(cell, experiment, method, quantity))


def _spans_a_decade(rows: pd.DataFrame, quantity: str) -> bool:
    means = rows.groupby(["experiment", "weight_rule", "curvature"])[quantity].mean().dropna()
    return bool(means.min() > 0 and means.max() > DECADE * means.min())


def _panel(axes: Axes, curves: dict[str, dict[float, Mean]], level: float) -> None:
    if not any(curves.values()):
        centred: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
        axes.text(0.5, 0.5, "not computed", color="#777777", **centred)
        axes.set_yticks([])
        return
    others = [rule for rule in curves if not style.is_plain(rule)]
    for rule, curve in curves.items():
        method = f"{rule}+fixed"
        # The plain rules to the left, each other one further to the right.
        apart = 2 * others.index(rule) + 1 if rule in others else -1
        axes.errorbar(
            [c * APART**apart for c in curve],
            [m.mean for m in curve.values()],
            yerr=[0.0 if m.n < 2 else (m.high - m.low) / 2 for m in curve.values()],
            color=style.colour(method),
            linestyle=style.line(method),
            marker=style.marker(method),
            markerfacecolor=style.face(method),
            markersize=4,
            capsize=2.5,
        )
    if np.isfinite(level):
        axes.axhline(level, color=style.COLOURS["euclidean"], linestyle=":", linewidth=1.4)


def _legend(figure: Figure, rules: list[str], has_flat: bool) -> None:
    plain = [rule for rule in rules if style.is_plain(rule)]
    handles = [_handle(" or ".join(plain) + ", fixed c", plain[0])] if plain else []
    others = [rule for rule in rules if not style.is_plain(rule)]
    handles += [_handle(f"{rule}, fixed c", rule) for rule in others]
    if has_flat:
        dotted = {"color": style.COLOURS["euclidean"], "linestyle": ":"}
        handles.append(style.entry("euclidean, plain rule", **dotted))
    style.legend(figure, handles, 3)


def _handle(label: str, rule: str) -> Line2D:
    method = f"{rule}+fixed"
    return style.entry(
        label,
        color=style.colour(method),
        linestyle=style.line(method),
        marker=style.marker(method),
        markerfacecolor=style.face(method),
    )
