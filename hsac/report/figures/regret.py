"""What each way to choose the curvature costs, on frozen features."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hsac.report import frozen
from hsac.report.figures import style

TITLE = "Regret of each way to choose the curvature of a head on frozen features"
# Label, colour and marker of each kind of chooser.
KINDS = {
    "reading": ("least sharpness, by reading", style.CLASSES[5], "o"),
    "bound": ("PAC-Bayes bound", style.CLASSES[3], "^"),
    "other": ("control, no sharpness", style.CLASSES[0], "s"),
    "labels": ("sees validation labels", style.CLASSES[2], "D"),
}
NAMED = {
    **dict.fromkeys(("validation", "validation_tempered"), "labels"),
    **dict.fromkeys(("certificate", "informed"), "bound"),
}
AXES = {"error": "test error (points)", "nll": "test NLL (0.01 nat)"}


def draw(numbers: pd.DataFrame) -> Figure:
    """Draw mean regrets with intervals: a row a measure, a column a group of problems.

    Args:
        numbers: What `hsac.report.frozen.table` returns. The choosers stand in its order.

    Returns:
        The figure.
    """
    rows = numbers[numbers["chooser"] != "oracle"].reset_index(drop=True)
    groups = [group for group in frozen.GROUPS if f"{group}_error" in rows]
    height = 0.9 + 0.17 * len(rows)
    options = {"sharex": "row", "sharey": True}
    figure, axes = style.grid(len(AXES), len(groups), 1.9, height, TITLE, **options)
    for panel, group in zip(axes[0], groups, strict=True):
        panel.set_title(_title(rows, group))
    for line, (measure, label) in zip(axes, AXES.items(), strict=True):
        for panel, group in zip(line, groups, strict=True):
            _panel(panel, rows, f"{group}_{measure}")
            panel.set_xlabel(label)
        # One chooser far off, with its interval, would press the others together.
        reach = np.nanmax(rows[[f"{group}_{measure}" for group in groups]], initial=0.0)
        line[0].set_xlim(-0.08 * reach - 1e-9, 1.2 * reach + 1e-9)
        line[0].set_yticks(range(len(rows)), [frozen.words(name) for name in rows["chooser"]])
    axes[0, 0].invert_yaxis()
    handles = []
    for label, colour, marker in KINDS.values():
        handles.append(style.entry(label, color=colour, marker=marker, linestyle=""))
    # Below few panels a long line would be cut.
    style.legend(figure, handles, len(handles) if len(groups) > 3 else 2)
    return figure


def _title(rows: pd.DataFrame, group: str) -> str:
    count = int(rows[f"{group}_error_problems"].max())
    return f"{frozen.GROUPS[group]}\n({count} {'problem' if count == 1 else 'problems'})"


def _panel(axes: Axes, rows: pd.DataFrame, name: str) -> None:
    means = rows[name].to_numpy(dtype=float)
    for kind, (_, colour, marker) in KINDS.items():
        own = np.array([_kind(chooser) == kind for chooser in rows["chooser"]])
        places = np.flatnonzero(own & np.isfinite(means))
        low, high = (rows[f"{name}_{end}"].to_numpy(dtype=float) for end in ("low", "high"))
        look: dict[str, Any] = {"color": colour, "linestyle": ""}
        # Without an interval the ends are NaN, which are not drawn.
        axes.hlines(places, low[places], high[places], color=colour, linewidth=1.1)
        axes.plot(means[places], places, marker=marker, markersize=4, **look)
    axes.axvline(0, color="#4d4d4d", linewidth=0.9, zorder=1)


def _kind(chooser: str) -> str:
    if "@" in chooser:
        return "reading"
    return NAMED.get(chooser, "other")
