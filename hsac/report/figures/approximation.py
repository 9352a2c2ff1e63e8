"""Approximation error of the hypergradient against Hessian products."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from hsac.report.figures import style

TITLE = "Approximation error of each solver against Hessian products, beside its bound"
SOLVERS = {  # label, colour, marker
    "identity": ("identity (x = v)", style.CLASSES[9], "s"),
    "neumann": ("neumann, step 1/ℓ", style.CLASSES[0], "o"),
    "unrolled": ("unrolled, step 1/ℓ", style.CLASSES[4], "x"),
    "amortised": ("amortised, from cold", style.CLASSES[3], "v"),
    "nystrom": ("nystrom, damped", style.CLASSES[2], "^"),
    "cg_damped": ("cg, damped", style.CLASSES[1], "D"),
    "cg": ("cg", style.CLASSES[5], "o"),
    "exact": ("exact", style.CLASSES[7], "*"),
}
POINTS = ("identity", "exact", "unrolled")  # drawn without a line: single, or on neumann's
QUANTITIES = {
    "error": "solve: |x − H⁻¹v|\n(units of w)",
    "relative": "hypergradient: |g − g*| / |g*|",
}
DECADES = 9  # of the solve's error; below, only cg and exact go on to rounding


def draw(rows: pd.DataFrame) -> Figure:
    """Draw the error of the solve with its bounds above the hypergradient's, a column a problem.

    Args:
        rows: The study's rows: problem, solver, terms, products, error, bound, relative and
            failed.

    Returns:
        The figure.
    """
    if rows.empty:
        return style.nothing(TITLE, "The study has no rows.")
    problems = list(dict.fromkeys(rows["problem"]))
    figure, axes = style.grid(2, len(problems), 2.7, 2.6, TITLE, sharex=True)
    for column, problem in enumerate(problems):
        cells = rows[rows["problem"] == problem]
        for row, (quantity, label) in enumerate(QUANTITIES.items()):
            panel = axes[row, column]
            for solver in SOLVERS:
                _line(panel, cells[cells["solver"] == solver], solver, quantity)
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(LogLocator(numticks=8))
            panel.yaxis.set_minor_locator(NullLocator())
            _limits(panel, cells, quantity)
            if column == 0:
                panel.set_ylabel(label)
        axes[0, column].set_title(problem)
        axes[1, column].set_xlabel("Hessian products")
    present = [s for s in SOLVERS if s in set(rows["solver"])]
    handles = [_handle(s) for s in present]
    bound = "bound, in its solver's colour"
    handles.append(style.entry(bound, color="#4d4d4d", linestyle="--", linewidth=0.9))
    failed = {"color": "#4d4d4d", "marker": "o", "linestyle": "", "markerfacecolor": "none"}
    handles.append(style.entry("open: marked as failed", **failed))
    style.legend(figure, handles, 5, fontsize=8)
    return figure


def _handle(solver: str) -> Line2D:
    label, colour, marker = SOLVERS[solver]
    width = 0.0 if solver in POINTS else 1.4
    return style.entry(label, color=colour, marker=marker, markersize=4.5, linewidth=width)


def _line(axes: Axes, cells: pd.DataFrame, solver: str, quantity: str) -> None:
    _, colour, marker = SOLVERS[solver]
    cells = cells.sort_values("terms")
    size = 9 if solver == "exact" else 4
    top = 4 if solver == "unrolled" else 3  # its crosses lie on neumann's discs
    width = 0.0 if solver in POINTS else 1.4
    axes.plot(cells["products"], cells[quantity], color=colour, linewidth=width, zorder=top - 0.5)
    for failed, face in ((0, colour), (1, "white")):
        points = cells[cells["failed"] == failed]
        axes.plot(
            points["products"],
            points[quantity],
            linestyle="",
            marker=marker,
            markersize=size,
            color=colour,
            markerfacecolor=face,
            zorder=top,
        )
    if quantity == "error" and solver not in ("identity", "unrolled"):
        axes.plot(cells["products"], cells["bound"], color=colour, linestyle="--", linewidth=0.9)


def _limits(axes: Axes, cells: pd.DataFrame, quantity: str) -> None:
    # Room for the bounds, too, and none below what only rounding reaches.
    highest = np.nanmax(cells[[quantity, "bound"]] if quantity == "error" else cells[quantity])
    axes.set_ylim(bottom=highest / 10**DECADES if quantity == "error" else None, top=3 * highest)
