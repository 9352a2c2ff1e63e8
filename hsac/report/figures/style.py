"""What the figures share: colours by curvature rule, line and marker by weight rule, layout, and
saving.
"""

import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from hsac.files import write_bytes
from hsac.study.method import split

# Okabe and Ito's colour-blind-safe palette
COLOURS = {
    "euclidean": "#4d4d4d",
    "fixed": "#0072b2",
    "grid": "#56b4e9",
    "learned": "#e69f00",
    "drift_up": "#cc79a7",
    "drift_down": "#882255",
    "drift_slow": "#999999",
    "hsac": "#d55e00",
    "hsac_direct": "#b8a200",
    "hsac_guarded": "#332288",
    "random_search": "#000000",
}
OTHER = "#009e73"
CLASSES = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#f0e442",
    "#000000",
    "#882255",
    "#999999",
)
RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "figure.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "hsac",
}


def colour(method: str) -> str:
    """The colour of the method's curvature rule."""
    return COLOURS.get(split(method).curvature, OTHER)


def line(method: str) -> Literal["-", "--"]:
    """The line style of the method's weight rule: dashed for sam, solid for the plain rules."""
    return "--" if split(method).weight == "sam" else "-"


def marker(method: str) -> str:
    """The marker of the method's weight rule: a square for sam, a disc for the plain rules."""
    return "s" if split(method).weight == "sam" else "o"


def grid(
    rows: int, columns: int, width: float, height: float, title: str, **options: Any
) -> tuple[Figure, np.ndarray]:
    """A titled figure of ``rows`` × ``columns`` panels, each ``width`` × ``height`` inches; axes
    (rows, columns).
    """
    with rc_context(RC):
        figure = Figure(
            figsize=(max(width * columns, 6.0), height * rows + 0.6), layout="constrained"
        )
        FigureCanvasAgg(figure)
        figure.suptitle(textwrap.fill(title, round(10 * figure.get_figwidth())))
        axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, axes


def nothing(title: str, reason: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure, axes = grid(1, 1, 7.0, 1.6, title)
    axes[0, 0].set_axis_off()
    axes[0, 0].text(0.5, 0.5, reason, ha="center", va="center", transform=axes[0, 0].transAxes)
    return figure


def method_legend(figure: Figure, methods: Iterable[str]) -> None:
    """A legend under the panels for the methods drawn; plain weight rules share an entry, as they
    share a line.
    """
    entries: dict[tuple[Literal["-", "--"], str], list[str]] = {}
    for method in methods:
        weight, _, rest = method.partition("+")
        rules = entries.setdefault((line(method), rest), [])
        rules.extend([weight] * (weight not in rules))
    handles = []
    for (dash, rest), rules in entries.items():
        label = f"{'/'.join(rules)}+{rest}"
        handles.append(
            Line2D([], [], color=colour(f"+{rest}"), linestyle=dash, linewidth=1.8, label=label)
        )
    columns = max(1, min(len(handles), int(figure.get_figwidth() / 1.9)))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )


def log_axis(axis: Any) -> None:
    """A log axis with plain numbers, labelled often enough for ranges under a decade."""
    low, high = axis.get_view_interval()
    subs = (
        (1.0,) if high > 100 * low else (1.0, 3.0) if high > 10 * low else (1.0, 2.0, 3.0, 5.0, 7.0)
    )
    axis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def experiments(runs: pd.DataFrame, order: Mapping[str, Sequence[str]]) -> list[str]:
    """The experiments that have runs, in the order asked for."""
    present = set(runs["experiment"])
    return [e for e in order if e in present] + sorted(present - set(order))


def ordered(methods: Iterable[str], order: Sequence[str]) -> list[str]:
    """``methods`` without repeats in the order asked for, the rest after it by name."""
    present = set(methods)
    return [m for m in dict.fromkeys(order) if m in present] + sorted(present - set(order))


def titles(runs: pd.DataFrame) -> dict[str, str]:
    """Panel title of each experiment: its name and setting."""
    first = runs.drop_duplicates("experiment").set_index("experiment")["setting"]
    return {
        str(e): title(str(e), f"({s.replace('_', ' ')})") if s != e else str(e)
        for e, s in first.items()
    }


def title(name: str, rest: str) -> str:
    """A panel's title, on two lines where one would run out of a narrow panel."""
    one = f"{name} {rest}"
    return one if len(one) <= 32 else f"{name}\n{rest}"


def band(axes: Axes, x: np.ndarray, values: np.ndarray, method: str, *, log: bool = False) -> None:
    """Mean line and ± 1 sd band of ``values`` (seeds, points) against ``x`` (points,); of their
    logs with ``log``.
    """
    values = (
        np.where(values > 0, np.log(np.where(values > 0, values, 1.0)), np.nan) if log else values
    )
    seen = np.isfinite(values).any(axis=0)
    x, values = x[seen], values[:, seen]
    n = np.isfinite(values).sum(axis=0)
    mean = np.nansum(values, axis=0) / n
    spread = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / np.maximum(n - 1, 1))
    middle, low, high = (np.exp(v) if log else v for v in (mean, mean - spread, mean + spread))
    axes.plot(x, middle, color=colour(method), linestyle=line(method), linewidth=1.6)
    axes.fill_between(x, low, high, color=colour(method), alpha=0.15, linewidth=0)


def save(fig: Figure, path_stem: Path) -> None:
    """Write ``<path_stem>.png`` (200 dpi) and ``.pdf`` atomically; the same figure gives the same
    bytes.
    """
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    with rc_context(RC):
        for kind, entries in metadata.items():
            buffer = io.BytesIO()
            fig.savefig(buffer, format=kind, dpi=200, metadata=entries)
            write_bytes(Path(f"{path_stem}.{kind}"), buffer.getvalue())
