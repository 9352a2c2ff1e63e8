"""Slices of cross-entropy on training data around the end of training."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hsac.files import read_json
from hsac.report.figures import style
from hsac.report.figures.curvature_trajectories import finished, moving
from hsac.study.method import Method

TITLE = "Cross-entropy on training data around the end of training (mean ± 1 sd over seeds)"
DIRECTIONS = {"random": "random direction", "worst": "worst-case direction"}


def compared(methods: Sequence[str], reference: str, moved: Collection[str]) -> list[str]:
    """Choose the methods to compare in detail.

    Args:
        methods: The methods there are.
        reference: The experiment's reference.
        moved: Those that moved a curvature.

    Returns:
        The reference, and those that moved under the reference's weight rule, loss and head.
    """
    own = Method.of(reference)

    def like(name: Method) -> bool:
        return (name.weight, name.further) == (own.weight, own.further)

    return [m for m in methods if m == reference or (m in moved and like(Method.of(m)))]


def draw(
    runs: pd.DataFrame,
    trajectories: pd.DataFrame,
    root: Path,
    order: Mapping[str, Sequence[str]],
    references: Mapping[str, str],
) -> Figure:
    """Draw the loss along a random direction above the worst-case one, a column an experiment.

    Cross-entropy is in nats, against the step alpha.

    Args:
        runs: The gathered runs.
        trajectories: The gathered trajectories, which tell the methods that moved a curvature.
        root: The folder that the ``record`` column of ``runs`` is relative to.
        order: Experiments and their methods, in the tables' order.
        references: The reference method of each experiment.

    Returns:
        The figure.
    """
    slices: dict[str, dict[str, list[dict[str, list[float]]]]] = {}
    moved = moving(finished(runs, trajectories))
    for name in style.experiments(runs, order):
        block = runs[(runs["experiment"] == name) & (runs["status"] == "ok")]
        methods = style.ordered(block["method"], order.get(name, ()))
        own = [method for method in methods if (name, method) in moved]
        for method in compared(methods, references.get(name, ""), own):
            paths = block.loc[block["method"] == method, "record"]
            stored = [read_json(root / path)["landscape"] for path in paths]
            # Not every seed stores a slice.
            found = [landscape for landscape in stored if landscape]
            if found:
                slices.setdefault(name, {})[method] = found
    if not slices:
        return style.nothing(TITLE, "No run stored a loss landscape at this scale.")
    figure, axes = style.grid(2, len(slices), 2.9, 2.4, TITLE)
    every = [method for by_method in slices.values() for method in by_method]
    drawn = style.ordered(every, style.every_method(order))
    titles, shades = style.titles(runs), style.shades(drawn)
    for column, (name, by_method) in enumerate(slices.items()):
        for row, (key, label) in enumerate(DIRECTIONS.items()):
            panel = axes[row, column]
            for method, found in by_method.items():
                # All seeds of a method take the same steps.
                values = np.array([s[key] for s in found], dtype=float)
                steps = np.array(found[0]["alpha"])
                style.band(panel, steps, values, method, shade=shades[method])
            panel.set_xlabel(f"step along {label}")
            if column == 0:
                panel.set_ylabel("cross-entropy (nats)")
        # Name and setting in one line would be wider than these narrow panels.
        axes[0, column].set_title(titles[name].replace(" (", "\n("))
    style.method_legend(figure, drawn, shades)
    return figure
