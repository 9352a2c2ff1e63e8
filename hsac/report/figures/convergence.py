"""Convergence of the outer descent and the floor that the length of Neumann's series sets."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hsac.report.figures import style

TITLE = "Outer descent by an inexact hypergradient, and its floor against Neumann's length J"
COLOURS = tuple(style.CLASSES[k] for k in (9, 4, 0, 2, 1, 5))
SMALLEST = 1e-16  # drawn in place of 0, which a log axis has not


def draw(rows: pd.DataFrame) -> Figure:
    """Draw |dF/dθ|² along the descent above its floor against J, a column a problem.

    The thick line is the running mean.

    Args:
        rows: The study's rows: problem, terms, outer, squared, running, floor and bound.

    Returns:
        The figure.
    """
    if rows.empty:
        return style.nothing(TITLE, "The study has no rows.")
    problems, lengths = list(dict.fromkeys(rows["problem"])), sorted(set(rows["terms"]))
    colours = {terms: COLOURS[i % len(COLOURS)] for i, terms in enumerate(lengths)}
    figure, axes = style.grid(2, len(problems), 3.1, 2.4, TITLE)
    for column, problem in enumerate(problems):
        cells = rows[rows["problem"] == problem]
        _descent(axes[0, column], cells, colours)
        _floor(axes[1, column], cells, colours)
        axes[0, column].set_title(problem)
    axes[0, 0].set_ylabel("|dF/dθ|² (units of F² per θ²)")
    axes[1, 0].set_ylabel("floor (units of F² per θ²)")
    handles = []
    for terms, colour in colours.items():
        handles.append(style.entry(f"J = {terms}", color=colour, linewidth=1.8))
    handles.append(style.entry("running mean", color="#4d4d4d", linewidth=1.6))
    handles.append(style.entry("at the step", color="#4d4d4d", linewidth=0.7))
    handles.append(style.entry("bound at rest", color="#4d4d4d", linestyle="--", linewidth=1))
    style.legend(figure, handles, 8)
    return figure


def _descent(axes: Axes, cells: pd.DataFrame, colours: dict[int, str]) -> None:
    for terms, colour in colours.items():
        one = cells[cells["terms"] == terms].sort_values("outer")
        axes.plot(one["outer"], one["running"], color=colour, linewidth=1.6)
        axes.plot(one["outer"], one["squared"].clip(lower=SMALLEST), color=colour, linewidth=0.7)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("outer step")


def _floor(axes: Axes, cells: pd.DataFrame, colours: dict[int, str]) -> None:
    # Floor and bound are of a whole descent and repeated in its rows.
    last = cells.drop_duplicates("terms").sort_values("terms")
    axes.plot(last["terms"], last["bound"], color="#4d4d4d", linestyle="--", linewidth=1)
    axes.plot(last["terms"], last["floor"].clip(lower=SMALLEST), color="#4d4d4d", linewidth=0.8)
    for terms, floor in zip(last["terms"], last["floor"].clip(lower=SMALLEST), strict=True):
        axes.plot(terms, floor, color=colours[terms], marker="o", markersize=5)
    # J = 0, the direct term alone, has its place beside the powers.
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(-0.2, last["terms"].max() * 1.4 + 1)
    axes.set_xticks(last["terms"], [f"{terms}" for terms in last["terms"]])
    axes.set_yscale("log")
    axes.set_xlabel("length J of the series")
