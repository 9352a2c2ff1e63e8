"""Rank correlations across the curvature sweep as a forest plot."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hsac.report.curvature_role import NAMES, PAIRS
from hsac.report.figures import style

TITLE = (
    "Rank correlations across fixed curvatures within a seed (Spearman, mean over seeds and 95 %"
    " interval)"
)
GROUPS = {"curvature": "with c", "gap": "with the gap", "test_error": "with test error"}
SPACING = 0.34  # between the weight rules of one row


def draw(table: pd.DataFrame) -> Figure:
    """Draw a panel an experiment, with a row a pair and a marker a weight rule.

    Args:
        table: What `curvature_role.correlations` returns.

    Returns:
        The figure.
    """
    known = table[table["rho"].notna()]
    if known.empty:
        return style.nothing(TITLE, "No seed with three fixed curvatures at this scale.")
    names = list(dict.fromkeys(known["experiment"]))
    rules = sorted(set(known["weight_rule"]), key=lambda rule: (not style.is_plain(rule), rule))
    present = set(zip(known["x"], known["y"], strict=True))
    heights = _heights([pair for pair in PAIRS if pair in present])
    height = 0.5 + 0.25 * (max(heights.values()) + 2)
    figure, axes = style.grid(1, len(names), 2.5, height, TITLE, sharey=True)
    titles = style.titles(known)
    for column, name in enumerate(names):
        panel = axes[0, column]
        _panel(panel, known[known["experiment"] == name], heights, rules)
        panel.set_title("\n".join(textwrap.wrap(titles[name], 22)))
        panel.set_xlabel("Spearman's ρ")
    _rows(axes[0, 0], heights)
    handles = []
    for rule in rules:
        method = f"{rule}+fixed"
        look = {"color": style.colour(method), "marker": style.marker(method), "linestyle": "-"}
        handles.append(style.entry(rule, markerfacecolor=style.face(method), **look))
    style.legend(figure, handles, len(handles))
    return figure


def _group(pair: tuple[str, str]) -> str:
    return pair[0] if pair[0] == "curvature" else pair[1]


def _heights(pairs: list[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """Return each pair's place from the top, with a row of room for each group's heading."""
    heights: dict[tuple[str, str], float] = {}
    height = 0.0
    for group in GROUPS:
        members = [pair for pair in pairs if _group(pair) == group]
        for i, pair in enumerate(members):
            heights[pair] = height + 1 + i
        if members:
            height += len(members) + 1.4
    return heights


def _panel(
    axes: Axes, block: pd.DataFrame, heights: dict[tuple[str, str], float], rules: list[str]
) -> None:
    axes.axvline(0, color="#999999", linewidth=0.8)
    axes.grid(visible=False, axis="y")
    axes.hlines(list(heights.values()), -1.05, 1.05, color="#e5e5e5", linewidth=0.6, zorder=0)
    axes.tick_params(axis="y", length=0)
    used = [rule for rule in rules if rule in set(block["weight_rule"])]
    for i, rule in enumerate(used):
        method = f"{rule}+fixed"
        cells = block[block["weight_rule"] == rule]
        y = [heights[pair] for pair in zip(cells["x"], cells["y"], strict=True)]
        rho, low, high = cells[["rho", "low", "high"]].to_numpy(dtype=float).T
        # A single seed has no interval, hence no whisker.
        whiskers = np.nan_to_num(np.stack((rho - low, high - rho)).clip(min=0))
        axes.errorbar(
            rho,
            np.array(y) + SPACING * (i - (len(used) - 1) / 2),
            xerr=whiskers,
            color=style.colour(method),
            linestyle="none",
            marker=style.marker(method),
            markerfacecolor=style.face(method),
            markersize=5,
            elinewidth=1.4,
            clip_on=False,  # a marker at ±1 lies on the panel's edge
        )
    axes.set_xlim(-1.05, 1.05)
    axes.set_xticks([-1, -0.5, 0, 0.5, 1], ["−1", "−0.5", "0", "0.5", "1"])


def _rows(axes: Axes, heights: dict[tuple[str, str], float]) -> None:
    """Name the rows and head the groups, top row first."""
    labels = {height: NAMES[y if x == "curvature" else x] for (x, y), height in heights.items()}
    for group, heading in GROUPS.items():
        members = [height for pair, height in heights.items() if _group(pair) == group]
        if members:
            labels[min(members) - 1] = heading
    axes.set_yticks(list(labels), list(labels.values()))
    for text in axes.get_yticklabels():
        if text.get_text() in GROUPS.values():
            text.set_fontweight("bold")
    # Upside down, as heights count from the top.
    axes.set_ylim(max(labels) + 0.7, min(labels) - 0.5)
