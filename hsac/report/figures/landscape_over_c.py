"""Test loss and readings of sharpness over the curvature, on frozen features."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hsac.report import frozen
from hsac.report.figures import style

TITLE = "Test loss, training loss and sharpness of solved heads over c, each scaled to its range"
# Column or reading -> label, colour, line width. A reading is drawn at its smallest radius.
CURVES = {
    "test_nll": ("test NLL", "#000000", 2.2),
    "validation_nll": ("validation NLL", style.CLASSES[2], 1.3),
    "train_loss": ("training loss", style.CLASSES[1], 1.3),
    "gap": ("gap", style.CLASSES[5], 1.3),
    "literal": ("gap, one step", style.CLASSES[3], 1.3),
    "range": ("range", style.CLASSES[0], 1.3),
    "mean": ("Gaussian mean", style.CLASSES[4], 1.3),
    "adaptive_gap": ("adaptive gap", style.CLASSES[8], 1.3),
    "informed": ("PAC-Bayes bound", style.CLASSES[9], 1.3),
}
# Rows of panels: more dimensions would not fit on a page.
MOST_DIMS = 3


def draw(landscapes: pd.DataFrame) -> Figure:
    """Draw the mean curves over log c: a column a setting, a row a dimension that all have.

    In each problem the mean over seeds is scaled to run from 0 to 1. The curve is the mean over the
    problems, scaled again. A marker is at its minimum.

    Args:
        landscapes: `hsac.report.frozen.Regrets.landscapes`.

    Returns:
        The figure.
    """
    present = set(landscapes["setting"])
    settings = [group for group in frozen.GROUPS if group in present]
    rows = _dims(landscapes)
    columns = _columns(landscapes)
    options = {"sharex": True, "sharey": True}
    # The title and the legend take as much of a single row.
    height = 2.1 if len(rows) > 1 else 3.0
    figure, axes = style.grid(len(rows), len(settings), 2.4, height, TITLE, **options)
    for line, (label, dims) in zip(axes, rows.items(), strict=True):
        for panel, setting in zip(line, settings, strict=True):
            block = landscapes[landscapes["setting"] == setting]
            block = block[block["dim"].isin(dims)]
            for name, column in columns.items():
                _curve(panel, block, name, column)
            panel.set_xscale("log")
            panel.set_yticks([0, 1], ["least", "most"])
        line[0].set_ylabel(label)
    for top, bottom, setting in zip(axes[0], axes[-1], settings, strict=True):
        count = landscapes.loc[landscapes["setting"] == setting, "problem"].nunique()
        noun = "problem" if count == 1 else "problems"
        top.set_title(f"{frozen.GROUPS[setting]} ({count} {noun})")
        bottom.set_xlabel("curvature c")
    style.log_axis(axes[0, 0].xaxis)
    looks = [CURVES[name] for name in columns]
    entries = [style.entry(text, color=shade, linewidth=wide) for text, shade, wide in looks]
    minimum = {"color": "#4d4d4d", "marker": "v", "linestyle": ""}
    # Below few panels a long line would be cut.
    wide = 5 if len(settings) > 2 else 3
    style.legend(figure, [*entries, style.entry("least there", **minimum)], wide)
    return figure


def _dims(landscapes: pd.DataFrame) -> Mapping[str, list[int]]:
    """Return the rows of panels: label -> dimensions that a panel takes."""
    by_setting = [set(block["dim"]) for _, block in landscapes.groupby("setting")]
    shared = sorted(set.intersection(*by_setting))
    if not shared:
        return {"all dimensions": sorted(set(landscapes["dim"]))}
    # The ends tell most.
    kept = shared if len(shared) <= MOST_DIMS else [*shared[: MOST_DIMS - 1], shared[-1]]
    return {f"{dim} dimensions": [dim] for dim in kept}


def _columns(landscapes: pd.DataFrame) -> dict[str, str]:
    """Return the curves that the landscapes have: name -> column."""
    found = {}
    readings = frozen.readings(map(str, landscapes.columns))
    for name in CURVES:
        own = [column for column in readings if column.partition("@")[0] == name]
        if own:
            found[name] = min(own, key=lambda column: float(column.partition("@")[2]))
        elif name in landscapes:
            found[name] = name
    return found


def _curve(axes: Axes, block: pd.DataFrame, name: str, column: str) -> None:
    _, colour, width = CURVES[name]
    # (c, landscapes): grids may differ between problems, so what one lacks is left out.
    means = block.pivot_table(column, "c", ["problem", "dim"]).dropna()
    if len(means) < 2:
        return
    curve = _scaled(_scaled(means.to_numpy()).mean(1))
    c = means.index.to_numpy()
    axes.plot(c, curve, color=colour, linewidth=width, zorder=3 if name == "test_nll" else 2)
    least = int(np.argmin(curve))
    # A lane each, as minima often coincide.
    place = -0.07 - 0.07 * list(CURVES).index(name)
    axes.plot(c[least], place, color=colour, marker="v", markersize=5, clip_on=False)


def _scaled(values: np.ndarray) -> np.ndarray:
    """Scale each column to run from 0 to 1; one that is level is 0."""
    low, high = values.min(0), values.max(0)
    scaled: np.ndarray = (values - low) / np.where(high > low, high - low, 1.0)
    return scaled
