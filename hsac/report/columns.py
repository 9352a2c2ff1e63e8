"""Declare every column of the results' tables once.

A metric is computed where it is measured (``evaluate`` of a task in ``hsac.train``), typed as a
field of `hsac.study.record.Metrics`, and declared here as a `Column` of each table that shows it.
The headings, formats and CSV names of the tables, their LaTeX, ``runs.parquet``, the provenance,
``hsac compare`` and the sort keys of the page follow from that.

A metric added to ``evaluate`` changes every training fingerprint, so finished runs become stale. A
metric of a plugin folder (``metrics/<name>.py``) avoids that: it is computed from the records, and
is a column while the folder is in use.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd

from hsac import parts
from hsac.errors import InputError
from hsac.study.record import Metrics

SELECTIONS = ("selected", "last", "oracle")  # epochs of a run: by validation, the last, by test
# Metrics that `evaluate` returns, each a column of runs.parquet for every selection. `test_right`
# and `test_answers` are not among them.
METRICS = tuple(name for name in Metrics.model_fields if name not in ("test_right", "test_answers"))
MISSING = "–"  # printed for a number that is not there
Row = Mapping[Any, Any]  # column -> number
Record = Mapping[str, Any]  # of a run, as its JSON file holds it

STATISTICS = "hsac.report.statistics"
MEAN = f"{STATISTICS}.mean_interval"
# By name, as these modules import this one. A test looks every name up.
TABLE = "hsac.report.tables.experiment_table"
COST_TABLE = "hsac.report.cost.cost_table"
FAILURES_TABLE = "hsac.report.tables.failures_table"
SETTINGS = "the settings"
OVER_SEEDS = "mean over seeds"
HALF_WIDTH = "half the width of the 95 % t interval over seeds"
ACCURACY = "metrics.selected.test_accuracy"
DIFFERENCE = "of own minus the reference's, paired by seed"


@dataclass(frozen=True)
class Origin:
    """How the numbers of a column come about, as ``hsac why`` tells it.

    A role names the part that cells or files play in a number: ``own`` (the row's own cell),
    ``reference`` (the cell it is compared with), ``family`` (all cells of the experiment, over
    which p values are corrected), ``rows`` (a CSV file of the theory) and ``ledger`` (the file of
    published numbers). A number of the overview has the experiment's name as its role.

    Attributes:
        field: Of the run records, or of the rows of files, that are read.
        how: What is done with it.
        function: The function that does it.
        uses: The roles whose records and files go in.
        finished: Runs that are not ok are left out.
    """

    field: str
    how: str
    function: str
    uses: tuple[str, ...] = ("own",)
    finished: bool = True


@dataclass(frozen=True)
class MethodRuns:
    """The runs of one experiment and method: what a row of a table is computed from.

    Attributes:
        experiment: Name of the experiment.
        method: Name of the method.
        runs: Its rows of the gathered runs, also those that did not finish.
        is_reference: The other methods of the experiment are compared with this one.
        accuracies: Mean and half width of the test accuracy in per cent, by selection.
        statistics: Its row of `hsac.report.statistics.summarise`, empty without runs.
    """

    experiment: str
    method: str
    runs: pd.DataFrame
    is_reference: bool = False
    accuracies: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    statistics: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def finished(self) -> pd.DataFrame:
        """The runs that are ok."""
        return self.runs[self.runs["status"] == "ok"]


def mean(values: pd.Series) -> float:
    """Compute the mean of the known values, NaN without any.

    Args:
        values: One a run; missing ones are passed over.

    Returns:
        The mean.
    """
    known = values.dropna()
    return float(known.mean()) if len(known) else np.nan


def median(values: pd.Series) -> float:
    """Compute the median of the known values, NaN without any.

    Args:
        values: One a run; missing ones are passed over.

    Returns:
        The median.
    """
    known = values.dropna()
    return float(known.median()) if len(known) else np.nan


def number(pattern: str) -> Callable[[float], str]:
    """Make a function that prints a number.

    Args:
        pattern: Of ``str.format``, such as ``{:.1f}``.

    Returns:
        The function: number -> text with a true minus sign, a dash where it is missing.
    """

    def text(value: float) -> str:
        return MISSING if pd.isna(value) else pattern.format(value).replace("-", "−")

    return text


def p_text(p: float) -> str:
    """Print a p value: three decimals, or < 0.001.

    Args:
        p: The value; NaN is missing.

    Returns:
        The text.
    """
    if pd.isna(p):
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def mean_text(mean: float, half_width: float) -> str:
    """Print a mean with its interval, as ``93.1 ± 0.4``.

    Args:
        mean: The mean; a dash stands for a missing one.
        half_width: Half the width of its interval, left out where it is undefined.

    Returns:
        The text.
    """
    if pd.isna(mean):
        return MISSING
    return f"{mean:.2f}" + ("" if pd.isna(half_width) else f" ± {half_width:.2f}")


def _printed_always(numbers: pd.DataFrame) -> bool:
    return False


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: In the CSV file.
        origin: How its numbers come about.
        value: Computes the entry of a row, None where the table is not one row a method.
        heading: Printed above it, with the unit. None for a column of the CSV file alone.
        text: Prints the entry of a row, given as column -> number.
        optional: Left out of a table in which no row has an entry.
        hidden: Given a table's numbers, says whether the printed table leaves the column out.
        source: Column of ``runs.parquet`` whose values, times `scale`, it aggregates.
        scale: Makes the printed unit of the unit of `source`.
        compared: Heading of `source` in ``hsac compare``, None where that leaves it out.
    """

    name: str
    origin: Origin
    value: Callable[[MethodRuns], Any] | None = None
    heading: str | None = None
    text: Callable[[Row], str] = str
    optional: bool = False
    hidden: Callable[[pd.DataFrame], bool] = _printed_always
    source: str | None = None
    scale: float = 1
    compared: str | None = None


def headings(columns: Iterable[Column]) -> dict[str, str]:
    """Return the headings of the columns that are printed.

    Args:
        columns: Of one table.

    Returns:
        Column -> heading, in the table's order.
    """
    return {column.name: column.heading for column in columns if column.heading is not None}


def displayed(numbers: pd.DataFrame, columns: Iterable[Column]) -> pd.DataFrame:
    """Print the numbers of a table.

    Args:
        numbers: One row for each of its rows, as the CSV file holds them.
        columns: Those that the table may have; the ones that `numbers` lacks are left out.

    Returns:
        The text of each entry under headings that state units.
    """
    rows = numbers.to_dict("records")
    shown = {}
    for column in columns:
        # An optional column that no row has is not in the numbers.
        if column.heading is None or column.name not in numbers or column.hidden(numbers):
            continue
        shown[column.heading] = [column.text(row) for row in rows]
    return pd.DataFrame(shown)


def _entry(name: str, pattern: str) -> Callable[[Row], str]:
    """Make a function that prints the entry of one column."""
    text = number(pattern)
    return lambda row: text(row[name])


def _words(name: str) -> Callable[[Row], str]:
    """Make a function that prints the entry of a column of words."""
    return lambda row: MISSING if pd.isna(row[name]) else str(row[name])


def _mean_column(
    name: str, heading: str, source: str, pattern: str, field: str, **others: Any
) -> Column:
    """Declare the mean over the finished runs of a column of ``runs.parquet``."""
    scale = others.get("scale", 1)
    how = OVER_SEEDS if scale == 1 else f"{scale} × {OVER_SEEDS}"
    return Column(
        name,
        others.pop("origin", Origin(field, how, MEAN)),
        lambda cell: scale * mean(cell.finished[source]),
        heading,
        _entry(name, pattern),
        source=source,
        **others,
    )


def _share_column(
    metric: str, name: str, heading: str, is_compared: bool = False, **others: Any
) -> Column:
    """Declare the mean of a share that `METRICS` has, at the selected epoch and in per cent."""
    source = f"selected_{metric}"
    others |= {"scale": 100, "optional": True}
    if is_compared:
        others["compared"] = f"{heading}, validation-selected"
    return _mean_column(name, heading, source, "{:.1f}", f"metrics.selected.{metric}", **others)


def _accuracy_columns(
    selection: str, prefix: str, heading: str, is_compared: bool = True
) -> tuple[Column, Column]:
    """Declare mean and half width of the test accuracy of a selection, in per cent."""
    field = f"metrics.{selection}.test_accuracy"
    name = f"{prefix}test_accuracy_percent"
    half = f"{prefix}test_accuracy_half_width_percent"
    return (
        Column(
            name,
            Origin(field, f"100 × {OVER_SEEDS}", MEAN),
            lambda cell: cell.accuracies[selection][0],
            heading,
            lambda row: mean_text(row[name], row[half]),
            source=f"{selection}_test_accuracy",
            scale=100,
            compared=heading if is_compared else None,
        ),
        Column(
            half,
            Origin(field, f"100 × {HALF_WIDTH}", MEAN),
            lambda cell: cell.accuracies[selection][1],
        ),
    )


def _statistic(
    name: str, statistic: str, origin: Origin, scale: float = 1, **printed: Any
) -> Column:
    """Declare an entry of `hsac.report.statistics.summarise`, times `scale`."""

    def value(cell: MethodRuns) -> Any:
        found = cell.statistics.get(statistic, np.nan)
        return found if scale == 1 else scale * found

    return Column(name, origin, value, **printed)


def _compared(how: str, function: str, *others: str) -> Origin:
    """Say that a number compares a method with the reference; `others`: further roles."""
    return Origin(ACCURACY, how, f"{STATISTICS}.{function}", ("own", "reference", *others))


def _ends(name: str, how: str, function: str, unit: str) -> list[Column]:
    """Declare the two ends of an interval of the difference to the reference."""
    columns = []
    for end in ("low", "high"):
        origin = _compared(f"{'100 × ' if unit else ''}{end} end of {how}", function)
        columns.append(
            _statistic(f"{name}_{end}{unit}", f"{name}_{end}", origin, 100 if unit else 1)
        )
    return columns


def _difference_text(row: Row) -> str:
    signed = number("{:+.2f}")
    low, high = (row[f"difference_{end}_points"] for end in ("low", "high"))
    # One pair has a difference and no interval.
    interval = "" if pd.isna(low) else f" [{signed(low)}, {signed(high)}]"
    lost = row.get("pairs_lost")
    pairs = "" if lost is None or pd.isna(lost) else f" ({lost:.0f} pairs lost)"
    return signed(row["difference_points"]) + interval + pairs.replace("(1 pairs", "(1 pair")


def _finished_text(row: Row) -> str:
    return f"{row['n_ok']} / {row['n']}"


def _chosen(cell: MethodRuns) -> str | None:
    """Return the trial that a search chose, or the methods whose runs the seeds took.

    The most frequent method comes first.
    """
    counts = cell.runs["chosen"].dropna().value_counts()
    if len(counts) <= 1:
        return str(counts.index[0]) if len(counts) else None
    # Ties go by name, so that the text does not follow the order of the runs.
    ordered = sorted(counts.items(), key=lambda one: (-one[1], str(one[0])))
    total = len(cell.runs)
    return "; ".join(f"{name} ({count} of {total})" for name, count in ordered)


def _equals_accuracy(numbers: pd.DataFrame) -> bool:
    """Return whether balanced accuracy equals accuracy in every row."""
    # They are equal where every class has equally many test items.
    columns = numbers["balanced_accuracy_percent"], numbers["test_accuracy_percent"]
    return bool(np.allclose(*columns, atol=1e-9, equal_nan=True))


# A long tail groups its classes in two ways, of which one is printed: by shots where each of the
# three groups has a class, else by thirds.
THIRDS = tuple(f"{part}_accuracy_percent" for part in ("head", "middle", "tail"))
SHOTS = tuple(f"{part}_accuracy_percent" for part in ("many", "medium", "few"))


def _has_shots(numbers: pd.DataFrame) -> bool:
    return set(SHOTS) <= set(numbers.columns)


def _lacks_shots(numbers: pd.DataFrame) -> bool:
    return not _has_shots(numbers)


def _counts(function: str) -> tuple[Column, Column]:
    """Declare how many runs finished, and how many there are."""
    return (
        Column(
            "n_ok",
            Origin("status", "number of runs with status ok", function, finished=False),
            lambda cell: len(cell.finished),
            "n ok / n",
            _finished_text,
        ),
        Column(
            "n",
            Origin("status", "number of runs", function, finished=False),
            lambda cell: len(cell.runs),
        ),
    )


def _search_column(name: str, function: str, heading: str | None, pattern: str) -> Column:
    """Declare what a method's search cost on top of its runs."""
    column = f"search_{name}"
    return Column(
        column,
        Origin(f"tuning.{name}", "of the method's whole search", function, finished=False),
        # Of all runs: each tells its method's whole search, also one that did not finish.
        lambda cell: mean(cell.runs[column]),
        heading,
        _entry(column, pattern),
        optional=True,
    )


def _method_text(row: Row) -> str:
    return f"{row['method']} (reference)" if row["reference"] else str(row["method"])


_BOOTSTRAP = "95 % hierarchical bootstrap interval of the mean"
_ITEMS = f"end of the {_BOOTSTRAP}, over seeds and items"
_OF_METHODS: tuple[Column, ...] = (  # of the table of an experiment, in the order of its CSV file
    Column(
        "method",
        Origin("method", "name of the row", SETTINGS, finished=False),
        lambda cell: cell.method,
        "Method",
        _method_text,
    ),
    Column(
        "reference",
        Origin(
            "method",
            "whether the row is the method that the others are compared with",
            SETTINGS,
            # The settings alone say it: no run goes in.
            (),
        ),
        lambda cell: cell.is_reference,
    ),
    *_accuracy_columns("selected", "", "Test accuracy (%), validation-selected"),
    *_accuracy_columns("last", "last_", "Test accuracy (%), last epoch"),
    # Chosen on the test set, so it is printed but no ground for a comparison.
    *_accuracy_columns("oracle", "oracle_", "Test accuracy (%), best test epoch (oracle)", False),
    _mean_column(
        "test_nll_nats",
        "Test NLL (nats)",
        "selected_test_nll",
        "{:.3f}",
        "metrics.selected.test_nll",
        compared="Test NLL (nats), validation-selected",
    ),
    _statistic(
        "test_accuracy_iqm_percent",
        "iqm",
        Origin(ACCURACY, "100 × interquartile mean over seeds", f"{STATISTICS}.iqm"),
        100,
    ),
    *(
        _statistic(
            f"test_accuracy_hierarchical_{end}_percent",
            f"hierarchical_{end}",
            Origin(ACCURACY, f"100 × {end} {_ITEMS}", f"{STATISTICS}.hierarchical_interval"),
            100,
        )
        for end in ("low", "high")
    ),
    _statistic(
        "difference_points",
        "difference",
        _compared(f"100 × mean difference {DIFFERENCE}", "paired_difference"),
        100,
        heading="Δ to reference (points) [95 % interval]",
        text=_difference_text,
    ),
    _statistic(
        "pairs_lost",
        "pairs_lost",
        _compared(
            "number of seeds without a difference, as a run of either method did not finish",
            "summarise",
        ),
        optional=True,
    ),
    *_ends(
        "difference",
        f"the 95 % t interval of the mean difference {DIFFERENCE}",
        "paired_difference",
        "_points",
    ),
    *_ends(
        "difference_hierarchical",
        f"the {_BOOTSTRAP} difference {DIFFERENCE}",
        "hierarchical_interval",
        "_points",
    ),
    _statistic(
        "p",
        "p",
        _compared(
            f"two-sided test, named in the column test, of the difference {DIFFERENCE}",
            "paired_difference",
        ),
        heading="p",
        text=lambda row: p_text(row["p"]),
    ),
    _statistic(
        "p_holm",
        "p_holm",
        _compared(
            "the p of every method of the table against the reference, corrected by Holm",
            "holm",
            "family",
        ),
        heading="p Holm",
        text=lambda row: p_text(row["p_holm"]),
    ),
    _statistic(
        "test",
        "test",
        _compared(
            "the test that p is of: t under 12 pairs, permutation from there on",
            "paired_difference",
        ),
    ),
    _statistic(
        "p_permutation",
        "p_permutation",
        _compared(f"sign-flip test of the difference {DIFFERENCE}", "permutation_p"),
    ),
    _statistic(
        "improvement",
        "improvement",
        _compared(
            "probability that an own run beats one of the reference", "probability_of_improvement"
        ),
    ),
    _statistic(
        "effect", "effect", _compared(f"Hedges' g of the difference {DIFFERENCE}", "effect_size")
    ),
    *_ends("effect", "the 95 % interval of Hedges' g", "effect_size", ""),
    _statistic(
        "more_seeds",
        "more_seeds",
        _compared(
            "seeds to add for 80 % power at 0.05 over the number of comparisons, where p Holm is"
            " 0.05 or more",
            "more_seeds",
            "family",
        ),
    ),
    _share_column(
        "test_balanced_accuracy",
        "balanced_accuracy_percent",
        "Balanced accuracy (%)",
        hidden=_equals_accuracy,
    ),
    _share_column("test_ece", "calibration_error_percent", "Calibration error (%)"),
    _share_column("head_accuracy", THIRDS[0], "Head accuracy (%)", hidden=_has_shots),
    _share_column("middle_accuracy", THIRDS[1], "Middle accuracy (%)", hidden=_has_shots),
    _share_column("tail_accuracy", THIRDS[2], "Tail accuracy (%)", True, hidden=_has_shots),
    _share_column("many_accuracy", SHOTS[0], "Many-shot accuracy (%)", hidden=_lacks_shots),
    _share_column("medium_accuracy", SHOTS[1], "Medium-shot accuracy (%)", hidden=_lacks_shots),
    _share_column("few_accuracy", SHOTS[2], "Few-shot accuracy (%)", hidden=_lacks_shots),
    _share_column("memorisation", "memorisation_percent", "Memorised flipped labels (%)", True),
    _mean_column(
        "dropped_solves_percent",
        "Outer steps without implicit term (%)",
        "dropped_solves",
        "{:.1f}",
        "outer.fallback",
        origin=Origin("outer.fallback", f"100 × mean over outer steps, then {OVER_SEEDS}", MEAN),
        scale=100,
        optional=True,
    ),
    _mean_column(
        "sharpness_nats",
        "Sharpness (nats)",
        "sharpness",
        "{:.3g}",
        "sharpness",
        compared="Sharpness (nats)",
    ),
    Column(
        "curvature",
        Origin("curvature.final", "geometric mean over layers, then median over seeds", TABLE),
        lambda cell: median(cell.finished["curvature"]),
        "Final curvature c (median)",
        _entry("curvature", "{:.3g}"),
        source="curvature",
        compared="Final curvature c (geometric mean)",
    ),
    _mean_column("gradients", "Gradient evaluations", "gradients", "{:.0f}", "gradients"),
    _mean_column("products", "Hessian products", "products", "{:.0f}", "products"),
    Column(
        "points_tried",
        Origin("tried", "median over seeds", TABLE, finished=False),
        lambda cell: median(cell.runs["tried"]),
        "Points tried",
        _entry("points_tried", "{:.0f}"),
    ),
    Column(
        "chosen",
        Origin(
            "chosen", "as the records say, with counts where they differ", TABLE, finished=False
        ),
        _chosen,
        "Chosen",
        _words("chosen"),
        optional=True,
    ),
    _search_column("different", TABLE, None, "{:.0f}"),
    _search_column("gradients", TABLE, "Search gradients", "{:.0f}"),
    _search_column("products", TABLE, None, "{:.0f}"),
)
_OF_RUNS = _counts(TABLE)  # after the columns of plugins
EXPERIMENT: tuple[Column, ...] = (*_OF_METHODS, *_OF_RUNS)


def _cost_column(name: str, heading: str, pattern: str) -> Column:
    origin = Origin(name, OVER_SEEDS, COST_TABLE)
    return _mean_column(name, heading, name, pattern, name, origin=origin)


def _name_column(name: str, heading: str) -> Column:
    """Declare a column that names a row of a table of several experiments."""
    return Column(
        name,
        Origin(name, "name of the row", SETTINGS, finished=False),
        lambda cell: getattr(cell, name),
        heading,
        _words(name),
    )


COST: tuple[Column, ...] = (  # of the table of what the runs cost the machine
    _name_column("experiment", "Experiment"),
    _name_column("method", "Method"),
    _cost_column("seconds", "Seconds a run", "{:.3g}"),
    _cost_column("peak_memory_mib", "Peak memory (MiB)", "{:.0f}"),
    _search_column("seconds", COST_TABLE, "Search seconds", "{:.3g}"),
    *_counts(COST_TABLE),
)


def _failure_column(name: str) -> Column:
    origin = Origin(name, "as the record says", FAILURES_TABLE, finished=False)
    # Without `value`: here a row is a run, not a method.
    return Column(name, origin, heading=name.capitalize(), text=_words(name))


FAILURES: tuple[Column, ...] = tuple(  # of the table of runs that did not finish
    map(_failure_column, ("experiment", "method", "seed", "status", "reason"))
)


# Names of columns of runs.parquet and of an experiment's table that no plugin may give a metric.
_TAKEN = {column.name for column in EXPERIMENT} | {column.source for column in EXPERIMENT}


class PluginMetric(Protocol):
    """A metric of a plugin folder: the class of its file ``metrics/<name>.py``.

    Attributes:
        heading: Printed above its column, with the unit.
        format: Prints a number, as ``{:.1f}``.
    """

    heading: str
    format: str

    def measure(self, record: Record) -> float | None:
        """Compute the metric of one run, in the unit of the heading.

        Args:
            record: The run's record, as its JSON file holds it.

        Returns:
            The number, None where the run has none.
        """
        ...


def plugin_metrics() -> dict[str, PluginMetric]:
    """Build the metrics of the plugin folders in use.

    Returns:
        Column of ``runs.parquet`` and of the tables -> metric.

    Raises:
        InputError: A metric has the name of another column.
    """
    # Not cached, as a metric lasts as long as its plugin folder is in use.
    found = {}
    for name in parts.names("metric"):
        if name in _TAKEN:
            path = parts.file("metric", name)
            raise InputError(
                f"{path}: found the name {name!r}, which another column has; allowed is its own"
            )
        found[name] = parts.build("metric", name, {})
    return found


def measure(record: Record) -> dict[str, float | None]:
    """Compute the plugins' metrics of one run.

    Args:
        record: The run's record.

    Returns:
        Metric -> number, None where the run has none. A run without test results has none at all.

    Raises:
        InputError: A metric raised an exception or returned something else.
    """
    found: dict[str, float | None] = {}
    for name, metric in plugin_metrics().items():
        found[name] = None if record["metrics"] is None else _measured(name, metric, record)
    return found


def _measured(name: str, metric: PluginMetric, record: Record) -> float | None:
    root, path = parts.find(parts.FAMILIES["metric"], name)
    try:
        value = metric.measure(record)
        # Inside the `try`, so that what is no number is blamed on the metric, too.
        return None if value is None else float(value)
    # One that the metric itself raised says what is wrong.
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: measure raised {parts.exception_line(error, root)}") from error


def _plugin_column(name: str, metric: PluginMetric) -> Column:
    return _mean_column(
        name,
        metric.heading,
        name,
        metric.format,
        "the run's record",
        # The file stands for the function, which has no name that can be imported.
        origin=Origin("the run's record", OVER_SEEDS, parts.file("metric", name).as_posix()),
        optional=True,
    )


def experiment() -> tuple[Column, ...]:
    """Return the columns of an experiment's table.

    Returns:
        In the order of the CSV file, those of the plugin folders in use before the counts of runs.
    """
    plugged = [_plugin_column(*item) for item in plugin_metrics().items()]
    return (*_OF_METHODS, *plugged, *_OF_RUNS)
