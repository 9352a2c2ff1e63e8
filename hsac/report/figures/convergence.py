"""Convergence of the outer descent and the floor that the length of Neumann's series sets."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hsac.report.figures import style

TITLE = "Outer descent by an inexact hypergradient, and its floor against Neumann's length J"
COLOURS = (
    style.CLASSES[9],
    style.CLASSES[4],
    style.CLASSES[0],
    style.CLASSES[2],
    style.CLASSES[1],
    style.CLASSES[5],
)
SMALLEST = 1e-16


def draw(rows: pd.DataFrame) -> Figure:
    """A column a problem; above the running mean of |dF/dθ|² along the descent, below its floor and
    bound against J.

    ``rows``: the study's, columns problem, terms, outer, squared, running, floor, bound.
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
    handles = [
        Line2D([], [], color=c, linewidth=1.8, label=f"J = {terms}") for terms, c in colours.items()
    ]
    handles.append(Line2D([], [], color="#4d4d4d", linewidth=1.6, label="running mean"))
    handles.append(Line2D([], [], color="#4d4d4d", linewidth=0.7, label="at the step"))
    handles.append(
        Line2D([], [], color="#4d4d4d", linestyle="--", linewidth=1, label="bound at rest")
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=8, frameon=False, fontsize=9)
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
    last = cells.drop_duplicates("terms").sort_values("terms")
    axes.plot(last["terms"], last["bound"], color="#4d4d4d", linestyle="--", linewidth=1)
    axes.plot(last["terms"], last["floor"].clip(lower=SMALLEST), color="#4d4d4d", linewidth=0.8)
    for terms, floor in zip(last["terms"], last["floor"].clip(lower=SMALLEST), strict=True):
        axes.plot(terms, floor, color=colours[terms], marker="o", markersize=5)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(-0.2, last["terms"].max() * 1.4 + 1)
    axes.set_xticks(last["terms"], [f"{terms}" for terms in last["terms"]])
    axes.set_yscale("log")
    axes.set_xlabel("length J of the series")
