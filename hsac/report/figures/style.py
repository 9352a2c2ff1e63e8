"""What the figures share: colours, lines and markers of methods, layout, and saving."""

import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from colorsys import hsv_to_rgb
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from hsac.files import write_bytes
from hsac.report import unfinished
from hsac.study.method import Method

Line = Literal["-", "--", "-.", ":"]
# Okabe and Ito's colour-blind-safe palette, by curvature rule.
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
OTHER = "#009e73"  # of any other rule
# Lines and markers, by weight rule. Of the plain ones an experiment has one as a rule.
PLAIN = ("sgd", "adam", "riemannian_adam")
LOOKS: dict[str, tuple[Line, str]] = {**dict.fromkeys(PLAIN, ("-", "o")), "sam": ("--", "s")}
FURTHER: tuple[tuple[Line, str], ...] = (("-.", "^"), (":", "D"))  # of any other rule
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
    # TrueType: many publishers refuse the Type 3 that is matplotlib's default.
    "pdf.fonttype": 42,
    # Else the ids in an SVG file would be drawn anew each time.
    "svg.hashsalt": "hsac",
}


def colour(method: str) -> str:
    """Return the colour of a method's curvature rule.

    Args:
        method: The method's name.

    Returns:
        The colour, `OTHER` for a rule without one of its own.
    """
    return COLOURS.get(Method.of(method).curvature, OTHER)


def shades(methods: Iterable[str]) -> dict[str, str]:
    """Choose a colour for each of the methods of a figure, none for two curvature rules.

    Args:
        methods: The methods that are drawn.

    Returns:
        The colours by method. A rule without a colour of its own takes the next hue, in the
        methods' order.
    """
    # By rule, so that the weight rules of one share its colour.
    by_rule = dict(COLOURS)
    chosen: dict[str, str] = {}
    for method in methods:
        rule = Method.of(method).curvature
        # Steps by the golden section keep any number of hues apart. The first is green.
        hue = (0.42 + (len(by_rule) - len(COLOURS)) * 0.618034) % 1
        chosen[method] = by_rule.setdefault(rule, to_hex(hsv_to_rgb(hue, 0.75, 0.65)))
    return chosen


def is_plain(weight: str) -> bool:
    """Check whether a weight rule is one of the plain ones, which share a look.

    Args:
        weight: The weight rule's name.

    Returns:
        False for sam, and for any rule that the package's figures do not know.
    """
    return weight in PLAIN


def _look(method: str) -> tuple[Line, str]:
    weight = Method.of(method).weight
    # A rule of a plugin, or one that a configuration names, has the same look in every figure.
    return LOOKS.get(weight) or FURTHER[crc32(weight.encode()) % len(FURTHER)]


def line(method: str) -> Line:
    """Return the line style of a method's weight rule.

    Args:
        method: The method's name.

    Returns:
        Solid for the plain rules, dashed for sam, with dots for any other.
    """
    return _look(method)[0]


def marker(method: str) -> str:
    """Return the marker of a method's weight rule.

    Args:
        method: The method's name.

    Returns:
        A disc for the plain rules, a square for sam, a triangle or diamond for any other.
    """
    return _look(method)[1]


def face(method: str) -> str:
    """Return the colour that a method's marker is filled with.

    Args:
        method: The method's name.

    Returns:
        The method's own colour for the plain weight rules, white for the others.
    """
    return colour(method) if is_plain(Method.of(method).weight) else "white"


def grid(
    rows: int, columns: int, width: float, height: float, title: str, **options: Any
) -> tuple[Figure, np.ndarray]:
    """Make a titled figure of panels.

    Args:
        rows: Rows of panels.
        columns: Columns of panels.
        width: Of a panel, in inches.
        height: Of a panel, in inches.
        title: The figure's title.
        options: Passed on to `Figure.subplots`.

    Returns:
        The figure and its axes (rows, columns).
    """
    # Not pyplot's: its figures live on, and its state would leak from one figure to the next.
    with rc_context(RC):
        # A narrower figure has no room for title and legend.
        size = (max(width * columns, 6.0), height * rows + 0.6)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        # About ten letters of the title take an inch.
        figure.suptitle(textwrap.fill(title, round(10 * figure.get_figwidth())))
        axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, axes


def nothing(title: str, reason: str) -> Figure:
    """Make a figure that says why there is nothing to draw.

    Args:
        title: The figure's title.
        reason: The sentence in its place.

    Returns:
        The figure.
    """
    figure, axes = grid(1, 1, 7.0, 1.6, title)
    axes[0, 0].set_axis_off()
    axes[0, 0].text(0.5, 0.5, reason, ha="center", va="center", transform=axes[0, 0].transAxes)
    return figure


def mark_lost(figure: Figure, runs: pd.DataFrame) -> None:
    """Say under the title of a figure which runs it lacks; nothing where all finished.

    Args:
        figure: The figure, whose means are over the runs that finished.
        runs: The gathered runs that it is about.
    """
    if said := unfinished.note(runs).strip():
        # The title, since the foot is the legend's. As wide as `grid` makes the title.
        wide = round(10 * figure.get_figwidth())
        with rc_context(RC):
            figure.suptitle(f"{figure.get_suptitle()}\n{textwrap.fill(said, wide)}")


def entry(label: str, **look: Any) -> Line2D:
    """Make an entry of a legend.

    Args:
        label: Its text.
        look: Properties of the line.

    Returns:
        The entry's handle.
    """
    return Line2D([], [], label=label, **look)


def legend(figure: Figure, handles: Sequence[Any], columns: int, fontsize: int = 9) -> None:
    """Put a legend under the panels.

    Args:
        figure: The figure.
        handles: The entries.
        columns: Entries in a row.
        fontsize: Of the labels, in points.
    """
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=fontsize,
    )


def method_legend(
    figure: Figure, methods: Iterable[str], colours: Mapping[str, str] | None = None
) -> None:
    """Put a legend of methods under the panels.

    Plain weight rules share an entry, as they share a line.

    Args:
        figure: The figure.
        methods: The methods drawn, in the legend's order.
        colours: As `shades` gives them, by default each rule's own.
    """
    entries: dict[tuple[Line, str], list[str]] = {}
    for method in methods:
        weight, _, rest = method.partition("+")
        rules = entries.setdefault((line(method), rest), [])
        if weight not in rules:
            rules.append(weight)
    handles = []
    for (dash, rest), rules in entries.items():
        label = f"{'/'.join(rules)}+{rest}"
        shade = (colours or {}).get(f"{rules[0]}+{rest}") or colour(f"+{rest}")
        handles.append(entry(label, color=shade, linestyle=dash, linewidth=1.8))
    legend(figure, handles, max(1, min(len(handles), int(figure.get_figwidth() / 1.9))))


def log_axis(axis: Any) -> None:
    """Label a log axis with plain numbers, often enough for ranges under a decade.

    Args:
        axis: The x or y axis of a panel.
    """
    low, high = axis.get_view_interval()
    if high > 100 * low:
        subs: tuple[float, ...] = (1.0,)
    elif high > 10 * low:
        subs = (1.0, 3.0)
    else:
        subs = (1.0, 2.0, 3.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def experiments(runs: pd.DataFrame, order: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the experiments that have runs.

    Args:
        runs: The gathered runs.
        order: Experiments and their methods, in the order asked for.

    Returns:
        The names, those that the order leaves out at the end.
    """
    present = set(runs["experiment"])
    return [e for e in order if e in present] + sorted(present - set(order))


def ordered(methods: Iterable[str], order: Sequence[str]) -> list[str]:
    """Sort methods and drop repeats.

    Args:
        methods: The methods.
        order: The order asked for. It may name others, too.

    Returns:
        The methods, those that the order leaves out at the end by name.
    """
    present = set(methods)
    return [m for m in dict.fromkeys(order) if m in present] + sorted(present - set(order))


def every_method(order: Mapping[str, Sequence[str]]) -> list[str]:
    """List the methods of all experiments.

    Args:
        order: Experiments and their methods.

    Returns:
        The methods, with repeats.
    """
    return [method for methods in order.values() for method in methods]


def titles(runs: pd.DataFrame) -> dict[str, str]:
    """Make the panel title of each experiment.

    Args:
        runs: The gathered runs.

    Returns:
        Name and setting, by experiment; the name alone where it is the setting's.
    """
    first = runs.drop_duplicates("experiment").set_index("experiment")["setting"]
    made = {}
    for name, setting in first.items():
        words = f"({setting.replace('_', ' ')})"
        made[str(name)] = str(name) if setting == name else title(str(name), words)
    return made


def title(name: str, rest: str) -> str:
    """Make a panel's title, on two lines where one would run out of a narrow panel.

    Args:
        name: The first part.
        rest: The second part.

    Returns:
        The title.
    """
    one = f"{name} {rest}"
    return one if len(one) <= 32 else f"{name}\n{rest}"


def band(
    axes: Axes,
    x: np.ndarray,
    values: np.ndarray,
    method: str,
    *,
    shade: str | None = None,
    log: bool = False,
) -> None:
    """Draw the mean over seeds as a line, in a band of ± 1 sd.

    Args:
        axes: The panel.
        x: (points,) places.
        values: (seeds, points) values, NaN where unknown.
        method: The method, for colour and line.
        shade: A colour in place of the curvature rule's own.
        log: Take mean and sd of the logs. Values that are not above 0 then count as unknown.
    """
    if log:
        known = values > 0
        # `where` computes both sides, so the log must not meet a 0.
        values = np.where(known, np.log(np.where(known, values, 1.0)), np.nan)
    seen = np.isfinite(values).any(axis=0)
    x, values = x[seen], values[:, seen]
    n = np.isfinite(values).sum(axis=0)
    mean = np.nansum(values, axis=0) / n
    # A single seed has a band without width.
    spread = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / np.maximum(n - 1, 1))
    middle, low, high = (np.exp(v) if log else v for v in (mean, mean - spread, mean + spread))
    shade = shade or colour(method)
    axes.plot(x, middle, color=shade, linestyle=line(method), linewidth=1.6)
    axes.fill_between(x, low, high, color=shade, alpha=0.15, linewidth=0)


def save(fig: Figure, path_stem: Path) -> None:
    """Write a figure as PNG (200 dpi) and PDF, atomically. The same figure gives the same bytes.

    Args:
        fig: The figure.
        path_stem: The files' path without its ending.
    """
    # Dates and versions would make the bytes differ.
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    # Some settings, as the fonts of a PDF file, act only when it is saved.
    with rc_context(RC):
        for kind, entries in metadata.items():
            # Through memory, so that an interrupted run leaves no half a picture.
            buffer = io.BytesIO()
            fig.savefig(buffer, format=kind, dpi=200, metadata=entries)
            write_bytes(Path(f"{path_stem}.{kind}"), buffer.getvalue())
