"""Bias and noise of the hypergradient against the batch size."""

import textwrap
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from hsac.report.figures import style

TITLE = "Bias and noise of the hypergradient, by batch size and by which samples are shared"
KINDS: dict[str, tuple[str, str, str, Literal["-", ":"]]] = {  # label, colour, marker, line
    "levels": ("one batch for all", style.CLASSES[5], "s", "-"),
    "adversary": ("one a level, the adversary's the upper level's", style.CLASSES[3], "D", "-"),
    "none": ("one a level and for the adversary (the rule)", style.CLASSES[0], "o", "-"),
    "step": ("… and Neumann's step known", style.CLASSES[4], "x", ":"),
    "terms": ("… and one a product", style.CLASSES[2], "^", "-"),
}
ROWS = (  # objective, column, label
    ("loss", "bias_percent", "bias, upper level: loss\n(% of the hypergradient)"),
    ("worst", "bias_percent", "bias, upper level: worst\n(% of the hypergradient)"),
    ("worst", "sd_percent", "noise, upper level: worst\n(% of the hypergradient)"),
)
CERTAIN = 0.01  # a bias with a larger p has an open marker


def draw(table: pd.DataFrame) -> Figure:
    """Draw the bias for both objectives above the noise, log-log, a column an experiment.

    Args:
        table: What `hsac.report.hypergradient_bias.table` returns.

    Returns:
        The figure.
    """
    if table.empty:
        reason = "No experiment of the scale names a training for it (hypergradient)."
        return style.nothing(TITLE, reason)
    names = list(dict.fromkeys(table["experiment"]))
    figure, axes = style.grid(len(ROWS), len(names), 2.2, 2.2, TITLE, sharex="col", sharey="row")
    for column, name in enumerate(names):
        cells = table[table["experiment"] == name]
        for panel, (objective, quantity, _) in zip(axes[:, column], ROWS, strict=True):
            _panel(panel, cells[cells["objective"] == objective], quantity)
        axes[0, column].set_title("\n".join(textwrap.wrap(name.replace("_", " "), 20)))
        axes[-1, column].set_xlabel("batch size")
        axes[-1, column].xaxis.set_major_locator(FixedLocator(sorted(set(cells["size"]))))
        axes[-1, column].xaxis.set_minor_locator(NullLocator())
        axes[-1, column].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for panel, (_, _, label) in zip(axes[:, 0], ROWS, strict=True):
        panel.set_ylabel(label)
        style.log_axis(panel.yaxis)
    style.legend(figure, _handles(), 4, fontsize=8)
    return figure


def _panel(axes: Axes, cells: pd.DataFrame, quantity: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.axhline(100, color="#4d4d4d", linewidth=0.9, linestyle="--", zorder=1)
    kinds = [kind for kind in KINDS if kind in set(cells["shared"])]
    for place, kind in enumerate(kinds):
        # A log axis has no 0, which is what batches of all rows give.
        own = cells[(cells["shared"] == kind) & (cells[quantity] > 0)].sort_values("size")
        # Beside each other, or equal ones would hide one another.
        x = own["size"].to_numpy() * 1.05 ** (place - (len(kinds) - 1) / 2)
        _line(axes, x, own, kind, quantity)


def _line(axes: Axes, x: np.ndarray, own: pd.DataFrame, kind: str, quantity: str) -> None:
    _, colour, marker, line = KINDS[kind]
    y = own[quantity].to_numpy()
    axes.plot(x, y, color=colour, linestyle=line, linewidth=1.3, zorder=2)
    if quantity == "bias_percent":
        # The floor is a single point's standard error. That of all points is smaller by √points.
        bar = own["floor_percent"].to_numpy() / np.sqrt(own["points"].to_numpy())
        low = np.minimum(bar, 0.9 * y)  # a log axis has no 0
        bars = np.stack([low, bar])
        axes.errorbar(x, y, yerr=bars, color=colour, linestyle="", elinewidth=0.9, zorder=2)
    certain = (own["p"] < CERTAIN).to_numpy() | (quantity != "bias_percent")
    for filled, chosen in ((True, certain), (False, ~certain)):
        face = colour if filled else "white"
        axes.plot(
            x[chosen],
            y[chosen],
            linestyle="",
            marker=marker,
            markersize=4.5,
            color=colour,
            markerfacecolor=face,
            zorder=3,
        )


def _handles() -> list[Line2D]:
    handles = []
    for label, colour, marker, line in KINDS.values():
        look = {"color": colour, "marker": marker, "linestyle": line}
        handles.append(style.entry(label, markersize=4.5, linewidth=1.3, **look))
    text = f"open: p of no bias ≥ {CERTAIN:g}"
    open_marker = {"marker": "o", "markerfacecolor": "white", "linestyle": ""}
    handles.append(style.entry(text, color="#4d4d4d", **open_marker))
    text = "as large as the hypergradient"
    handles.append(style.entry(text, color="#4d4d4d", linestyle="--", linewidth=0.9))
    return handles
