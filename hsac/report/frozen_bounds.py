"""Say whether curvatures of least bound, of least sharpness and of least test error agree."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from hsac.report import frozen
from hsac.report.columns import MISSING
from hsac.report.frozen import ALL, GROUPS, Regrets, interval_text, means_of, readings
from hsac.report.tables import write

NAME = "agreement_over_c"
KEY = ("quantity", "group")
# What ranks of curvatures are compared with: column of the landscape -> words.
TARGETS = {
    "test_error": "test error",
    "test_nll": "test NLL",
    "informed": "bound, prior from half",
}
QUANTITIES = {
    "train_loss": "training loss",
    "validation_nll": "validation loss",
    "certificate": "bound, start prior",
    "certificate_sharpness": "its sharpness term",
    "certificate_kl": "its divergence",
    "informed": "bound, prior from half",
    "informed_sharpness": "its sharpness term (prior from half)",
    "informed_kl": "its divergence (prior from half)",
}
HEADINGS = {
    "quantity": "Quantity",
    "group": "Problems",
    **{f"{name}_correlation": f"Rank correlation with {text}" for name, text in TARGETS.items()},
    **{f"{name}_decades": f"Decades to the minimiser of {text}" for name, text in TARGETS.items()},
    "problems": frozen.NUMBER_OF_PROBLEMS,
}
CAPTION = "Bounds, sharpness and test error over c: do they rank curvatures alike?"
NOTE = (
    "Spearman's rank correlation over the grid of c within a seed, mean over seeds and problems"
    " with a two-level 95 % interval cut at ±1. Where either is constant over c it counts as 0."
    " Decades: mean distance of the two minimisers in log10 c. The bounds are PAC-Bayes bounds of"
    " the 0-1 risk under Gaussian noise about the solved head. Their sharpness term is what the"
    " noise adds to the error, their divergence is from a prior: the weights that the descent"
    " starts from, or the head of half of the rows (the bound is then of the other half). Few-shot"
    " episodes have no bound."
)


def quantities(columns: Iterable[str]) -> list[str]:
    """Return the columns of a landscape whose ranks are compared.

    Args:
        columns: All columns.
    """
    present = list(columns)
    return [*readings(present), *(name for name in QUANTITIES if name in present)]


def by_seed(landscapes: pd.DataFrame) -> pd.DataFrame:
    """Compare each quantity with each target in every seed.

    Args:
        landscapes: The rows of all landscapes, with problem, setting and dim. Every seed of a
            problem and dimension has the same curvatures.

    Returns:
        One row a problem, seed and quantity, means over the problem's dimensions: problem, setting,
        seed, quantity, ``<target>_correlation`` (-1 to 1) and ``<target>_decades``. NaN where
        either is not known at some c.
    """
    names = quantities(landscapes.columns)
    tables = []
    for key, rows in landscapes.groupby(["problem", "setting", "dim"]):
        problem, setting = map(str, key[:2])
        ordered = rows.sort_values(["seed", "c"])
        seeds = ordered["seed"].unique()
        log_c = np.log10(ordered["c"].to_numpy()[: len(ordered) // len(seeds)])
        values = {
            name: ordered[name].to_numpy(dtype=float).reshape(len(seeds), -1)
            for name in {*names, *TARGETS} & set(ordered.columns)
        }
        for name in names:
            found = {"seed": seeds, "quantity": name}
            for target in TARGETS:
                if target in values:
                    one, other = values[name], values[target]
                    found[f"{target}_correlation"] = spearman(one, other)
                    found[f"{target}_decades"] = _apart(one, other, log_c)
            tables.append(pd.DataFrame(found).assign(problem=problem, setting=setting))
    long = pd.concat(tables, ignore_index=True)
    keys = ["problem", "setting", "seed", "quantity"]
    # The dimensions of a problem share its draws, so they are no replications.
    return long.groupby(keys, sort=False, as_index=False).mean()


def spearman(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Compute Spearman's rank correlation of rows.

    Args:
        one: Values (S, C).
        other: Values (S, C).

    Returns:
        Correlations (S,): 0 where a row is constant, NaN where a value is not finite.
    """
    known = np.isfinite(one).all(1) & np.isfinite(other).all(1)
    a, b = (rankdata(np.nan_to_num(x), axis=1) for x in (one, other))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    found = (a * b).sum(1) / np.where(length > 0, length, 1)
    return np.where(known, found, np.nan)


def _apart(one: np.ndarray, other: np.ndarray, log_c: np.ndarray) -> np.ndarray:
    """Return how far the minimisers of rows are apart, in decades (S,)."""
    known = np.isfinite(one).all(1) & np.isfinite(other).all(1)
    # Of equals the first, as in the table of regrets.
    apart = abs(log_c[one.argmin(1)] - log_c[other.argmin(1)])
    return np.where(known, apart, np.nan)


def table(found: Regrets) -> pd.DataFrame:
    """Compute the mean agreement of each quantity with each target, over all and by setting.

    Args:
        found: The landscapes.

    Returns:
        One row a quantity and group: quantity, group, for each target ``<target>_correlation`` with
        ``_low`` and ``_high``, ``<target>_decades``, and problems. A quantity that no problem of a
        group knows has no row there, and a target that is not known is NaN.
    """
    long = by_seed(found.landscapes)
    out = []
    for group in found.groups:
        rows = long if group == ALL else long[long["setting"] == group]
        for name in quantities(found.landscapes.columns):
            own = rows[rows["quantity"] == name].set_index(["problem", "seed"])
            means = means_of(own.drop(columns=["setting", "quantity"]))
            if not means["problems"].max():
                continue
            row: dict[str, Any] = {"quantity": name, "group": group}
            row |= {"problems": int(means["problems"].max())}
            for column, one in means.iterrows():
                row[str(column)] = one["mean"]
                if str(column).endswith("_correlation"):
                    row[f"{column}_low"] = max(one["low"], -1.0)
                    row[f"{column}_high"] = min(one["high"], 1.0)
            out.append(row)
    ends = ("", "_low", "_high")
    order = [f"{target}_correlation{end}" for target in TARGETS for end in ends]
    order += [f"{target}_decades" for target in TARGETS]
    return pd.DataFrame(out, columns=[*KEY, *order, "problems"])


def words(quantity: str) -> str:
    """Call a quantity by words.

    Args:
        quantity: Its column.
    """
    return QUANTITIES.get(quantity) or frozen.words(quantity)


def displayed(numbers: pd.DataFrame) -> pd.DataFrame:
    """Print the table.

    Args:
        numbers: As `table` computes it, or as its CSV file holds it.

    Returns:
        The text of each entry under headings.
    """
    shown: dict[str, Iterable[str]] = {}
    for name, heading in HEADINGS.items():
        if name.endswith("_correlation"):
            cells = numbers[[name, f"{name}_low", f"{name}_high"]].to_numpy(dtype=float)
            shown[heading] = [interval_text(mean, low, high, "+") for mean, low, high in cells]
        elif name.endswith("_decades"):
            shown[heading] = [MISSING if pd.isna(v) else f"{v:.2f}" for v in numbers[name]]
        else:
            how = {"quantity": words, "group": GROUPS.__getitem__}.get(name, str)
            shown[heading] = [how(value) for value in numbers[name]]
    return pd.DataFrame(shown)


def write_bound_table(results: Path, out_dir: Path) -> None:
    """Write ``agreement_over_c`` as .csv, .md and .tex.

    A study without frozen features has no such table.

    Args:
        results: The results folder. The landscapes lie in ``frozen/landscape``.
        out_dir: The folder to write into.

    Raises:
        InputError: A landscape is missing or cut short.
    """
    found = frozen.read(results)
    if found is not None:
        numbers = table(found)
        write(Path(out_dir), NAME, numbers, displayed(numbers), NOTE + size_note(found))


def size_note(found: Regrets) -> str:
    """Say how large the bounds are at their minimisers, empty without bounds.

    Args:
        found: The landscapes.
    """
    said = []
    for name in ("certificate", "informed"):
        rows = found.landscapes
        if name in rows and rows[name].notna().any():
            least = rows.groupby(["problem", "dim", "seed"])[name].min().dropna()
            low, middle, high = least.quantile([0.05, 0.5, 0.95])
            said.append(f"{QUANTITIES[name]}: {middle:.2f} ({low:.2f} to {high:.2f})")
    if not said:
        return ""
    return f" Least over c, median (5 to 95 % of the landscapes): {'; '.join(said)}."
