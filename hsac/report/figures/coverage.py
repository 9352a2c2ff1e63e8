"""Coverage of the PAC-Bayes certificate where the true risk is known."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from hsac.report.figures import style

TITLE = (
    "The PAC-Bayes certificate holds as promised; without its complexity term it fails on small"
    " samples"
)
PLAIN_TITLE = (
    "How often the PAC-Bayes certificate and the same bound without its complexity term hold"
)
# Colour, marker and shift of n, or equal intervals would hide one another.
LOOKS = {
    "certificate": (style.COLOURS["fixed"], "o", 1 / 1.06),
    "without complexity": (style.COLOURS["hsac"], "s", 1.06),
}


def draw(rows: pd.DataFrame) -> Figure:
    """Draw the share of samples in which the bound held above its margin, a column a δ.

    The title claims only what the 95 % intervals show, see `title`.

    Args:
        rows: The study's rows: delta, n, bound, coverage, coverage_low and _high, and margin_q05,
            _q50 and _q95.

    Returns:
        The figure.
    """
    if rows.empty:
        return style.nothing(PLAIN_TITLE, "No coverage study at this scale.")
    deltas = sorted(rows["delta"].unique())
    figure, axes = style.grid(2, len(deltas), 3.4, 2.3, title(rows), sharex=True, sharey="row")
    for column, delta in enumerate(deltas):
        above, below = axes[:, column]
        for bound in LOOKS:
            cells = rows[(rows["delta"] == delta) & (rows["bound"] == bound)].sort_values("n")
            _points(above, cells, ("coverage", "coverage_low", "coverage_high"), bound)
            _points(below, cells, ("margin_q50", "margin_q05", "margin_q95"), bound)
        promised = {"color": "black", "linestyle": "--", "linewidth": 1.1}
        above.axhline(1 - delta, label="promised, 1 − δ", **promised)
        below.axhline(0, color="black", linewidth=1.1)
        above.set_title(f"δ = {delta:g}")
        above.set_ylim(-0.03, 1.05)
        above.yaxis.set_major_formatter(PercentFormatter(1.0))
        below.set_xscale("log")
        below.xaxis.set_major_locator(FixedLocator(sorted(rows["n"].unique())))
        below.xaxis.set_minor_locator(NullLocator())
        below.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        below.set_xlabel("examples n")
    axes[0, 0].set_ylabel("samples in which\nit held")
    axes[1, 0].set_ylabel("bound − true risk")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def title(rows: pd.DataFrame) -> str:
    """Return the title that the study bears out.

    Args:
        rows: The study's rows.

    Returns:
        `TITLE` where every certificate's coverage is surely at least 1 - δ, and every control's at
        the smallest n surely less. Elsewhere a title that claims nothing.
    """
    certificate, control = (rows[rows["bound"] == bound] for bound in LOOKS)
    # The title speaks of small samples. With many, the control may well hold.
    control = control[control["n"] == control["n"].min()]
    holds = bool((certificate["coverage_low"] >= 1 - certificate["delta"]).all())
    fails = bool((control["coverage_high"] < 1 - control["delta"]).all())
    return TITLE if holds and fails else PLAIN_TITLE


def _points(axes: Axes, cells: pd.DataFrame, columns: tuple[str, str, str], bound: str) -> None:
    """Draw a bound's estimates with the ends of their intervals, the columns in this order."""
    colour, marker, shift = LOOKS[bound]
    y, low, high = (cells[name] for name in columns)
    axes.errorbar(
        (cells["n"] * shift).to_numpy(),
        y.to_numpy(),
        # Rounding can put an end on the wrong side of its estimate, which matplotlib refuses.
        yerr=np.maximum(np.stack([y - low, high - y]), 0),
        label=bound,
        color=colour,
        marker=marker,
        markersize=4.5,
        linewidth=1.4,
        capsize=2.5,
    )
