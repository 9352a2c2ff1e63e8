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
    """Rows of one comparison, a panel for what each is measured against; rows without a ratio are
    left out.
    """
    table = table[table["ratio"].notna()]
    if table.empty:
        return
    table = table.assign(
        panel=table["against"] + table["unit"].map({"s": ", time"}).fillna(", " + table["unit"])
    )
    panels = list(dict.fromkeys(table["panel"]))
    heights = [len(table[table["panel"] == panel]) for panel in panels]
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(9, 0.24 * sum(heights) + 0.9 * len(panels) + 0.6),
        height_ratios=[h + 1 for h in heights],
        squeeze=False,
        layout="constrained",
    )
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        part = table[table["panel"] == panel].iloc[::-1]
        at = range(len(part))
        bars = axis.barh(
            at, part["ratio"] - 1, left=1, color=[COLOURS[met] for met in part["met"]], height=0.7
        )
        axis.bar_label(bars, [f"{ratio:.3g}" for ratio in part["ratio"]], fontsize=6, padding=2)
        for y, target in zip(at, part["target"], strict=True):
            if target:
                value = float(target.split()[1])
                axis.plot([value, value], [y - 0.45, y + 0.45], color="black", linewidth=1.5)
        axis.set_yticks(at, part["case"], fontsize=7)
        axis.set_xscale("log")
        axis.margins(x=0.06)  # room for the numbers
        axis.set_ylim(-0.7, len(part) - 0.3)
        low, high = axis.get_xlim()
        subs = (1, 2, 5) if high > 5 * low else (0.8, 1, 1.2, 1.5, 2, 2.5, 3, 4, 6)
        axis.xaxis.set_major_locator(LogLocator(subs=subs))
        axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.tick_params(axis="x", labelsize=7)
        axis.axvline(1, color="black", linewidth=0.5)
        mine = (part["ratio"] * part["peer"] - part["ours"]).abs() < 1e-6 * part["ours"]
        axis.set_title(
            f"{panel}: {'ours/peer' if mine.all() else 'peer/ours'}", fontsize=9, loc="left"
        )
    figure.suptitle(
        f"{title}\ngreen: target (black mark) met; red: not; grey: no target", fontsize=9
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as part:
        figure.savefig(part, dpi=130, format="png")
    plt.close(figure)
