"""A figure a comparison: every case's ratio on a logarithmic scale, with its target."""

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

from hsac.files import atomic

COLOURS = {"yes": "tab:green", "no": "tab:red", "": "tab:grey"}


def draw(table: pd.DataFrame, title: str, path: Path) -> None:
    """Draw the ratios of one comparison, a panel for each peer.

    Args:
        table: rows of the comparison. Those without a ratio are left out.
        title: heading of the figure.
        path: file to write, PNG.
    """
    table = table[table["ratio"].notna()]
    if table.empty:
        return
    what = table["unit"].map({"s": ", time"}).fillna(", " + table["unit"])
    table = table.assign(panel=table["against"] + what)
    panels = list(dict.fromkeys(table["panel"]))
    heights = [len(table[table["panel"] == panel]) for panel in panels]
    height = 0.24 * sum(heights) + 0.9 * len(panels) + 0.6
    shares = [h + 1 for h in heights]
    sizes = {"figsize": (9, height), "height_ratios": shares, "layout": "constrained"}
    figure, axes = plt.subplots(len(panels), 1, squeeze=False, **sizes)
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        rows = table[table["panel"] == panel].iloc[::-1]
        _bars(axis, rows)
        _logarithmic(axis)
        mine = (rows["ratio"] * rows["peer"] - rows["ours"]).abs() < 1e-6 * rows["ours"]
        ratio = "ours/peer" if mine.all() else "peer/ours"
        axis.set_title(f"{panel}: {ratio}", fontsize=9, loc="left")
    legend = "green: target (black mark) met; red: not; grey: no target"
    figure.suptitle(f"{title}\n{legend}", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as part:
        figure.savefig(part, dpi=130, format="png")
    plt.close(figure)


def _bars(axis: plt.Axes, rows: pd.DataFrame) -> None:
    """Draw a bar from 1 to the ratio of each row, with its number and its target."""
    at = range(len(rows))
    colours = [COLOURS[met] for met in rows["met"]]
    bars = axis.barh(at, rows["ratio"] - 1, left=1, color=colours, height=0.7)
    axis.bar_label(bars, [f"{ratio:.3g}" for ratio in rows["ratio"]], fontsize=6, padding=2)
    for y, target in zip(at, rows["target"], strict=True):
        if target:
            value = float(target.split()[1])
            axis.plot([value, value], [y - 0.45, y + 0.45], color="black", linewidth=1.5)
    axis.set_yticks(at, rows["case"], fontsize=7)
    axis.set_ylim(-0.7, len(rows) - 0.3)
    axis.margins(x=0.06)  # room for the numbers


def _logarithmic(axis: plt.Axes) -> None:
    """Scale the ratios logarithmically, with round numbers at the ticks, and mark 1."""
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    subs = (1, 2, 5) if high > 5 * low else (0.8, 1, 1.2, 1.5, 2, 2.5, 3, 4, 6)
    axis.xaxis.set_major_locator(LogLocator(subs=subs))
    axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.tick_params(axis="x", labelsize=7)
    axis.axvline(1, color="black", linewidth=0.5)
