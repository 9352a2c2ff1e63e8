"""Say what each way to choose the curvature of a head on frozen features costs: its regret.

The landscapes over c hold, for each seed of a problem, the solved head at every c of a grid with
its test loss and what could be known without the test set. A chooser picks one c from what it
knows. Its regret is the test loss there less the least test loss over the grid.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hsac.errors import InputError
from hsac.files import read_json, workflow_of
from hsac.report import theory
from hsac.report.columns import MISSING, p_text
from hsac.report.statistics import holm, nested_means, t_p
from hsac.report.tables import write

ALL = "all"
GROUPS = {
    ALL: "All",
    "classification": "Clean",
    "long_tailed": "Long tail",
    "noisy": "Noisy labels",
    "few_shot": "Few-shot",
}
# Of the test set at a c: column of the landscape, factor, unit.
MEASURES = {
    "error": ("test_error", 100, "test error (points)"),
    "nll": ("test_nll", 100, "test NLL (hundredths of a nat)"),
}
# Choosers that take the c where a column of the landscape is least.
MINIMISERS = {
    "train_loss": "train_loss",
    "validation": "validation_nll",
    "validation_tempered": "validation_tempered",
    "certificate": "certificate",
    "informed": "informed",
}
FIXED = {"c=1": 1.0, "c=0.1": 0.1}
# Every landscape needs these. Readings and the certificate come besides.
NUMBERS = ("train_loss", "validation_nll", "validation_tempered", "test_nll", "test_error")
WORDS = {
    "train_loss": "training loss",
    "validation": "validation loss",
    "validation_tempered": "validation loss, tempered",
    "certificate": "PAC-Bayes bound, start prior",
    "informed": "PAC-Bayes bound, prior from half",
    "c=1": "c = 1",
    "c=0.1": "c = 0.1",
    "nearly_flat": "nearly flat (lowest c)",
    "highest_c": "highest c",
    "random_c": "random c",
    "oracle": "oracle",
}
READINGS = {
    "gap": "gap",
    "literal": "gap, one step",
    "range": "range",
    "worst": "loss at the adversary",
    "mean": "Gaussian mean",
    "adaptive_gap": "adaptive gap",
    "curvature_scope": "scope over c",
    "joint_scope": "scope over w and c",
}
NUMBER_OF_PROBLEMS = "Number of problems"
RIVALS = ("c=1", "train_loss", "random_c", "nearly_flat", "validation")
KEY, COMPARISON_KEY = ("chooser",), ("reading", "rival", "group", "measure")
NOTE = (
    "A head with a Poincaré MLR is solved on frozen features at each c of a grid. A chooser picks c"
    " in every seed; its regret is the test error or test NLL there less the least over the grid"
    " (oracle: 0). Readings of sharpness pick the c where they are least, ρ is their radius; ties"
    " go to the lower c. A random c is the mean over the grid. Choices by the validation loss use"
    " labels that no reading sees. Means count problems (features and condition) alike, and the"
    " dimensions within a problem; 95 % intervals are of a bootstrap of problems, then of seeds"
    " within, widened by the t quantile for few problems and cut at 0. Problems that share a data"
    " set count as independent. With one problem the interval is over its seeds alone."
)
COMPARISONS_NOTE = (
    "Difference: regret of the rival less that of the reading, so above 0 the reading is better."
    " p is of the t test over the problems' mean differences. A seed's chance is part of how they"
    " spread, so no second level is needed; a bootstrap's p would be too small with few problems,"
    " and neither it nor a sign-flip test gets as small as Holm's correction over so many rows"
    " asks. One problem has no p. The correction is over the table."
)
HEADINGS = {"chooser": "Chosen by"}
HEADINGS |= {
    f"{group}_{measure}": f"{title}: {unit}"
    for group, title in GROUPS.items()
    for measure, (_, _, unit) in MEASURES.items()
}
COMPARISON_HEADINGS = {
    "reading": "Reading",
    "rival": "Rival",
    "group": "Problems",
    "measure": "Measure",
    "problems": NUMBER_OF_PROBLEMS,
    "difference": "Regret saved [95 % interval]",
    "p": "p",
    "p_holm": "p (Holm)",
}


@dataclass(frozen=True)
class Problem:
    """A problem of a study: features with a condition.

    Attributes:
        name: Its name.
        setting: The setting that it belongs to.
        dims: Dimensions of the map's image, each with a landscape of its own.
        features: Name of its features.
        seeds: Number of seeds.
        points: Number of curvatures of the grid.
    """

    name: str
    setting: str
    dims: tuple[int, ...]
    features: str
    seeds: int
    points: int


@dataclass(frozen=True)
class Regrets:
    """The regrets of a study.

    Attributes:
        rows: One row a problem, seed and chooser, means over the problem's dimensions: problem,
            setting, seed, chooser, error (points), nll (hundredths of a nat).
        landscapes: Every row of the landscapes, with problem, setting and dim.
        unsolved: Number of landscapes of a seed in which some head was not solved.
        solved: Number of the others.
    """

    rows: pd.DataFrame
    landscapes: pd.DataFrame
    unsolved: int
    solved: int

    @property
    def note(self) -> str:
        """A sentence on unsolved heads with a space before it, empty without any."""
        if not self.unsolved:
            return ""
        total = self.unsolved + self.solved
        return (
            f" In {self.unsolved} of {total} landscapes (a problem, dimension and seed) some head"
            " was not solved to the tolerance; they are kept."
        )

    @property
    def choosers(self) -> list[str]:
        """The choosers: readings in the order of the files, then the others."""
        return list(dict.fromkeys(self.rows["chooser"]))

    @property
    def groups(self) -> list[str]:
        """`all` and the settings that have problems."""
        present = set(self.rows["setting"])
        return [group for group in GROUPS if group == ALL or group in present]

    def matrix(self, group: str, measure: str) -> pd.DataFrame:
        """Return the regrets in a group of problems.

        Args:
            group: A setting, or `all`.
            measure: One of `MEASURES`.

        Returns:
            A row a (problem, seed), a column a chooser, NaN where it could not choose.
        """
        rows = self.rows if group == ALL else self.rows[self.rows["setting"] == group]
        table = rows.pivot(index=["problem", "seed"], columns="chooser", values=measure)
        return table.reindex(columns=self.choosers)


def problems(results: Path) -> list[Problem]:
    """List the problems on frozen features of a results folder.

    Args:
        results: The folder.

    Returns:
        The problems that its ``settings.json`` has, none without that file.

    Raises:
        InputError: The file cannot be read.
    """
    path = Path(results) / "settings.json"
    frozen = (read_json(path).get("frozen") if path.is_file() else None) or {}
    points = frozen.get("curvatures", {}).get("points", 0)
    found = []
    for name, entry in frozen.get("problems", {}).items():
        dims = tuple(entry["dims"])
        found.append(
            Problem(name, entry["setting"], dims, entry["features"], entry["seeds"], points)
        )
    return found


def landscape_file(results: Path, problem: str, dim: int) -> Path:
    """Return where a landscape lies.

    Args:
        results: The results folder.
        problem: Name of the problem.
        dim: The dimension.

    Returns:
        The CSV file.
    """
    return Path(results) / "frozen" / "landscape" / f"{problem}_{dim}.csv"


def readings(columns: Iterable[str]) -> list[str]:
    """Return the columns of a landscape that are readings.

    Args:
        columns: All columns.

    Returns:
        Those that are called ``reading@radius``.
    """
    return [name for name in columns if "@" in name]


def words(chooser: str) -> str:
    """Call a chooser by words.

    Args:
        chooser: Its name.

    Returns:
        The words.
    """
    reading, _, radius = chooser.partition("@")
    if not radius:
        return WORDS.get(chooser, chooser)
    return f"{READINGS.get(reading, reading.replace('_', ' '))}, ρ = {radius}"


def read(results: Path) -> Regrets | None:
    """Read the landscapes of a results folder and compute the regrets.

    Args:
        results: The folder.

    Returns:
        The regrets, None where the study has no frozen features.

    Raises:
        InputError: A landscape is missing or cut short.
    """
    found = problems(results)
    if not found:
        return None
    tables = []
    for problem in found:
        for dim in problem.dims:
            rows = _landscape(landscape_file(results, problem.name, dim), problem)
            tables.append(rows.assign(problem=problem.name, setting=problem.setting, dim=dim))
    return regrets(pd.concat(tables, ignore_index=True))


def _landscape(path: Path, problem: Problem) -> pd.DataFrame:
    """Read a landscape, its rows sorted by seed and c."""
    rows = theory.read_rows(path)
    needed = ("seed", "c", "solved", *NUMBERS)
    if missing := [name for name in needed if name not in rows]:
        raise _cut(path, f"found no column {missing[0]}")
    if not readings(rows.columns):
        raise _cut(path, "found no reading")
    # A row that ends too early has no number in its last columns.
    broken = ~np.isfinite(rows[["seed", "c", *NUMBERS]].to_numpy(dtype=float)).all(1)
    if broken.any():
        raise _cut(path, f"row {int(broken.argmax()) + 1} lacks a finite number")
    seeds, points = rows["seed"].nunique(), rows["c"].nunique()
    expected = problem.seeds, problem.points
    is_grid = len(rows) == seeds * points and not rows.duplicated(["seed", "c"]).any()
    if (seeds, points) != expected or not is_grid:
        said = f"{len(rows)} rows of {seeds} seeds and {points} curvatures"
        raise _cut(path, f"found {said}, expected {expected[0]} seeds × {expected[1]} curvatures")
    return rows.sort_values(["seed", "c"], ignore_index=True)


def _cut(path: Path, found: str) -> InputError:
    return InputError(f"{path}: {found}; {workflow_of(path)} makes it again once it is deleted")


def regrets(landscapes: pd.DataFrame) -> Regrets:
    """Compute the regret of each chooser in each seed.

    Args:
        landscapes: The rows of all landscapes, with problem, setting and dim. Every seed of a
            problem and dimension has the same curvatures.

    Returns:
        The regrets.
    """
    tables = []
    for key, rows in landscapes.groupby(["problem", "setting", "dim"]):
        problem, setting = map(str, key[:2])
        ordered = rows.sort_values(["seed", "c"])
        seeds = ordered["seed"].unique()
        chosen = _choices(ordered, len(seeds))
        names = np.repeat(list(chosen), len(seeds))
        found = pd.DataFrame({"chooser": names, "seed": np.tile(seeds, len(chosen))})
        for measure, (column, factor, _) in MEASURES.items():
            test = ordered[column].to_numpy().reshape(len(seeds), -1)
            # (choosers, S)
            there = np.stack([(weights * test).sum(1) for weights in chosen.values()])
            found[measure] = factor * (there - test.min(1)).ravel()
        tables.append(found.assign(problem=problem, setting=setting))
    long = pd.concat(tables, ignore_index=True)
    # The dimensions of a problem share its draws, so they are no replications.
    keys = ["problem", "setting", "seed", "chooser"]
    mean = long.groupby(keys, sort=False, as_index=False)[list(MEASURES)].mean()
    order = [*readings(landscapes.columns), *WORDS]
    rank = mean["chooser"].map({name: place for place, name in enumerate(order)})
    mean = mean.iloc[np.argsort(rank.to_numpy(), kind="stable")].reset_index(drop=True)
    is_solved = landscapes.groupby(["problem", "dim", "seed"])["solved"].all()
    return Regrets(mean, landscapes, int((~is_solved).sum()), int(is_solved.sum()))


def _choices(rows: pd.DataFrame, seeds: int) -> dict[str, np.ndarray]:
    """Return, by chooser, the weight (S, C) it gives each c; NaN where it cannot choose."""
    c = rows["c"].to_numpy()[: len(rows) // seeds]
    named = {name: name for name in readings(rows.columns)} | MINIMISERS
    found = {}
    for chooser, column in named.items():
        if column in rows:
            found[chooser] = _least(rows[column].to_numpy(dtype=float).reshape(seeds, -1))
    places = {name: int(abs(np.log(c / value)).argmin()) for name, value in FIXED.items()}
    places |= {"nearly_flat": 0, "highest_c": len(c) - 1}
    for chooser, place in places.items():
        found[chooser] = np.tile(np.eye(len(c))[place], (seeds, 1))
    found["random_c"] = np.full((seeds, len(c)), 1 / len(c))
    return found


def _least(values: np.ndarray) -> np.ndarray:
    """Return 1 where each row is least, the first of equals, and 0 elsewhere; NaN if unknown."""
    # What a chooser could not compute at some c it cannot choose.
    known = np.where(np.isfinite(values), values, np.inf)
    picked = np.eye(values.shape[1])[known.argmin(1)]
    picked[~np.isfinite(known).any(1)] = np.nan
    return picked


def table(found: Regrets) -> pd.DataFrame:
    """Compute the mean regret of each chooser over all problems and by setting.

    Args:
        found: The regrets.

    Returns:
        One row a chooser, least regret in test error over all problems first: chooser, and for each
        group and measure ``<group>_<measure>`` with ``_low`` and ``_high`` (two-level interval) and
        ``_problems``. NaN where the chooser cannot choose.
    """
    columns: dict[str, Any] = {"chooser": ["oracle", *found.choosers]}
    for group in found.groups:
        for measure in MEASURES:
            # The oracle is where regret is counted from.
            values = found.matrix(group, measure)
            values.insert(0, "oracle", 0.0)
            means = means_of(values)
            # No regret is negative, though a symmetric interval reaches there.
            means["low"] = means["low"].clip(lower=0)
            for name in ("mean", "low", "high", "problems"):
                suffix = "" if name == "mean" else f"_{name}"
                columns[f"{group}_{measure}{suffix}"] = means[name].to_numpy()
    numbers = pd.DataFrame(columns)
    return numbers.sort_values(f"{ALL}_error", kind="stable", ignore_index=True)


def means_of(values: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Compute two-level means of regrets, or of differences of them.

    Args:
        values: A row a (problem, seed), a column a quantity. A problem with a NaN in a column is
            left out of that column's mean.
        level: Of the intervals.

    Returns:
        One row a column: mean, low, high, problems, p (t test of the problems' means against 0).
    """
    names = list(values.columns)
    found = pd.DataFrame(np.nan, index=names, columns=["mean", "low", "high", "p"])
    found["problems"] = 0
    known = values.notna().groupby(level="problem").all()
    # The columns that the same problems know share their draws.
    patterns: dict[tuple[bool, ...], list[Any]] = {}
    for name in names:
        patterns.setdefault(tuple(known[name]), []).append(name)
    for pattern, together in patterns.items():
        if not any(pattern):
            continue
        members = known.index[list(pattern)]
        rows = values.loc[values.index.get_level_values("problem").isin(members), together]
        group = pd.factorize(rows.index.get_level_values("problem"))[0]
        means = nested_means(rows.to_numpy(), group, level)
        of = [means.mean, means.low, means.high, t_p(means.groups)]
        found.loc[together, ["mean", "low", "high", "p"]] = np.stack(of, axis=1)
        found.loc[together, "problems"] = len(means.groups)
    return found


def saved(
    found: Regrets, group: str, measure: str, pairs: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    """Return what readings save of rivals' regret.

    Args:
        found: The regrets.
        group: A setting, or `all`.
        measure: One of `MEASURES`.
        pairs: (reading, rival) each.

    Returns:
        A row a (problem, seed), a column a pair, numbered as these are: the rival's regret less the
        reading's.
    """
    values = found.matrix(group, measure)
    readings, rivals = (values[list(side)].to_numpy() for side in zip(*pairs, strict=True))
    return pd.DataFrame(rivals - readings, index=values.index)


def comparisons(found: Regrets) -> pd.DataFrame:
    """Compare each reading with each rival, over all problems and by setting.

    Args:
        found: The regrets.

    Returns:
        One row a reading, rival, group and measure: the keys, problems, difference (what the
        reading saves of the rival's regret), low, high, p, p_holm (over the table).
    """
    rows, pairs = [], list(product(readings(found.choosers), RIVALS))
    for group in found.groups:
        for measure in MEASURES:
            means = means_of(saved(found, group, measure, pairs))
            for (reading, rival), one in zip(pairs, means.to_dict("records"), strict=True):
                keys = {"reading": reading, "rival": rival, "group": group, "measure": measure}
                numbers = {name: one[name] for name in ("problems", "low", "high", "p")}
                rows.append(keys | {"difference": one["mean"]} | numbers)
    order = [*COMPARISON_KEY, "problems", "difference", "low", "high", "p"]
    made = pd.DataFrame(rows)[order]
    return made.assign(p_holm=holm(made["p"]))


def interval_text(mean: float, low: float, high: float, sign: str = "") -> str:
    """Print a mean with its interval, as ``2.31 [1.80, 2.95]``.

    Args:
        mean: The mean; a dash stands for a missing one.
        low: Lower end, left out with the upper one where it is missing.
        high: Upper end.
        sign: ``+`` prints the sign of positive numbers, too.

    Returns:
        The text.
    """
    if pd.isna(mean):
        return MISSING
    text = f"{mean:{sign}.2f}"
    if not pd.isna(low):
        text += f" [{low:{sign}.2f}, {high:{sign}.2f}]"
    return text.replace("-", "−")


def displayed(numbers: pd.DataFrame) -> pd.DataFrame:
    """Print the table of regrets.

    Args:
        numbers: As `table` computes it, or as its CSV file holds it.

    Returns:
        The text of each entry under headings that state units.
    """
    shown = {HEADINGS["chooser"]: [words(str(name)) for name in numbers["chooser"]]}
    for name, heading in HEADINGS.items():
        if f"{name}_low" in numbers:
            of = numbers[[name, f"{name}_low", f"{name}_high"]].to_numpy(dtype=float)
            # The oracle's is 0 by what it is.
            exact = numbers["chooser"] == "oracle"
            cells = zip(of, exact, strict=True)
            shown[heading] = ["0" if zero else interval_text(*row) for row, zero in cells]
    return pd.DataFrame(shown)


def comparisons_displayed(numbers: pd.DataFrame) -> pd.DataFrame:
    """Print the comparisons.

    Args:
        numbers: As `comparisons` computes them, or as their CSV file holds them.

    Returns:
        The text of each entry under headings.
    """
    of = numbers[["difference", "low", "high"]].to_numpy(dtype=float)
    texts: dict[str, Iterable[str]] = {
        "reading": numbers["reading"].map(words),
        "rival": numbers["rival"].map(words),
        "group": numbers["group"].map(GROUPS),
        "measure": numbers["measure"].map({name: unit for name, (_, _, unit) in MEASURES.items()}),
        "problems": numbers["problems"].map(str),
        "difference": [interval_text(mean, low, high, "+") for mean, low, high in of],
        "p": numbers["p"].map(p_text),
        "p_holm": numbers["p_holm"].map(p_text),
    }
    return pd.DataFrame({COMPARISON_HEADINGS[name]: list(cells) for name, cells in texts.items()})


def write_regret_tables(results: Path, out_dir: Path) -> None:
    """Write ``regret`` and ``regret_comparisons`` as .csv, .md and .tex.

    A study without frozen features has neither.

    Args:
        results: The results folder. The landscapes lie in ``frozen/landscape``.
        out_dir: The folder to write into.

    Raises:
        InputError: A landscape is missing or cut short.
    """
    found = read(results)
    if found is None:
        return
    numbers, out = table(found), Path(out_dir)
    write(out, "regret", numbers, displayed(numbers), NOTE + found.note)
    numbers = comparisons(found)
    note = COMPARISONS_NOTE + found.note
    write(out, "regret_comparisons", numbers, comparisons_displayed(numbers), note)


def answer(numbers: pd.DataFrame, compared: pd.DataFrame) -> list[str]:
    """Say in three sentences what the tables come to.

    Args:
        numbers: As `table` computes them, or as their CSV file holds them.
        compared: As `comparisons` computes them, or as their CSV file holds them.

    Returns:
        Which chooser has the least regret, whether readings beat nearly flat space and c = 1, and
        how far the best reading is from validation.
    """
    over_all = compared[compared["group"] == ALL]
    return [_least_regret(numbers), _beaten(over_all), _from_validation(numbers, over_all)]


def _least_regret(numbers: pd.DataFrame) -> str:
    made = numbers[numbers["chooser"] != "oracle"]
    count = int(made[f"{ALL}_error_problems"].max())
    best = []
    for measure in MEASURES:
        name = f"{ALL}_{measure}"
        # A chooser that knows only some problems has a mean of others than the rest.
        row = made[made[f"{name}_problems"] == count].sort_values(name, kind="stable").iloc[0]
        text = interval_text(row[name], row[f"{name}_low"], row[f"{name}_high"])
        best.append((words(row["chooser"]), text))
    (of_error, error), (of_nll, nll) = best
    second = f"and {nll} hundredths of a nat of test NLL"
    if of_error != of_nll:
        second = f"but {of_nll} has the least in test NLL, {nll} hundredths of a nat"
    noun = "problem" if count == 1 else "problems"
    return (
        f"Over {count} {noun} the choice with the least mean regret is {of_error}: {error} points"
        f" of test error, {second}."
    )


def _beaten(over_all: pd.DataFrame) -> str:
    """Say how many readings do better and worse than the two rivals, in test error."""
    rows = over_all[over_all["measure"] == "error"]
    if rows["p_holm"].isna().all():
        return "A single problem cannot say whether readings beat nearly flat space or c = 1."
    total, said = rows["reading"].nunique(), []
    for rival in ("nearly_flat", "c=1"):
        own = rows[(rows["rival"] == rival) & (rows["p_holm"] < 0.05)]
        better, worse = int((own["difference"] > 0).sum()), int((own["difference"] < 0).sum())
        said.append(f"{better} have significantly less than {words(rival)} and {worse} more")
    return (
        f"Of {total} readings of sharpness (each radius counted), judged by regret in test error,"
        f" {'; '.join(said)} (after Holm's correction)."
    )


def _from_validation(numbers: pd.DataFrame, over_all: pd.DataFrame) -> str:
    rows = over_all[(over_all["measure"] == "error") & (over_all["rival"] == "validation")]
    ranked = [name for name in numbers["chooser"] if name in set(rows["reading"])]
    row = rows[rows["reading"] == ranked[0]].iloc[0]
    low, high, word = row["low"], row["high"], "less"
    if row["difference"] < 0:
        low, high, word = -high, -low, "more"
    text = interval_text(abs(row["difference"]), low, high)
    # A NaN is of a single problem, which has no test.
    told = "" if row["p_holm"] < 0.05 else "not "
    return (
        f"The reading of least regret ({words(ranked[0])}, picked after the fact) has {text} points"
        f" {word} regret in test error than the choice by the validation loss; after Holm's"
        f" correction that is {told}significant."
    )
