"""Means and paired comparisons over seeds. The replication unit is the seed; nothing is concluded from one of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.multitest import multipletests

SAME = 1e-12  # differences closer than this are equal: what rounding leaves of equal accuracies


@dataclass(frozen=True)
class Mean:
    """Mean of ``n`` values with its sd (ddof 1) and t interval; NaN where ``n`` is too small to define it."""

    n: int
    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """Paired difference: mean, t interval and two-sided p value; NaN under two pairs."""

    n: int
    difference: float
    sd: float
    low: float
    high: float
    p: float


def mean_interval(values: ArrayLike, level: float = 0.95) -> Mean:
    """Mean and t interval at ``level`` of the finite ``values`` (n,)."""
    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    n = len(x)
    mean = float(x.mean()) if n else np.nan
    if n < 2:
        return Mean(n, mean, np.nan, np.nan, np.nan)
    sd = float(x.std(ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * sd / np.sqrt(n)
    return Mean(n, mean, sd, mean - half, mean + half)


def paired_difference(better: pd.Series, than: pd.Series, level: float = 0.95) -> Paired:
    """Paired t test of ``better`` minus ``than``, two series indexed by seed; only seeds finite in both count.

    Equal in every pair gives p = 1. The same non-zero difference in every pair leaves t undefined; the exact sign-flip
    test then gives p = 2^(1 - n), its smallest value.
    """
    d = (better - than).dropna().to_numpy(dtype=float)
    m = mean_interval(d, level)
    if m.n < 2:
        return Paired(m.n, m.mean, np.nan, np.nan, np.nan, np.nan)
    if np.ptp(d) <= SAME:
        p = 1.0 if abs(m.mean) <= SAME else 2.0 ** (1 - m.n)
        return Paired(m.n, m.mean, 0.0, m.mean, m.mean, p)
    return Paired(m.n, m.mean, m.sd, m.low, m.high, float(stats.ttest_1samp(d, 0.0).pvalue))


def holm(p: ArrayLike) -> np.ndarray:
    """Holm-corrected p values (n,); NaN entries stay NaN and do not count as tests."""
    values = np.asarray(p, dtype=float)
    corrected = np.full_like(values, np.nan)
    known = np.isfinite(values)
    if known.any():
        corrected[known] = multipletests(values[known], method="holm")[1]
    return corrected


def by_seed(runs: pd.DataFrame, metric: str) -> pd.Series:
    """``metric`` of the finished (status ok) rows of one cell, indexed by seed."""
    finished = runs[runs["status"] == "ok"]
    return finished.set_index("seed")[metric].astype(float)


def summarise(
    runs: pd.DataFrame, metric: str = "selected_test_accuracy", *, reference: str | Mapping[str, str]
) -> pd.DataFrame:
    """One row an experiment and method: n ok, n, mean, sd, 95 % interval, paired difference to the reference, p, Holm.

    ``runs`` is the gathered table; ``reference`` a method, or one for each experiment. A run that is not ok counts in
    ``n`` only. Differences pair the seeds that are ok in both methods; Holm's family is the experiment (one table).
    Units are the metric's own. Columns: experiment, method, n_ok, n, mean, sd, low, high, pairs, difference,
    difference_low, difference_high, p, p_holm. Undefined entries are NaN.
    """
    tables = []
    for experiment, block in runs.groupby("experiment", sort=True):
        against = reference if isinstance(reference, str) else reference.get(str(experiment), "")
        base = by_seed(block[block["method"] == against], metric)
        rows = []
        for method, cell in block.groupby("method", sort=True):
            values = by_seed(cell, metric)
            m = mean_interval(values)
            d = Paired(0, *[np.nan] * 5) if method == against else paired_difference(values, base)
            rows.append(
                {"experiment": experiment, "method": method, "n_ok": len(values), "n": len(cell), "mean": m.mean}
                | {"sd": m.sd, "low": m.low, "high": m.high, "pairs": d.n, "difference": d.difference}
                | {"difference_low": d.low, "difference_high": d.high, "p": d.p}
            )
        table = pd.DataFrame(rows)
        table["p_holm"] = holm(table["p"])
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def more_seeds(sd: float, effect: float, n: int, alpha: float = 0.05, power: float = 0.8) -> int:
    """Seeds to add to ``n`` so that a paired difference of ``effect`` is found with ``power`` (normal approximation).

    ``n_needed = ((z_{1-alpha/2} + z_power) sd / effect)^2 + z_{1-alpha/2}^2 / 2``, whose last term is Guenther's (1981)
    allowance for the t test's unknown sd; at least 1, capped at 1000.
    """
    if sd == 0 or effect == 0:
        return 1 if sd == 0 else 1000
    z = float(stats.norm.ppf(1 - alpha / 2))
    needed = ((z + float(stats.norm.ppf(power))) * sd / abs(effect)) ** 2 + z**2 / 2
    return int(min(max(np.ceil(needed) - n, 1), 1000))
