"""Means and comparisons over seeds.

The replication unit is the seed, by type. One seed concludes nothing.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special, stats
from statsmodels.stats.multitest import multipletests

from hsac.errors import InputError

# Differences closer than this are equal: what rounding leaves of equal accuracies.
SAME = 1e-12
# The metric whose test items are stored, and that claims are about.
METRIC = "selected_test_accuracy"
# Pairs from which the sign-flip test's smallest p, 2^(1 - n), leaves room for Holm's correction.
PERMUTED_FROM = 12
# Pairs whose sign flips are all listed, and how many flips are drawn of more pairs.
EXACT_UP_TO, RESAMPLES = 14, 20_000
# Of the bootstrap: its 95 % limits then move by about 2 % of the width from stream to stream.
DRAWS = 2000


class Replicates:
    """The finished runs of one experiment and method, one value a seed.

    Every function here takes this type, and the only way to make one is a table of one row a run.
    So episodes or test items cannot pass for runs.

    Attributes:
        values: (S,) by seed, times ``scale``, finite ones only.
        items: (S, N) share that each seed got right of every test item or episode, times ``scale``.
            None unless the metric is the selected test accuracy and the table stores the answers
            (columns test_right, a JSON list a run, and test_answers).
    """

    __slots__ = ("experiment", "items", "method", "metric", "values")

    def __init__(
        self,
        table: pd.DataFrame,
        experiment: str,
        method: str,
        metric: str = METRIC,
        scale: float = 1.0,
    ) -> None:
        """Take the runs from a table.

        Args:
            table: The gathered runs, or what was measured of them, with the columns experiment,
                method, seed and ``metric``. Where it has ``status``, only rows that are ok count.
            experiment: Whose runs.
            method: Whose runs.
            metric: The column to take.
            scale: Factor of the values, 100 for points.

        Raises:
            InputError: A seed has two rows, or the metric is not one number a run.
        """
        rows = table[(table["experiment"] == experiment) & (table["method"] == method)]
        if rows["seed"].duplicated().any():
            seed = rows.loc[rows["seed"].duplicated(), "seed"].iloc[0]
            count = int((rows["seed"] == seed).sum())
            raise InputError(
                f"{experiment} {method}: {count} rows of seed {seed}; allowed is one row a run"
            )
        rows = rows[rows["status"] == "ok"] if "status" in rows else rows
        try:
            values = rows.set_index("seed")[metric].astype(float)
        except (TypeError, ValueError):
            raise InputError(f"{experiment} {method}: {metric} is not one number a run") from None
        finite = np.isfinite(values.to_numpy())
        self.experiment, self.method, self.metric = experiment, method, metric
        self.values = scale * values[finite]
        self.items = _items(rows[finite], scale) if metric == METRIC else None


def _items(rows: pd.DataFrame, scale: float) -> np.ndarray | None:
    # With some seeds' items the bootstrap would be of other runs than the mean.
    if "test_right" not in rows or rows["test_right"].isna().any():
        return None
    right = [json.loads(text) for text in rows["test_right"]]
    # Other numbers of items are other test sets.
    if len({len(answers) for answers in right}) != 1:
        return None
    return scale * np.array(right) / rows["test_answers"].to_numpy(dtype=float)[:, None]


@dataclass(frozen=True)
class Mean:
    """A mean over seeds; what too few values leave undefined is NaN.

    Attributes:
        n: Number of values.
        mean: Their mean.
        sd: Their standard deviation (ddof 1).
        low: Lower end of the t interval.
        high: Upper end of the t interval.
    """

    n: int
    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """A paired difference; NaN under two pairs.

    Attributes:
        n: Number of pairs.
        difference: Mean difference.
        sd: Standard deviation of the differences (ddof 1).
        low: Lower end of the t interval.
        high: Upper end of the t interval.
        p: Two-sided p value.
        test: The test that it is of, `t` or `permutation`; empty under two pairs.
    """

    n: int
    difference: float
    sd: float
    low: float
    high: float
    p: float
    test: str = ""


@dataclass(frozen=True)
class Interval:
    """An estimate and its interval; NaN where undefined."""

    estimate: float
    low: float
    high: float


UNDEFINED = Interval(np.nan, np.nan, np.nan)
UNPAIRED = Paired(0, np.nan, np.nan, np.nan, np.nan, np.nan)


def _checked(replicates: Replicates) -> Replicates:
    # Checked at run time: an array of test items would work, too, and prove too much.
    if not isinstance(replicates, Replicates):
        raise TypeError(
            f"found {type(replicates).__name__}, allowed is Replicates: values of runs, one a seed"
        )
    return replicates


def _differences(better: Replicates, than: Replicates) -> tuple[np.ndarray, np.ndarray | None]:
    """Return differences at the S seeds of both: values (S,), and items (S, N) where both have."""
    a, b = _checked(better), _checked(than)
    # Sorted, as the bootstrap's draws are fixed and would meet other seeds in another order.
    seeds = a.values.index.intersection(b.values.index).sort_values()
    d = (a.values.loc[seeds] - b.values.loc[seeds]).to_numpy()
    if a.items is None or b.items is None or a.items.shape[1] != b.items.shape[1]:
        return d, None
    at, bt = (r.values.index.get_indexer(seeds) for r in (a, b))
    return d, a.items[at] - b.items[bt]


def _mean(x: np.ndarray, level: float) -> Mean:
    n = len(x)
    mean = float(x.mean()) if n else np.nan
    if n < 2:
        return Mean(n, mean, np.nan, np.nan, np.nan)
    sd = float(x.std(ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * sd / n**0.5
    return Mean(n, mean, sd, mean - half, mean + half)


def mean_interval(replicates: Replicates, level: float = 0.95) -> Mean:
    """Compute the mean over seeds and its t interval.

    Args:
        replicates: The runs.
        level: Of the interval.

    Returns:
        The mean.
    """
    return _mean(_checked(replicates).values.to_numpy(), level)


def iqm(replicates: Replicates) -> float:
    """Compute the interquartile mean over seeds (Agarwal et al., NeurIPS 2021).

    It leaves out the lowest and the highest quarter, each rounded down to whole seeds. There is no
    interval beside it: a bootstrap's is too wide for ten seeds (97.7 % in place of 95 %).

    Args:
        replicates: The runs.

    Returns:
        The mean, NaN without runs.
    """
    x = _checked(replicates).values.to_numpy()
    return float(stats.trim_mean(x, 0.25)) if len(x) else np.nan


def permutation_p(differences: np.ndarray) -> float:
    """Test by sign flips that the mean of paired differences is 0.

    Args:
        differences: (n,) one a pair.

    Returns:
        The two-sided p value. It is exact up to EXACT_UP_TO pairs, of RESAMPLES flips of one fixed
        stream beyond, and NaN under two pairs.
    """
    if len(differences) < 2:
        return np.nan
    # At infinity SciPy lists all flips.
    flips = np.inf if len(differences) <= EXACT_UP_TO else RESAMPLES
    found = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=flips,
        # One fixed stream: tables are the same on every computation.
        rng=0,
    )
    return float(found.pvalue)


def paired_difference(
    better: Replicates, than: Replicates, level: float = 0.95, against: float = 0.0
) -> Paired:
    """Compute and test the difference of two methods over the seeds finished in both.

    The number of pairs alone decides the test: the paired t test under PERMUTED_FROM pairs, where a
    sign-flip test could not reach a corrected level, and the sign-flip permutation test from there
    on.

    Args:
        better: The method whose values count as positive.
        than: The method to subtract.
        level: Of the interval.
        against: The difference to test against.

    Returns:
        The difference. p is 1 where every pair differs by ``against``.
    """
    d = _differences(better, than)[0]
    m = _mean(d, level)
    if m.n < 2:
        return Paired(m.n, m.mean, np.nan, np.nan, np.nan, np.nan)
    if np.ptp(d) <= SAME:
        # The same difference in every pair leaves t undefined. The exact sign-flip test then gives
        # its smallest value.
        p = 1.0 if abs(m.mean - against) <= SAME else 2.0 ** (1 - m.n)
        return Paired(m.n, m.mean, 0.0, m.mean, m.mean, p, "permutation")
    if m.n < PERMUTED_FROM:
        p = float(stats.ttest_1samp(d, against).pvalue)
        return Paired(m.n, m.mean, m.sd, m.low, m.high, p, "t")
    return Paired(m.n, m.mean, m.sd, m.low, m.high, permutation_p(d - against), "permutation")


def probability_of_improvement(better: Replicates, than: Replicates) -> float:
    """Compute the chance that a run of one method beats one of another, ties counting half.

    Args:
        better: The method that is to win.
        than: The method that is to lose.

    Returns:
        The share over the shared seeds where there are two or more (paired), else over all pairs of
        runs (unpaired, Mann-Whitney's U / nm). NaN without runs.
    """
    d = _differences(better, than)[0]
    if len(d) < 2:
        d = np.subtract.outer(better.values.to_numpy(), than.values.to_numpy()).ravel()
    return float((d > SAME).mean() + (abs(d) <= SAME).mean() / 2) if len(d) else np.nan


def effect_size(better: Replicates, than: Replicates, level: float = 0.95) -> Interval:
    """Compute Hedges' g of the paired differences: mean over sd, times the small-sample factor.

    Args:
        better: The method whose values count as positive.
        than: The method to subtract.
        level: Of the interval, which inverts the noncentral t distribution (Cumming and Finch 2001,
            exact for normal differences).

    Returns:
        The effect, undefined under two pairs or when all differences are the same.
    """
    d = _differences(better, than)[0]
    n = len(d)
    if n < 2 or np.ptp(d) <= SAME:
        return UNDEFINED
    df, root = n - 1, np.sqrt(n)
    t = root * d.mean() / d.std(ddof=1)
    # gamma(df/2) / (sqrt(df/2) gamma((df-1)/2)); the mean of d over sd does not exist for two pairs
    factor = stats.chi.mean(df - 1) / np.sqrt(df) if df > 1 else np.nan
    # The noncentrality is the effect times √n.
    low, high = (
        float(special.nctdtrinc(df, tail, t) / root) for tail in ((1 + level) / 2, (1 - level) / 2)
    )
    return Interval(float(factor * t / root), low, high)


@lru_cache(maxsize=4)
def _item_counts(n: int) -> np.ndarray:
    """Count how often each of n items is drawn in n draws: (DRAWS, n), the same for every cell."""
    # Another stream than the seeds', which are drawn independently of the items.
    rng = np.random.default_rng(1)
    counts = [np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(DRAWS)]
    # Half the memory of float64, and exact for counts.
    return np.stack(counts).astype(np.float32)


def hierarchical_interval(
    better: Replicates, than: Replicates | None = None, level: float = 0.95
) -> Interval:
    """Compute the interval that new seeds and new test items (or episodes) would give.

    A hierarchical bootstrap. Each of DRAWS draws takes S seeds with replacement, then N test items.
    All seeds answer the same test set, so the items drawn are the same for every seed (crossed
    levels, Owen 2007). Drawing them anew in every seed would average the test set's own chance
    away. Where a table stores no items, only seeds are drawn.

    A bootstrap of few seeds is too narrow, and one of two levels counts their interaction twice. So
    deviations from the estimate are stretched by t(df) sqrt(V) / (z sqrt(V*)). V is the unbiased
    variance of the mean in a two-way layout, df its Satterthwaite degrees of freedom, and V* the
    variance of the bootstrap's mean.

    Args:
        better: The runs whose mean is estimated.
        than: Where given, the mean is of the paired difference to it.
        level: Of the interval.

    Returns:
        The mean over seeds and its interval, undefined under two seeds.
    """
    if than is None:
        values, items = _checked(better).values.to_numpy(), better.items
    else:
        values, items = _differences(better, than)
    if len(values) < 2:
        return UNDEFINED
    estimate, stretch = float(values.mean()), _stretch(values, items, level)
    seeds = np.random.default_rng(0).integers(len(values), size=(DRAWS, len(values)))
    if items is None:
        drawn = values[seeds]
    else:
        # (DRAWS, S): the mean of each seed over the items of each draw.
        by_seed = _item_counts(items.shape[1]) @ items.T / items.shape[1]
        drawn = np.take_along_axis(by_seed, seeds, axis=1)
    low, high = np.quantile(drawn.mean(1), [(1 - level) / 2, (1 + level) / 2])
    below, above = stretch * float(low - estimate), stretch * float(high - estimate)
    return Interval(estimate, estimate + below, estimate + above)


def _stretch(values: np.ndarray, items: np.ndarray | None, level: float) -> float:
    """Compute t(df) sqrt(V) / (z sqrt(V*)) of `hierarchical_interval`; 1 when nothing varies."""
    s = len(values)
    # Without items n only keeps their terms, which are 0, from dividing by 0.
    seed, item, cell, n = values.var(ddof=1) / s, 0.0, 0.0, 2
    if items is not None and items.shape[1] > 1:
        n = items.shape[1]
        columns = items.mean(0)
        rest = items - values[:, None] - columns + values.mean()
        item, cell = columns.var(ddof=1) / n, (rest**2).sum() / ((s - 1) * (n - 1) * s * n)
    # The items' own part: the variance of their means holds the interaction too.
    own = max(item - cell, 0.0)
    unbiased = seed + own
    # S draws of S seeds have (S - 1) / S of the unbiased variance, and so for the items.
    resampled = seed * (s - 1) / s + item * (n - 1) / n + cell * (s - 1) * (n - 1) / (s * n)
    if resampled <= SAME**2:
        return 1.0
    df = unbiased**2 / (seed**2 / (s - 1) + own**2 / (n - 1)) if unbiased else s - 1
    tail = (1 + level) / 2
    return float(stats.t.ppf(tail, df) / stats.norm.ppf(tail) * np.sqrt(unbiased / resampled))


@dataclass(frozen=True)
class NestedMeans:
    """Means over groups of values, each group counting alike.

    Attributes:
        groups: (G, K) mean of each group, in the order of their numbers.
        mean: (K,) mean over the groups.
        low: (K,) lower end of the two-level interval, NaN where a single value is all there is.
        high: (K,) upper end.
    """

    groups: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def nested_means(values: np.ndarray, group: np.ndarray, level: float = 0.95) -> NestedMeans:
    """Compute means and the intervals that new groups with new members would give.

    A bootstrap of two nested levels: each of DRAWS draws takes G groups with replacement, and in
    each as many of its members, anew every time. As in `hierarchical_interval`, deviations from the
    estimate are stretched by t(df) sqrt(V) / (z sqrt(V*)), since a bootstrap of few groups is too
    narrow. V is the variance of the group means over G, with G - 1 degrees of freedom. It holds the
    members' chance already. V* is the variance of the bootstrap's mean. With one group only its
    members are drawn, so the interval is about that group.

    Args:
        values: (N, K) K quantities of each member.
        group: (N,) the number of each member's group.
        level: Of the intervals.

    Returns:
        The means. The stream is fixed and the same for all K.
    """
    _, place, size = np.unique(group, return_inverse=True, return_counts=True)
    count, order = len(size), np.argsort(place, kind="stable")
    # Members of a group side by side, as the weights have them.
    values, place = values[order], place[order]
    # (G, N): averages over each group.
    average = (place == np.arange(count)[:, None]) / size[:, None]
    means = average @ values
    mean = means.mean(0)
    # Of the mean of a group, as its members' spread has it.
    within = (average @ (values - means[place]) ** 2) / np.maximum(size - 1, 1)[:, None]
    if count > 1:
        unbiased, df = means.var(0, ddof=1) / count, count - 1
        between = unbiased * (count - 1) / count
    else:
        unbiased, df, between = within[0], size[0] - 1, np.zeros_like(mean)
    if df == 0:
        nothing = np.full_like(mean, np.nan)
        return NestedMeans(means, mean, nothing, nothing)
    # S draws of S members have (S - 1) / S of the unbiased variance.
    resampled = between + ((size - 1) / size) @ within / count**2
    varies, tail = resampled > SAME**2, (1 + level) / 2
    stretch = np.sqrt(unbiased / np.where(varies, resampled, 1.0))
    stretch *= stats.t.ppf(tail, df) / stats.norm.ppf(tail)
    spread = _nested_weights(tuple(map(int, size))) @ values - mean
    low, high = np.where(varies, stretch, 1.0) * np.quantile(spread, [1 - tail, tail], axis=0)
    return NestedMeans(means, mean, mean + low, mean + high)


@lru_cache(maxsize=2)
def _nested_weights(size: tuple[int, ...]) -> np.ndarray:
    """Return the weight of each member in each draw: (DRAWS, N), rows of sum 1."""
    rng, count = np.random.default_rng(0), len(size)
    times = rng.multinomial(count, np.full(count, 1 / count), size=DRAWS)
    weights = []
    for number, members in enumerate(size):
        # A group that is drawn n times draws its members n times over, in one go.
        drawn = rng.multinomial(times[:, number] * members, np.full(members, 1 / members))
        weights.append(drawn / (members * count))
    return np.concatenate(weights, axis=1)


def t_p(values: np.ndarray, against: float = 0.0) -> np.ndarray:
    """Test by t that the means of columns have a value.

    Args:
        values: (n, K) n independent values of K quantities.
        against: The mean to test against.

    Returns:
        (K,) two-sided p values, NaN under two values. A column whose values are all the same has
        p 1 where that is ``against``, else the sign-flip test's smallest, ``2^(1 - n)``.
    """
    n = len(values)
    if n < 2:
        return np.full(values.shape[1], np.nan)
    same = np.ptp(values, axis=0) <= SAME
    margin = values.mean(0) - against
    error = np.where(same, 1.0, values.std(0, ddof=1)) / n**0.5
    p = 2 * stats.t.sf(abs(margin) / error, n - 1)
    found: np.ndarray = np.where(same, np.where(abs(margin) <= SAME, 1.0, 2.0 ** (1 - n)), p)
    return found


def decision(
    difference: float, minimum: float, p: tuple[float, float], alpha: float
) -> Literal["supported", "contradicted", ""]:
    """Decide on a claim that a mean difference reaches a minimum, from two tests.

    Each test is two-sided, so the sign of the mean says to which side it differs. With a negative
    minimum (non-inferiority) the second test alone decides.

    Args:
        difference: The mean difference.
        minimum: The least difference claimed.
        p: Corrected p values against 0, and against the minimum.
        alpha: Level of both tests.

    Returns:
        The verdict, empty where the tests decide neither way.
    """
    against_zero, against_minimum = p
    margin = difference - minimum
    above = against_minimum < alpha if minimum < 0 else difference > 0 and against_zero < alpha
    # The mean must reach the minimum effect. It need not exceed it significantly.
    # A mean that falls short by what rounding leaves has reached it.
    if above and margin >= -SAME:
        return "supported"
    if against_minimum < alpha and margin < -SAME:
        return "contradicted"
    return ""


def holm(p: ArrayLike) -> np.ndarray:
    """Correct p values by Holm's method.

    Args:
        p: (n,) values. NaN entries do not count as tests.

    Returns:
        (n,) corrected values, NaN where they were.
    """
    values = np.asarray(p, dtype=float)
    corrected = np.full_like(values, np.nan)
    known = np.isfinite(values)
    if known.any():
        corrected[known] = multipletests(values[known], method="holm")[1]
    return corrected


def summarise(
    runs: pd.DataFrame, metric: str = METRIC, *, reference: str | Mapping[str, str]
) -> pd.DataFrame:
    """Summarise every method of every experiment over seeds and against the reference.

    Differences pair the seeds that are ok in both methods. Holm's family is the experiment (one
    table). Units are the metric's own.

    Args:
        runs: The gathered table. A run that is not ok counts in ``n`` only.
        metric: The column to summarise.
        reference: A method, or one for each experiment.

    Returns:
        One row an experiment and method. Columns: experiment, method, n_ok, n, mean, sd, low, high
        (t interval), iqm, hierarchical_low and _high; pairs, pairs_lost (to runs that are not ok,
        NaN where none was), difference, difference_low, _high,
        difference_hierarchical_low and _high, improvement (probability of), effect (Hedges' g),
        effect_low and _high, test, p, p_permutation, p_holm, and more_seeds: how many to add where
        p_holm is 0.05 or more. Undefined entries are NaN.
    """
    tables = []
    for experiment, block in runs.groupby("experiment", sort=True):
        against = reference if isinstance(reference, str) else reference.get(str(experiment), "")
        base = Replicates(block, str(experiment), against, metric)
        nothing = Replicates(block.iloc[:0], "", "", metric)
        rows = []
        for method, cell in block.groupby("method", sort=True):
            values = Replicates(cell, str(experiment), str(method), metric)
            # The reference is compared with nothing, so its entries are undefined.
            compared = _against(values, base if method != against else nothing)
            compared["pairs_lost"] = np.nan
            if len(base.values) and method != against:
                # Of all the seeds of both, those without a difference.
                seeds = block.loc[block["method"].isin([method, against]), "seed"].nunique()
                compared["pairs_lost"] = (seeds - int(compared["pairs"])) or np.nan
            rows.append(_summary(values, cell) | compared)
        table = pd.DataFrame(rows)
        table["p_holm"] = holm(table["p"])
        table["more_seeds"] = _seeds_to_add(table)
        tables.append(table.drop(columns="difference_sd"))
    return pd.concat(tables, ignore_index=True)


def _summary(values: Replicates, rows: pd.DataFrame) -> dict[str, float | str]:
    m, two = mean_interval(values), hierarchical_interval(values)
    return {
        "experiment": values.experiment,
        "method": values.method,
        "n_ok": int((rows["status"] == "ok").sum()),
        "n": len(rows),
        "mean": m.mean,
        "sd": m.sd,
        "low": m.low,
        "high": m.high,
        "iqm": iqm(values),
        "hierarchical_low": two.low,
        "hierarchical_high": two.high,
    }


def _seeds_to_add(table: pd.DataFrame) -> list[float]:
    """Return the seeds to add in each row of an experiment; NaN where the p value is low enough."""
    family = int(table["p"].notna().sum())
    columns = table[["difference_sd", "difference", "pairs", "p_holm"]].to_numpy(float)
    found: list[float] = []
    for sd, difference, pairs, p in columns:
        decided = not p >= 0.05  # NaN, too
        more = np.nan if decided else more_seeds(sd, difference, int(pairs), 0.05 / family)
        found.append(more)
    return found


def _against(values: Replicates, base: Replicates) -> dict[str, float | str]:
    d, g = paired_difference(values, base), effect_size(values, base)
    two = hierarchical_interval(values, base)
    return {
        "pairs": d.n,
        "difference": d.difference,
        "difference_sd": d.sd,
        "difference_low": d.low,
        "difference_high": d.high,
        "difference_hierarchical_low": two.low,
        "difference_hierarchical_high": two.high,
        "improvement": probability_of_improvement(values, base),
        "effect": g.estimate,
        "effect_low": g.low,
        "effect_high": g.high,
        "test": d.test,
        "p": d.p,
        "p_permutation": permutation_p(_differences(values, base)[0]),
    }


def more_seeds(
    sd: float,
    effect: float,
    n: int,
    alpha: float = 0.05,
    power: float = 0.8,
    margin: float | None = None,
) -> int:
    """Compute how many seeds to add so that a paired difference is found (normal approximation).

    ``n_needed = ((z_{1-alpha/2} + z_power) sd / effect)^2 + z_{1-alpha/2}^2 / 2``, whose last term
    is Guenther's (1981) allowance for the t test's unknown sd. Where every pair differs by the
    same, the sign-flip test decides, whose smallest p of n pairs is ``2^(1 - n)``.

    Args:
        sd: Of the paired differences.
        effect: The mean difference to find.
        n: Pairs there are.
        alpha: Level of the two-sided test.
        power: Probability of finding it.
        margin: Where given, the mean must also reach a bound that lies so far below ``effect``. The
            first term is then at least ``(z_power sd / margin)^2``.

    Returns:
        Seeds to add, from 1 to 1000. A mean of 0 takes 1000, which stands for any number.
    """
    if abs(effect) <= SAME:
        # A mean of 0 is never found.
        return 1000
    if sd == 0:
        # Without spread the test is that of `paired_difference`, whose p is 2^(1 - n).
        return int(min(max(math.floor(2 - math.log2(alpha)) - n, 1), 1000))
    z, z_power = float(stats.norm.ppf(1 - alpha / 2)), float(stats.norm.ppf(power))
    known = ((z + z_power) * sd / abs(effect)) ** 2
    if margin is not None:
        known = max(known, (z_power * sd / margin) ** 2 if margin > 0 else np.inf)
    needed = known + z**2 / 2
    # Infinity has no integer.
    return int(min(max(np.ceil(min(needed, 1e9)) - n, 1), 1000))
