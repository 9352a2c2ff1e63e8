"""Neumann's series at negative curvature, with and without its safeguards."""

from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hsac.report.figures import style

TITLE = (
    "A lower level with negative curvature −m: growth of the solution, error with and without"
    " guards"
)
SOLVERS = {
    "neumann": ("neumann", style.CLASSES[0], "o"),
    "cg": ("cg, damped", style.CLASSES[1], "D"),
}
LINES: dict[int, Literal["-", "--"]] = {0: "--", 1: "-"}  # guarded or not


def draw(rows: pd.DataFrame) -> Figure:
    """A column a curvature; above |x| with its theoretical growth, below the hypergradient's error;
    y axes log.

    ``rows``: the study's, of which columns curvature, solver, terms, guarded, length, theory and
    relative are drawn.
    """
    if rows.empty:
        return style.nothing(TITLE, "The study has no rows.")
    curvatures = sorted(set(rows["curvature"]))
    figure, axes = style.grid(2, len(curvatures), 2.7, 2.3, TITLE, sharex=True, sharey="row")
    for column, m in enumerate(curvatures):
        cells = rows[rows["curvature"] == m]
        _length(axes[0, column], cells)
        _errors(axes[1, column], cells)
        axes[0, column].set_title("convex (m = 0)" if m == 0 else f"m = {m:g}")
        axes[1, column].set_xlabel("terms J")
    axes[0, 0].set_ylabel("|x| (units of w)")
    axes[1, 0].set_ylabel("|g − g*| / |g*|")
    handles = [
        Line2D(
            [],
            [],
            color=colour,
            linestyle=LINES[g],
            marker=marker,
            markersize=3.5,
            label=f"{label}{tail}",
        )
        for label, colour, marker in SOLVERS.values()
        for g, tail in ((0, ", no guard"), (1, ", guarded"))
    ]
    handles.append(
        Line2D(
            [],
            [],
            color="#4d4d4d",
            linestyle=":",
            linewidth=1.4,
            label="((1 + m/ℓ)^(J+1) − 1)/m · |v_m|",
        )
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return figure


def _length(axes: Axes, cells: pd.DataFrame) -> None:
    for solver, (_, colour, marker) in SOLVERS.items():
        one = cells[(cells["solver"] == solver) & (cells["guarded"] == 0)]
        axes.plot(
            one["terms"], one["length"], color=colour, marker=marker, markersize=3.5, linewidth=1.3
        )
    theory = cells[(cells["solver"] == "neumann") & (cells["guarded"] == 0)]
    axes.plot(
        theory["terms"], theory["theory"], color="#4d4d4d", linestyle=":", linewidth=1.6, zorder=5
    )
    axes.set_yscale("log")


def _errors(axes: Axes, cells: pd.DataFrame) -> None:
    for solver, (_, colour, marker) in SOLVERS.items():
        for guarded, line in LINES.items():
            one = cells[(cells["solver"] == solver) & (cells["guarded"] == guarded)]
            axes.plot(
                one["terms"],
                one["relative"],
                color=colour,
                linestyle=line,
                marker=marker,
                markersize=3.5,
            )
    axes.axhline(1.0, color="#4d4d4d", linewidth=0.6)
    axes.set_yscale("log")
