"""Test accuracy against what it costs to get there, a panel an experiment."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from hsac.report.figures import style
from hsac.report.statistics import Replicates, mean_interval
from hsac.study.method import Method

TITLE = "Test accuracy against compute (selected on validation, 95 % intervals over seeds)"
# Gradient evaluations that a Hessian product counts as: it differentiates a gradient.
PRODUCT = 2
# Factor between the places of methods that cost the same.
SPREAD = 1.035
# Numbers at the foot that are nearer than this factor would lie on each other.
NEAR = 1.1


def compute(block: pd.DataFrame) -> pd.Series:
    """Compute what one model of each method costs, its search and every trial included.

    Args:
        block: The finished runs of one experiment.

    Returns:
        The cost by method: gradient evaluations, a Hessian product counted as two, in units of the
        cheapest method's training.
    """
    # A method that was not searched has no search to pay.
    known = block[["gradients", "products", "search_gradients", "search_products"]].fillna(0)
    run = known["gradients"] + PRODUCT * known["products"]
    search = known["search_gradients"] + PRODUCT * known["search_products"]
    by_method = block["method"]
    # Each run carries its method's whole search, so the mean has it once.
    return (run + search).groupby(by_method).mean() / run.groupby(by_method).mean().min()


def draw(runs: pd.DataFrame, order: Mapping[str, Sequence[str]]) -> Figure:
    """Draw a point with its 95 % t interval a method (%), against its cost.

    The line is the best mean so far from left to right. A method far below the others stands as a
    number at the foot of its panel.

    Args:
        runs: The gathered runs.
        order: Experiments and their methods, in the tables' order.

    Returns:
        The figure.
    """
    done = runs[runs["status"] == "ok"]
    names = style.experiments(done, order)
    if not names:
        return style.nothing(TITLE, "No finished runs yet.")
    columns = min(3, len(names))
    figure, axes = style.grid(math.ceil(len(names) / columns), columns, 4.4, 3.1, TITLE)
    titles = style.titles(done)
    for panel, name in zip(axes.flat, names, strict=False):
        _panel(panel, runs[runs["experiment"] == name], name, order.get(name, ()))
        panel.set_title(titles[name])
    for panel in axes.flat[len(names) :]:
        panel.set_axis_off()
    _legend(figure, style.ordered(done["method"], style.every_method(order)))
    return figure


def _panel(axes: Axes, block: pd.DataFrame, experiment: str, order: Sequence[str]) -> None:
    cost = compute(block[block["status"] == "ok"])
    methods = [m for m in style.ordered(block["method"], order) if m in cost.index]
    rows = []
    for method in methods:
        cell = block[block["method"] == method]
        m = mean_interval(Replicates(cell, experiment, method, scale=100))
        rows.append((method, cost[method], m.mean, (m.high - m.low) / 2 if m.n > 1 else 0.0))
    points = pd.DataFrame(rows, columns=["method", "cost", "mean", "half"])
    top, middle = points["mean"].max(), points["mean"].median()
    # Methods that collapsed would flatten all others.
    floor = top - 4 * max(top - middle, points["half"].median(), 0.5)
    # Equal costs stand side by side.
    alike = points.groupby(points["cost"].round(2))["cost"]
    aside = SPREAD ** (alike.cumcount() - (alike.transform("size") - 1) / 2)
    feet: list[float] = []
    for (method, _, mean, half), x in zip(rows, points["cost"] * aside, strict=True):
        if mean < floor:
            below = sum(max(x / other, other / x) < NEAR for other in feet)
            # 24 points are the height of a number at the foot, which is written upwards.
            feet.append(x)
            _foot(axes, x, floor, mean, 24 * below, style.colour(method))
        else:
            _point(axes, x, mean, half, method)
    best = points.groupby("cost")["mean"].max().cummax()
    axes.step(best.index, best, where="post", color="#999999", linewidth=0.8, zorder=1)
    axes.set_ylim(bottom=floor if (points["mean"] < floor).any() else None)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    # The cheapest method's training is 1.
    axes.set_xlim(0.8, 1.25 * max(points["cost"].max(), 1.6))
    axes.set_xlabel("compute (trainings of the cheapest method)")
    axes.set_ylabel("test accuracy (%)")


def _foot(axes: Axes, x: float, floor: float, mean: float, lift: int, shade: str) -> None:
    """Write a mean that lies below the panel at its foot, ``lift`` points above it."""
    axes.annotate(
        f"← {mean:.0f}",
        (x, floor),
        (0, lift),
        textcoords="offset points",
        color=shade,
        ha="center",
        va="bottom",
        rotation=90,
        fontsize=7,
    )


def _point(axes: Axes, x: float, mean: float, half: float, method: str) -> None:
    axes.errorbar(
        x,
        mean,
        yerr=half,
        color=style.colour(method),
        marker=style.marker(method),
        markersize=4.5,
        capsize=1.5,
        elinewidth=0.8,
        linestyle="none",
    )


def _legend(figure: Figure, methods: Sequence[str]) -> None:
    """Draw the legend: colours are curvature rules, shapes weight rules."""
    rules: dict[str, str] = {}
    for method in methods:
        rules.setdefault(Method.of(method).curvature, style.colour(method))
    shared = [name for name, shade in rules.items() if shade == style.OTHER]
    entries = {name: shade for name, shade in rules.items() if shade != style.OTHER}
    if shared:
        entries[shared[0] if len(shared) == 1 else "other rules"] = style.OTHER
    handles = []
    for name, shade in entries.items():
        handles.append(style.entry(name, color=shade, marker="o", linestyle="none"))
    # A marker of each weight rule but the plain ones, which are discs as the rules above.
    for method in {Method.of(method).weight: method for method in methods}.values():
        weight, look = Method.of(method).weight, {"color": "#999999", "linestyle": "none"}
        if not style.is_plain(weight):
            handles.append(style.entry(f"under {weight}", marker=style.marker(method), **look))
    style.legend(figure, handles, max(1, min(len(handles), int(figure.get_figwidth() / 1.5))))
