"""Neumann's series at negative curvature, with and without its safeguards."""

from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
    """Draw |x| with its theoretical growth above the hypergradient's error, a column a curvature.

    Args:
        rows: The study's rows: curvature, solver, terms, guarded, length, theory and relative.

    Returns:
        The figure.
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
    handles = []
    for label, colour, marker in SOLVERS.values():
        for guarded, tail in ((0, "no guard"), (1, "guarded")):
            look = {"color": colour, "linestyle": LINES[guarded], "marker": marker}
            handles.append(style.entry(f"{label}, {tail}", markersize=3.5, **look))
    growth = "((1 + m/ℓ)^(J+1) − 1)/m · |v_m|"
    handles.append(style.entry(growth, color="#4d4d4d", linestyle=":", linewidth=1.4))
    style.legend(figure, handles, 5, fontsize=8)
    return figure


def _length(axes: Axes, cells: pd.DataFrame) -> None:
    for solver, (_, colour, marker) in SOLVERS.items():
        # Guarded, the direct term alone is left, and nothing grows.
        one = cells[(cells["solver"] == solver) & (cells["guarded"] == 0)]
        x, y = one["terms"], one["length"]
        axes.plot(x, y, color=colour, marker=marker, markersize=3.5, linewidth=1.3)
    theory = cells[(cells["solver"] == "neumann") & (cells["guarded"] == 0)]
    x, y = theory["terms"], theory["theory"]
    axes.plot(x, y, color="#4d4d4d", linestyle=":", linewidth=1.6, zorder=5)
    axes.set_yscale("log")


def _errors(axes: Axes, cells: pd.DataFrame) -> None:
    for solver, (_, colour, marker) in SOLVERS.items():
        for guarded, line in LINES.items():
            one = cells[(cells["solver"] == solver) & (cells["guarded"] == guarded)]
            x, y = one["terms"], one["relative"]
            axes.plot(x, y, color=colour, linestyle=line, marker=marker, markersize=3.5)
    # The error of taking 0 for the hypergradient.
    axes.axhline(1.0, color="#4d4d4d", linewidth=0.6)
    axes.set_yscale("log")
