"""Compare two results folders, of two commits or two machines: what moved beyond noise."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from tqdm import tqdm

from hsac.errors import InputError
from hsac.files import read_json
from hsac.report import columns
from hsac.report.columns import MISSING, p_text
from hsac.report.gather import RUN_SCHEMA, TIMING, read_gathered
from hsac.report.statistics import SAME, Paired, Replicates, holm, mean_interval, paired_difference
from hsac.report.tables import markdown

ALPHA = 0.05
FINISHED = "finished"
# what claims are about stands first, the rest follows in the order of the tables
METRICS = {
    str(column.source): column
    for column in sorted(
        (column for column in columns.EXPERIMENT if column.source and column.compared),
        key=lambda column: not str(column.source).startswith("selected_test"),
    )
}
KEYS = ["experiment", "method", "seed"]
IDENTITY = ["config_hash", "variant_hash", "start"]  # runs that agree in these and in the seed pair
UNCOMPARED = {"record", "code", *TIMING}  # where a run lies, what made it, its time (older folders)
NOTE = (
    "Means with 95 % t intervals over seeds. Differences are B − A with 95 % intervals: paired by"
    " seed where two or more seeds, the configuration, the data's variant and the start agree, else"
    " Welch's. Finished counts the runs with status ok (Fisher's exact test). Same: the pairs agree"
    " bit for bit. p Holm is corrected over all other rows. Moved: p Holm under 0.05, or runs"
    " finished in one set and none in the other. Nothing is concluded from one run."
)


@dataclass(frozen=True)
class Comparison:
    """What two results folders have in common and what not.

    Attributes:
        numbers: One row a cell and metric of both.
        only_a: Cells of the first alone.
        only_b: Cells of the second alone.
        shared: Number of runs with the same seed, configuration, variant and start in both.
        identical: Number of those whose every result is the same bit for bit.
        environment: What the runs ran with, where it differs.
    """

    numbers: pd.DataFrame
    only_a: list[str]
    only_b: list[str]
    shared: int
    identical: int
    environment: pd.DataFrame

    @property
    def moved(self) -> bool:
        """Something moved beyond noise."""
        return bool(self.numbers["verdict"].str.startswith("moved").any())


@dataclass(frozen=True)
class Side:
    """A metric in one of the two folders.

    Attributes:
        n: Number of finished runs; of the metric finished, of all runs.
        mean: Mean over seeds; of the metric finished, the number of runs that are ok.
        low: Lower end of the 95 % t interval.
        high: Upper end.
    """

    n: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Compared:
    """A metric of one cell in both folders.

    Attributes:
        metric: Its name.
        a: In the one folder.
        b: In the other.
        how: Paired, Welch or Fisher.
        pairs: Number of pairs.
        difference: B − A with its interval and p.
        verdict: Same or moved where that is known without Holm's correction, else empty.
    """

    metric: str
    a: Side
    b: Side
    how: str
    pairs: int
    difference: Paired
    verdict: str

    def numbers(self) -> dict[str, object]:
        """Return the row of the table.

        Returns:
            Column -> entry, as of `compare_runs`.
        """
        row: dict[str, object] = {"metric": self.metric}
        for name, side in (("a", self.a), ("b", self.b)):
            row |= {f"n_{name}": side.n, f"mean_{name}": side.mean}
            row |= {f"low_{name}": side.low, f"high_{name}": side.high}
        d = self.difference
        row |= {"how": self.how, "pairs": self.pairs, "difference": d.difference}
        return row | {"low": d.low, "high": d.high, "p": d.p, "verdict": self.verdict}


def read_runs(folder: Path) -> pd.DataFrame:
    """Read the gathered runs of a results folder.

    Args:
        folder: The folder.

    Returns:
        One row a run.

    Raises:
        InputError: The file or a column is missing, or a run is there twice.
    """
    path = Path(folder) / "runs.parquet"
    if not path.is_file():
        raise InputError(
            f"{folder}: found no runs.parquet; allowed is a results folder, as results/default"
        )
    runs = read_gathered(path)
    for name in [*KEYS, "status", *IDENTITY, "code"]:
        if name not in runs:
            raise InputError(
                f"{path}: found no column {name}; allowed are gathered runs, as `hsac job gather`"
                " writes them"
            )
    twice = runs[runs.duplicated(KEYS)]
    if len(twice):
        experiment, method, seed = twice.iloc[0][KEYS]
        raise InputError(
            f"{path}: found {experiment} {method} seed {seed} twice; allowed is one row a run"
        )
    return runs


def compare_runs(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Compare the cells (experiment and method) that two gathered tables have in common.

    Args:
        a: The one table.
        b: The other.

    Returns:
        One row a cell and metric: experiment, method, metric, n_a, mean_a, low_a, high_a, the same
        of b, how (paired, Welch, Fisher), pairs, difference (B − A), low, high, p, p_holm, and
        verdict. The verdict is ``same`` (bit for bit in every pair), ``within noise``, ``moved``,
        or ``too few runs``. Of the metric finished, n counts the runs and mean those that are ok.
        Accuracies and shares are in %, curvature as it is, the rest in nats; undefined entries are
        NaN.
    """
    rows = []
    cells_a, cells_b = _cells(a), _cells(b)
    for key in (key for key in cells_a if key in cells_b):
        named = {"experiment": key[0], "method": key[1]}
        rows += [named | row.numbers() for row in _cell(key, cells_a[key], cells_b[key])]
    table = pd.DataFrame(rows)
    # Rows whose verdict is known are no tests, and would cost the others power.
    table["p_holm"] = holm(table["p"].where(table["verdict"] == ""))
    moved = (table["p_holm"] < ALPHA) & (table["verdict"] == "")
    # Fewer than two runs on a side have no p.
    unknown = table["p"].isna() & (table["verdict"] == "")
    table["verdict"] = (
        table["verdict"]
        .mask(unknown, "too few runs")
        .mask(moved, "moved")
        .replace("", "within noise")
    )
    return table


def _cells(runs: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    return {
        (str(e), str(m)): rows for (e, m), rows in runs.groupby(["experiment", "method"], sort=True)
    }


def _cell(key: tuple[str, str], a: pd.DataFrame, b: pd.DataFrame) -> list[Compared]:
    rows, seeds = [_finished(a, b)], _pairs(a, b)["seed"]
    # Tables of an older version, or without a plugin's metrics, have fewer columns.
    for metric in (metric for metric in [*METRICS, *_others(a)] if metric in a and metric in b):
        if not (a[metric].isna().all() and b[metric].isna().all()):
            rows.append(_metric(key, metric, a, b, seeds))
    return rows


def _others(runs: pd.DataFrame) -> list[str]:
    """Return the metrics of plugins: numbers that no run of the package has."""
    known = {*RUN_SCHEMA.names, *UNCOMPARED}
    return [name for name in runs.select_dtypes("number").columns if name not in known]


def _finished(a: pd.DataFrame, b: pd.DataFrame) -> Compared:
    """Compare how many runs finished, by Fisher's exact test."""
    ok = [int((runs["status"] == "ok").sum()) for runs in (a, b)]
    of = [len(a), len(b)]
    if ok == of:  # nothing to test
        verdict, p = "same", math.nan
    else:
        counts = [[ok[0], of[0] - ok[0]], [ok[1], of[1] - ok[1]]]
        p = float(stats.fisher_exact(counts).pvalue)
        # Holm over a large table leaves a test of few runs no power, so this is not left to it
        verdict = "moved" if 0 in ok and max(ok) > 1 and min(of) > 1 else ""
    sides = Side(of[0], ok[0], math.nan, math.nan), Side(of[1], ok[1], math.nan, math.nan)
    difference = Paired(0, ok[1] - ok[0], math.nan, math.nan, math.nan, p)
    return Compared(FINISHED, *sides, "Fisher", 0, difference, verdict)


def _metric(
    key: tuple[str, str], metric: str, a: pd.DataFrame, b: pd.DataFrame, seeds: pd.Series
) -> Compared:
    """Compare a metric, paired where two or more seeds of both are pairs."""
    scale = METRICS[metric].scale if metric in METRICS else 1
    ours, theirs = (Replicates(runs, *key, metric, scale) for runs in (a, b))
    common = ours.values.index.intersection(theirs.values.index)
    agree = common[common.isin(seeds)]
    verdict = ""
    # One pair has no spread.
    if len(agree) >= 2:
        # the seeds that are in both and no pairs, should there be any, are left out of one side
        kept = a if len(agree) == len(common) else a[a["seed"].isin(agree)]
        base = ours if kept is a else Replicates(kept, *key, metric, scale)
        found, how = paired_difference(theirs, base), "paired"
        pairs = found.n
        if (ours.values[agree] == theirs.values[agree]).all():
            verdict = "same"
    else:
        found, how, pairs = welch(ours, theirs), "Welch", 0
    return Compared(metric, _side(ours), _side(theirs), how, pairs, found, verdict)


def _side(runs: Replicates) -> Side:
    found = mean_interval(runs)
    return Side(found.n, found.mean, found.low, found.high)


def _pairs(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of both tables that agree in seed and `IDENTITY`, columns with _a and _b."""
    both = a.merge(b, on=KEYS, suffixes=("_a", "_b"))
    agree = pd.Series(True, index=both.index)
    for name in IDENTITY:
        # Not `==`: a Euclidean cell's start is missing on both sides, which agrees.
        agree &= _equal(both[f"{name}_a"], both[f"{name}_b"])
    return both[agree]


def _equal(a: pd.Series, b: pd.Series) -> pd.Series:
    """Tell which entries are the same; missing ones are, and lists are compared whole."""
    pairs = zip(a, b, strict=True)
    same = [(_missing(x) and _missing(y)) or _whole(x) == _whole(y) for x, y in pairs]
    return pd.Series(same, index=a.index, dtype=bool)


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _whole(value: Any) -> Any:
    # Parquet gives lists as arrays, whose `==` has an entry for each item.
    return value.tolist() if isinstance(value, np.ndarray) else value


def welch(a: Replicates, b: Replicates) -> Paired:
    """Compare the means of unpaired runs by Welch's t test.

    Where nothing varies the exact permutation test stands in: p = 1 for equal values, else 2 over
    the number of ways to split the runs.

    Args:
        a: The one set of runs.
        b: The other.

    Returns:
        Difference `b` − `a`, its 95 % interval and p, NaN where either has fewer than two runs.
    """
    x, y = a.values.to_numpy(), b.values.to_numpy()
    n = min(len(x), len(y))
    difference = float(y.mean() - x.mean()) if n else math.nan
    if n < 2:
        return Paired(n, difference, math.nan, math.nan, math.nan, math.nan)
    if max(np.ptp(x), np.ptp(y)) <= SAME:
        # Only one split tells the values apart so well. Twice its share makes the test two-sided.
        p = 1.0 if abs(difference) <= SAME else 2 / math.comb(len(x) + len(y), len(x))
        return Paired(n, difference, 0.0, difference, difference, p, "permutation")
    found = stats.ttest_ind(y, x, equal_var=False)
    interval = found.confidence_interval(0.95)
    return Paired(
        n, difference, math.nan, float(interval.low), float(interval.high), float(found.pvalue), "t"
    )


def identical_runs(a: pd.DataFrame, b: pd.DataFrame) -> tuple[int, int]:
    """Count the runs that two tables share, and those that agree bit for bit.

    Args:
        a: The one table.
        b: The other.

    Returns:
        Number of runs with the same seed, configuration, variant and start. Number of those that
        agree in every column of both but the record's path, the code and the times.
    """
    both = _pairs(a, b)
    left_out = {*KEYS, *IDENTITY, *UNCOMPARED}
    known = [n for n in RUN_SCHEMA.names if n in a and n in b and n not in left_out]
    same = pd.Series(True, index=both.index)
    for name in known:
        same &= _equal(both[f"{name}_a"], both[f"{name}_b"])
    return len(both), int(same.sum())


def environment(folder: Path, runs: pd.DataFrame) -> dict[str, set[str]]:
    """Collect what the runs of a folder ran with.

    Args:
        folder: The results folder.
        runs: Its gathered runs. Records that are not there are passed over.

    Returns:
        Host, device, dtype, threads and each package -> every value once. Empty without records.

    Raises:
        InputError: A record cannot be read.
    """
    found: dict[str, set[str]] = {}
    paths = [Path(folder) / name for name in runs.get("record", pd.Series(dtype=str)).dropna()]
    # A folder may have been passed on without its records.
    present = [path for path in paths if path.is_file()]
    # With `disable=None` there is no bar where the output is no terminal.
    for path in tqdm(present, desc=str(folder), unit="record", disable=None):
        record = read_json(path)
        said = {key: record.get(key) for key in ("host", "device", "dtype", "threads")}
        said |= record.get("versions", {})
        for key, value in said.items():
            if value is not None:
                found.setdefault(key, set()).add(str(value))
    return found


def differences(a: Mapping[str, set[str]], b: Mapping[str, set[str]]) -> pd.DataFrame:
    """Compare two environments.

    Args:
        a: The one, as of `environment`.
        b: The other.

    Returns:
        What they do not share: columns what, a, b.
    """
    names = [name for name in [*a, *(n for n in b if n not in a)] if a.get(name) != b.get(name)]

    def values(side: Mapping[str, set[str]]) -> list[str]:
        return [", ".join(sorted(side.get(name, set()))) or "not recorded" for name in names]

    return pd.DataFrame({"what": names, "a": values(a), "b": values(b)}, dtype=object)


def _fingerprints(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Count the cells of both tables whose code, configuration or variant differ."""
    cells_a, cells_b = _cells(a), _cells(b)
    common = [key for key in cells_a if key in cells_b]
    rows = []
    for name, words in (
        ("code", "code"),
        ("config_hash", "configuration"),
        ("variant_hash", "data variant"),
    ):
        sides = [[set(cells[key][name].dropna()) for key in common] for cells in (cells_a, cells_b)]
        changed = [i for i, (x, y) in enumerate(zip(*sides, strict=True)) if x != y]
        if changed:
            of = f"{words} ({len(changed)} of {len(common)} cells differ)"
            text = [", ".join(sorted(set().union(*(side[i] for i in changed)))) for side in sides]
            rows.append({"what": of, "a": _short(text[0]), "b": _short(text[1])})
    return pd.DataFrame(rows, columns=["what", "a", "b"], dtype=object)


def _short(text: str) -> str:
    """Return the first two fingerprints of a list, and how many more there are."""
    parts = text.split(", ")
    # "and 1 more" would be no shorter than the third itself.
    return text if len(parts) < 4 else f"{', '.join(parts[:2])} and {len(parts) - 2} more"


def compare_folders(a: Path, b: Path) -> Comparison:
    """Compare two results folders.

    They need nothing but ``runs.parquet``. Records, where they are, tell hosts and versions.

    Args:
        a: The one folder.
        b: The other.

    Returns:
        What was found.

    Raises:
        InputError: A folder has no gathered runs, or the two have no cell in common.
    """
    runs = [read_runs(folder) for folder in (a, b)]
    cells = [_cells(some) for some in runs]
    if not cells[0].keys() & cells[1].keys():
        raise InputError(
            f"{a} and {b}: found no experiment and method in both; allowed are results that share"
            " some"
        )
    only_a, only_b = ([" ".join(key) for key in x if key not in y] for x, y in (cells, cells[::-1]))
    shared, identical = identical_runs(*runs)
    said = [environment(folder, some) for folder, some in zip((a, b), runs, strict=True)]
    differ = differences(*said) if all(said) else differences({}, {})
    if not all(said):
        silent = ["no records here" if not some else "recorded" for some in said]
        differ = pd.DataFrame([{"what": "host, device, versions", "a": silent[0], "b": silent[1]}])
    differ = pd.concat([_fingerprints(*runs), differ], ignore_index=True)
    return Comparison(compare_runs(*runs), only_a, only_b, shared, identical, differ)


def shown(numbers: pd.DataFrame) -> pd.DataFrame:
    """Print a comparison.

    Args:
        numbers: As of `compare_runs`.

    Returns:
        The text of each entry under headings.
    """
    out = []
    for row in numbers.to_dict("records"):
        counts = row["metric"] == FINISHED
        side = _finished_text if counts else _mean
        out.append(
            {
                "Experiment": row["experiment"],
                "Method": row["method"],
                "Metric": "Finished runs" if counts else _heading(row["metric"]),
                "A": side(row, "a"),
                "B": side(row, "b"),
                "B − A": _difference(row, counts),
                "p Holm": p_text(row["p_holm"]),
                "By": f"{row['pairs']} pairs" if row["how"] == "paired" else row["how"],
                "Verdict": row["verdict"],
            }
        )
    return pd.DataFrame(out)


def _heading(metric: str) -> str:
    found = METRICS.get(metric)
    return found.compared or metric if found else metric


def _finished_text(row: Mapping[Any, Any], side: str) -> str:
    return f"{row[f'mean_{side}']:.0f} / {row[f'n_{side}']}"


def _mean(row: Mapping[Any, Any], side: str) -> str:
    mean, low, high = (row[f"{name}_{side}"] for name in ("mean", "low", "high"))
    if pd.isna(mean):
        return MISSING
    spread = "" if pd.isna(low) else f" ± {(high - low) / 2:.3g}"
    return f"{_number(mean)}{spread} (n = {row[f'n_{side}']})"


def _number(value: float) -> str:
    # Counts above 9999 would turn into powers of ten.
    return (f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}").replace("-", "−")


def _difference(row: Mapping[Any, Any], counts: bool) -> str:
    if pd.isna(row["difference"]):
        return MISSING
    # Equal bit for bit needs neither sign nor interval.
    if row["verdict"] == "same":
        return "0"
    if counts:
        return f"{row['difference']:+.0f}".replace("-", "−")
    text = f"{row['difference']:+.3g}"
    if not pd.isna(row["low"]):
        text += f" [{row['low']:+.3g}, {row['high']:+.3g}]"
    return text.replace("-", "−")


def report(found: Comparison, a: Path, b: Path) -> str:
    """Write a comparison as Markdown.

    Args:
        found: The comparison.
        a: The one folder.
        b: The other.

    Returns:
        What moved, the environments, cells of one folder alone, then every cell and metric.
    """
    verdicts = found.numbers["verdict"]
    counts = ", ".join(f"{n} {words}" for words, n in verdicts.value_counts().items())
    parts = [
        f"# {a} (A) and {b} (B)",
        (
            f"{len(found.numbers)} comparisons: {counts}. Runs in both with the same seed,"
            f" configuration, variant and start: {found.shared}, bitwise identical:"
            f" {found.identical}."
        ),
        "## Moved beyond noise",
        _table(found.numbers[verdicts == "moved"]) if found.moved else "Nothing.",
        "## Environments",
        (
            _padded(found.environment.set_axis(["What", "A", "B"], axis=1))
            if len(found.environment)
            else "The same."
        ),
    ]
    for name, cells in (("A", found.only_a), ("B", found.only_b)):
        if cells:
            parts += [f"## Cells only in {name}", "\n".join(f"- {cell}" for cell in cells)]
    return "\n\n".join([*parts, "## Every cell", _table(found.numbers), NOTE])


def _table(numbers: pd.DataFrame) -> str:
    return _padded(shown(numbers))


def _padded(table: pd.DataFrame) -> str:
    """Format a table as Markdown whose columns line up in a terminal."""
    text = table.astype(str)
    wide = {str(name): max(len(str(name)), *text[name].str.len()) for name in text}
    text = pd.DataFrame(
        {name.ljust(width): text[name].str.ljust(width) for name, width in wide.items()}
    )
    lines = markdown(text, "").rstrip().splitlines()
    lines[1] = "| " + " | ".join("-" * width for width in wide.values()) + " |"
    return "\n".join(lines)


def compare(a: Path, b: Path) -> tuple[str, bool]:
    """Compare two results folders and write what was found as Markdown.

    Args:
        a: The one folder.
        b: The other.

    Returns:
        The text, and whether anything moved beyond noise.

    Raises:
        InputError: A folder has no gathered runs, or the two have no cell in common.
    """
    found = compare_folders(a, b)
    return report(found, a, b), found.moved
