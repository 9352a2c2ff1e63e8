"""Lipschitz constants of the ball's maps against curvature."""

import math
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hsac.report.figures import style

TITLE = (
    "Lipschitz constants of the ball's maps: largest derivative found and analytic bound against"
    " curvature"
)
MAPS = {
    "exp0": "exp0(u)",
    "log0": "log0(y)",
    "mobius_add": "Möbius addition x ⊕ y",
    "exp": "exp at x of u",
    "log": "log at x of y",
    "squared_distance": "squared distance d²(x, y)",
    "mlr_logit": "Poincaré MLR's logit of u",
}
ARGUMENTS = {  # label, colour, marker
    "point": ("in the point y or vector u", style.COLOURS["fixed"], "o"),
    "base": ("in the base point x", style.COLOURS["learned"], "s"),
    "c": ("in c (per unit of curvature)", style.COLOURS["drift_down"], "^"),
}
COLUMNS = 4


def draw(rows: pd.DataFrame) -> Figure:
    """Draw measured constants as markers and their bounds as lines, log-log, a panel a map.

    A line is solid where the bound is known as tight.

    Args:
        rows: The study's rows: map, argument, c, r, measured, bound and tight.

    Returns:
        The figure.
    """
    if rows.empty:
        return style.nothing(TITLE, "The study has no rows.")
    names = [name for name in MAPS if name in set(rows["map"])]
    cells = len(names) + 1  # the last one is the legend's
    columns = min(COLUMNS, cells)
    figure, axes = style.grid(math.ceil(cells / columns), columns, 2.6, 2.3, TITLE, sharex=True)
    for panel, name in zip(axes.flat, names, strict=False):
        _panel(panel, rows[rows["map"] == name])
        panel.set_title(MAPS[name])
    for i, panel in enumerate(axes.flat):
        if i >= len(names):
            panel.set_axis_off()
            continue
        # Shared axes have labels in the last row alone, where panels may be missing.
        panel.tick_params(labelbottom=True)
        panel.set_xlabel("curvature c")
        if i % columns == 0:
            panel.set_ylabel("Lipschitz constant")
    _legend(axes.flat[-1], rows["r"].iloc[0])
    return figure


def _panel(axes: Axes, block: pd.DataFrame) -> None:
    for argument, (_, colour, marker) in ARGUMENTS.items():
        cells = block[block["argument"] == argument].sort_values("c")
        if cells.empty:
            continue
        dash = _dash(bool(cells["tight"].all()))
        axes.plot(cells["c"], cells["bound"], color=colour, linestyle=dash, linewidth=1.3)
        found = cells["measured"]
        axes.plot(cells["c"], found, color=colour, marker=marker, markersize=4, linestyle="none")
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high < 100 * low:
        # Room, so that a constant line does not look like a steep one.
        middle = math.sqrt(low * high)
        axes.set_ylim(min(low, middle / 10), max(high, middle * 10))
    style.log_axis(axes.xaxis)


def _legend(axes: Axes, radius: float) -> None:
    handles = []
    for label, colour, marker in ARGUMENTS.values():
        handles.append(style.entry(label, color=colour, marker=marker, linestyle="none"))
    for tight, label in ((True, "bound, attained"), (False, "bound, not tight")):
        look = {"color": "#555555", "linewidth": 1.3, "linestyle": _dash(tight)}
        handles.append(style.entry(label, **look))
    title = f"points within tangent radius {radius:g}"
    axes.legend(handles=handles, title=title, loc="center", fontsize=9, frameon=False)


def _dash(tight: bool) -> Literal["-", "--"]:
    return "-" if tight else "--"
