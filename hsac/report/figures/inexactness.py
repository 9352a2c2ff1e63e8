"""Error of the hypergradient against the distance of the lower level from its solution."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hsac.report.figures import style

TITLE = (
    "An unfinished lower level: error of the hypergradient against the distance from the solution"
)
SOLVERS = {  # label, colour, marker
    "unrolled": ("unrolled", style.CLASSES[4], "x"),
    "neumann": ("neumann", style.CLASSES[0], "o"),
    "cg": ("cg", style.CLASSES[5], "D"),
    "exact": ("exact solve", style.CLASSES[7], "."),
}


def draw(rows: pd.DataFrame) -> Figure:
    """Draw the error against the distance from the solution, log-log, a panel a problem.

    Time runs to the right, towards the solution. The dashed line has slope 1.

    Args:
        rows: The study's rows: problem, solver, step, distance, gradient and relative.

    Returns:
        The figure.
    """
    if rows.empty:
        return style.nothing(TITLE, "The study has no rows.")
    problems = list(dict.fromkeys(rows["problem"]))
    figure, axes = style.grid(1, len(problems), 2.7, 2.7, TITLE)
    for panel, problem in zip(axes.flat, problems, strict=True):
        cells = rows[rows["problem"] == problem]
        for solver, (_, colour, marker) in SOLVERS.items():
            one = cells[cells["solver"] == solver]
            look = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.2}
            panel.plot(one["distance"], one["relative"], **look)
        panel.set_xscale("log")
        panel.set_yscale("log")
        _slope(panel, cells[cells["solver"] == "exact"])
        # Time runs to the right, and the distance falls with it.
        panel.invert_xaxis()
        panel.set_title(problem)
        panel.set_xlabel("|w − w*| (units of w)")
    axes[0, 0].set_ylabel("|g − g*| / |g*|")
    handles = []
    for label, colour, marker in SOLVERS.values():
        look = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.2}
        handles.append(style.entry(label, **look))
    text = "slope 1: O(|w − w*|)"
    handles.append(style.entry(text, color="#4d4d4d", linestyle="--", linewidth=1))
    style.legend(figure, handles, 5)
    return figure


def _slope(axes: Axes, cells: pd.DataFrame) -> None:
    """Draw a line of slope 1 above the exact solve's errors, touching the worst of them."""
    # Below that is rounding, which does not fall with the distance.
    cells = cells[(cells["relative"] > 1e-9) & (cells["distance"] > 0)]
    if len(cells) < 2:
        return
    ends = np.array([cells["distance"].min(), cells["distance"].max()])
    steepest = (cells["relative"] / cells["distance"]).max()
    axes.plot(ends, steepest * ends, color="#4d4d4d", linestyle="--", linewidth=1)
