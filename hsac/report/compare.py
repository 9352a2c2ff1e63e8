"""Two results folders side by side: two commits, two machines. What moved beyond noise."""

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
IDENTITY = [
    "config_hash",
    "variant_hash",
    "start",
]  # runs that agree in these and in the seed are pairs
UNCOMPARED = {
    "record",
    "code",
    *TIMING,
}  # of a run: where it lies, what made it, how long it took (older folders)
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

    ``numbers``: one row a cell and metric of both. ``only_a``, ``only_b``: cells of one.
    ``shared``: runs with the same seed, configuration, variant and start in both; ``identical``:
    those whose every result is bitwise the same. ``environment``: what they ran with where it
    differs. ``moved``: whether a row of ``numbers`` moved.
    """

    numbers: pd.DataFrame
    only_a: list[str]
    only_b: list[str]
    shared: int
    identical: int
    environment: pd.DataFrame

    @property
    def moved(self) -> bool:
        """Whether anything moved beyond noise."""
        return bool(self.numbers["verdict"].str.startswith("moved").any())


def read_runs(folder: Path) -> pd.DataFrame:
    """The gathered runs of a results folder. Raises InputError naming what is missing, damaged or
    there twice.
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
    """One row a cell (experiment × method) of both gathered tables and metric.

    Columns: experiment, method, metric, n_a, mean_a, low_a, high_a, the same of b, how (paired,
    Welch, Fisher), pairs, difference (B − A), low, high, p, p_holm, verdict: ``same`` (bitwise in
    every pair), ``within noise``, ``moved``, or ``too few runs``. Of the metric finished, n counts
    the runs and mean those that are ok. Accuracies and shares in %, curvature as it is, the rest in
    nats; undefined entries are NaN.
    """
    rows = []
    cells_a, cells_b = _cells(a), _cells(b)
    for key in (key for key in cells_a if key in cells_b):
        rows += _cell(key, cells_a[key], cells_b[key])
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"].where(table["verdict"] == ""))
    moved = (table["p_holm"] < ALPHA) & (table["verdict"] == "")
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


def _cell(key: tuple[str, str], a: pd.DataFrame, b: pd.DataFrame) -> list[dict[str, Any]]:
    name = dict(zip(("experiment", "method"), key, strict=True))
    rows, seeds = [name | _finished(a, b)], _pairs(a, b)["seed"]
    for metric in (metric for metric in [*METRICS, *_others(a)] if metric in a and metric in b):
        if not (a[metric].isna().all() and b[metric].isna().all()):
            scale = METRICS[metric].scale if metric in METRICS else 1
            rows.append(name | {"metric": metric} | _metric(key, metric, scale, a, b, seeds))
    return rows


def _others(runs: pd.DataFrame) -> list[str]:
    """Return the metrics of plug-ins: numbers that no run of the package has."""
    known = {*RUN_SCHEMA.names, *UNCOMPARED}
    return [name for name in runs.select_dtypes("number").columns if name not in known]


def _finished(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, Any]:
    ok = [int((runs["status"] == "ok").sum()) for runs in (a, b)]
    of = [len(a), len(b)]
    row: dict[str, Any] = {
        "metric": FINISHED,
        "n_a": of[0],
        "mean_a": ok[0],
        "n_b": of[1],
        "mean_b": ok[1],
    }
    row |= {"how": "Fisher", "pairs": 0, "difference": ok[1] - ok[0]}
    row["p"] = float(stats.fisher_exact([[ok[0], of[0] - ok[0]], [ok[1], of[1] - ok[1]]]).pvalue)
    if ok == of:  # nothing to test
        return row | {"verdict": "same", "p": math.nan}
    # Holm over a large table leaves a test of few runs no power, so this is not left to it
    return row | {"verdict": "moved" if 0 in ok and max(ok) > 1 and min(of) > 1 else ""}


def _metric(
    key: tuple[str, str],
    metric: str,
    scale: float,
    a: pd.DataFrame,
    b: pd.DataFrame,
    seeds: pd.Series,
) -> dict[str, Any]:
    ours, theirs = (Replicates(runs, *key, metric, scale) for runs in (a, b))
    m, k = mean_interval(ours), mean_interval(theirs)
    row: dict[str, Any] = {"n_a": m.n, "mean_a": m.mean, "low_a": m.low, "high_a": m.high}
    row |= {"n_b": k.n, "mean_b": k.mean, "low_b": k.low, "high_b": k.high}
    common = ours.values.index.intersection(theirs.values.index)
    agree = common[common.isin(seeds)]
    if len(agree) >= 2:
        # the seeds that are in both and no pairs, should there be any, are left out of one side
        kept = a if len(agree) == len(common) else a[a["seed"].isin(agree)]
        base = ours if kept is a else Replicates(kept, *key, metric, scale)
        d, how = paired_difference(theirs, base), "paired"
    else:
        d, how = welch(ours, theirs), "Welch"
    pairs = d.n if how == "paired" else 0
    same = how == "paired" and bool((ours.values[agree] == theirs.values[agree]).all())
    row |= {
        "how": how,
        "pairs": pairs,
        "difference": d.difference,
        "low": d.low,
        "high": d.high,
        "p": d.p,
    }
    return row | {"verdict": "same" if same else ""}


def _pairs(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """The runs of both tables that agree in seed, configuration, variant and start, columns of each
    with _a and _b.
    """
    both = a.merge(b, on=KEYS, suffixes=("_a", "_b"))
    agree = pd.Series(True, index=both.index)
    for name in IDENTITY:
        agree &= _equal(both[f"{name}_a"], both[f"{name}_b"])
    return both[agree]


def _equal(a: pd.Series, b: pd.Series) -> pd.Series:
    """Whether the entries are the same, missing ones being the same as each other; lists are
    compared whole.
    """
    same = [
        (_missing(x) and _missing(y)) or _whole(x) == _whole(y) for x, y in zip(a, b, strict=True)
    ]
    return pd.Series(same, index=a.index, dtype=bool)


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _whole(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def welch(a: Replicates, b: Replicates) -> Paired:
    """Difference ``b`` − ``a`` of the means of unpaired runs, with its 95 % interval and p by
    Welch's t test; NaN where either has fewer than two. Where nothing varies the exact permutation
    test stands in: p = 1 for equal values, else 2 over the number of ways to split the runs.
    """
    x, y = a.values.to_numpy(), b.values.to_numpy()
    n, difference = (
        min(len(x), len(y)),
        (float(y.mean() - x.mean()) if len(x) and len(y) else math.nan),
    )
    if n < 2:
        return Paired(n, difference, math.nan, math.nan, math.nan, math.nan)
    if max(np.ptp(x), np.ptp(y)) <= SAME:
        p = 1.0 if abs(difference) <= SAME else 2 / math.comb(len(x) + len(y), len(x))
        return Paired(n, difference, 0.0, difference, difference, p, "permutation")
    found = stats.ttest_ind(y, x, equal_var=False)
    interval = found.confidence_interval(0.95)
    return Paired(
        n, difference, math.nan, float(interval.low), float(interval.high), float(found.pvalue), "t"
    )


def identical_runs(a: pd.DataFrame, b: pd.DataFrame) -> tuple[int, int]:
    """How many runs the tables share (same seed, configuration, variant and start), and how many of
    those agree bit for bit in every column that both have but the record's path, the code and the
    times.
    """
    both = _pairs(a, b)
    known = [
        n
        for n in RUN_SCHEMA.names
        if n in a and n in b and n not in {*KEYS, *IDENTITY, *UNCOMPARED}
    ]
    same = pd.Series(True, index=both.index)
    for name in known:
        same &= _equal(both[f"{name}_a"], both[f"{name}_b"])
    return len(both), int(same.sum())


def environment(folder: Path, runs: pd.DataFrame) -> dict[str, set[str]]:
    """What the runs' records say they ran with: host, device, dtype and each package's version,
    every value once.

    Records that are not there are passed over; without any, empty. Raises InputError for one that
    cannot be read.
    """
    found: dict[str, set[str]] = {}
    paths = [Path(folder) / name for name in runs.get("record", pd.Series(dtype=str)).dropna()]
    for path in tqdm(
        [path for path in paths if path.is_file()], desc=str(folder), unit="record", disable=None
    ):
        record = read_json(path)
        said = {
            key: record.get(key) for key in ("host", "device", "dtype", "threads")
        } | record.get("versions", {})
        for key, value in said.items():
            if value is not None:
                found.setdefault(key, set()).add(str(value))
    return found


def differences(a: Mapping[str, set[str]], b: Mapping[str, set[str]]) -> pd.DataFrame:
    """What two environments do not share: columns what, a, b."""
    names = [name for name in [*a, *(n for n in b if n not in a)] if a.get(name) != b.get(name)]
    sides = [
        [", ".join(sorted(side.get(name, set()))) or "not recorded" for name in names]
        for side in (a, b)
    ]
    return pd.DataFrame({"what": names, "a": sides[0], "b": sides[1]}, dtype=object)


def _fingerprints(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """For how many of the cells of both tables code, configuration and variant differ: columns
    what, a, b.
    """
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
    """The first two fingerprints of a list, and how many more there are."""
    parts = text.split(", ")
    return text if len(parts) < 4 else f"{', '.join(parts[:2])} and {len(parts) - 2} more"


def compare_folders(a: Path, b: Path) -> Comparison:
    """Compare two results folders, which need nothing but ``runs.parquet``; records, where they
    are, tell hosts and versions. Raises InputError for a folder without gathered runs, or when the
    two have no cell in common.
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
    """Rows of ``compare_runs`` as text to print."""
    out = []
    for row in numbers.to_dict("records"):
        counts = row["metric"] == FINISHED
        sides = {
            side: f"{row[f'mean_{side}']:.0f} / {row[f'n_{side}']}" if counts else _mean(row, side)
            for side in "ab"
        }
        out.append(
            {
                "Experiment": row["experiment"],
                "Method": row["method"],
                "Metric": "Finished runs" if counts else _heading(row["metric"]),
                "A": sides["a"],
                "B": sides["b"],
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


def _mean(row: Mapping[Any, Any], side: str) -> str:
    mean, low, high = (row[f"{name}_{side}"] for name in ("mean", "low", "high"))
    if pd.isna(mean):
        return MISSING
    spread = "" if pd.isna(low) else f" ± {(high - low) / 2:.3g}"
    return f"{_number(mean)}{spread} (n = {row[f'n_{side}']})"


def _number(value: float) -> str:
    return (f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}").replace("-", "−")


def _difference(row: Mapping[Any, Any], counts: bool) -> str:
    if pd.isna(row["difference"]):
        return MISSING
    if row["verdict"] == "same":
        return "0"
    if counts:
        return f"{row['difference']:+.0f}".replace("-", "−")
    text = f"{row['difference']:+.3g}"
    if not pd.isna(row["low"]):
        text += f" [{row['low']:+.3g}, {row['high']:+.3g}]"
    return text.replace("-", "−")


def report(found: Comparison, a: Path, b: Path) -> str:
    """The comparison as Markdown: what moved, environments, cells of one only, then every cell and
    metric.
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
    """Markdown whose columns line up in a terminal."""
    text = table.astype(str)
    wide = {str(name): max(len(str(name)), *text[name].str.len()) for name in text}
    text = pd.DataFrame(
        {name.ljust(width): text[name].str.ljust(width) for name, width in wide.items()}
    )
    lines = markdown(text, "").rstrip().splitlines()
    lines[1] = "| " + " | ".join("-" * width for width in wide.values()) + " |"
    return "\n".join(lines)


def compare(a: Path, b: Path) -> tuple[str, bool]:
    """The comparison of two results folders as Markdown, and whether anything moved beyond noise."""
    found = compare_folders(a, b)
    return report(found, a, b), found.moved
