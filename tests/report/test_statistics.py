"""Intervals, paired differences and Holm's correction against hand and library values."""

import json
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy import special, stats
from statsmodels.stats.power import TTestPower

from hsac.errors import InputError
from hsac.report.statistics import (
    EXACT_UP_TO,
    PERMUTED_FROM,
    Replicates,
    decision,
    effect_size,
    hierarchical_interval,
    holm,
    iqm,
    mean_interval,
    more_seeds,
    nested_means,
    paired_difference,
    permutation_p,
    probability_of_improvement,
    summarise,
    t_p,
)

METRIC = "selected_test_accuracy"


def runs_of(values: dict[str, list[float | None]]) -> pd.DataFrame:
    """A gathered table of these scores by method, seeds 0, 1, …; None is a run that diverged."""
    rows = []
    for method, series in values.items():
        for seed, value in enumerate(series):
            status = "diverged" if value is None else "ok"
            row = {"experiment": "e", "method": method, "seed": seed, "status": status}
            rows.append(row | {"score": value})
    return pd.DataFrame(rows)


def replicates(
    values: ArrayLike, seeds: Sequence[int] | None = None, items: np.ndarray | None = None
) -> Replicates:
    """Runs of one cell with these values, by seeds 0, 1, … unless given.

    The values are means of ``items`` (S, N), where given.
    """
    table = pd.DataFrame({"seed": range(len(values)) if seeds is None else seeds, METRIC: values})
    if items is not None:
        table = table.assign(test_right=[json.dumps(row.tolist()) for row in items], test_answers=1)
    return Replicates(table.assign(experiment="e", method="m", status="ok"), "e", "m")


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_t_interval_by_hand():
    # 1, 2, 3, 4, 5: mean 3, sd sqrt(2.5), t(.975, 4) = 2.7764,
    # half width 2.7764 * sqrt(.5) = 1.9632
    m = mean_interval(replicates([1, 2, 3, 4, 5]))
    assert (m.n, m.mean) == (5, 3.0)
    assert m.sd == pytest.approx(2.5**0.5)
    assert (m.low, m.high) == pytest.approx((3 - 1.96324, 3 + 1.96324), abs=1e-5)


def test_holm_leaves_undefined_entries_out():
    expected = [0.03, np.nan, 0.06, 0.06]  # by hand
    assert holm([0.01, np.nan, 0.04, 0.03]) == pytest.approx(expected, nan_ok=True)
    assert np.isnan(holm([np.nan])).all()


def test_paired_difference_agrees_with_scipy():
    """The differences are of the seeds that both have, whatever their order."""
    a, b = [0.85, 0.8, 0.7, 0.9], [0.7, 0.75, 0.8, 0.78]
    shuffled = replicates([0.9, 0.8, 0.85, 0.7], [3, 1, 0, 2])
    d = paired_difference(shuffled, replicates([*b, 0.1], [0, 1, 2, 3, 9]))
    assert (d.n, d.test) == (4, "t")
    assert d.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert d.difference == pytest.approx(np.mean(a) - np.mean(b))
    shifted = paired_difference(replicates(a), replicates(b), against=0.1)
    assert shifted.p == pytest.approx(stats.ttest_1samp(np.subtract(a, b), 0.1).pvalue)


def test_constant_differences_have_exact_p():
    """Equal pairs give p = 1, and pairs that all differ alike the sign flips' smallest p."""
    a = replicates([0.1, 0.5, 0.9])
    assert paired_difference(a, a).p == 1.0
    d = paired_difference(replicates([0.2, 0.6, 1.0]), a)
    assert paired_difference(replicates([0.2, 0.6, 1.0]), a, against=0.1).p == 1.0
    assert d.p == 0.25
    assert (d.low, d.high) == pytest.approx((0.1, 0.1))


def test_one_seed_gives_only_a_mean():
    table = summarise(runs_of({"a": [0.5], "b": [0.6]}), "score", reference="a")
    row = table.set_index("method").loc["b"]
    assert row["mean"] == 0.6
    assert row["difference"] == pytest.approx(0.1)
    undefined = ["sd", "low", "high", "difference_low", "difference_high", "p", "p_holm"]
    assert row[undefined].isna().all()


def test_failed_runs_drop_their_pairs():
    """A run that failed counts in n only."""
    runs = runs_of({"a": [0.5, 0.6, 0.7], "b": [0.6, None, 0.9]})
    table = summarise(runs, "score", reference="a")
    row = table.set_index("method").loc["b"]
    assert (row["n_ok"], row["n"], row["pairs"]) == (2, 3, 2)
    assert row["mean"] == pytest.approx(0.75)
    assert row["difference"] == pytest.approx(0.15)


def test_failed_method_and_missing_reference():
    runs = runs_of({"a": [0.5, 0.6], "b": [None, None]})
    table = summarise(runs, "score", reference="c").set_index("method")
    assert np.isnan(table.loc["b", "mean"])
    assert table["p"].isna().all()


def test_holm_family_is_the_experiment():
    rng = np.random.default_rng(0)
    block = runs_of({m: list(rng.normal(size=6)) for m in "abc"})
    both = pd.concat([block, block.assign(experiment="f")])
    alone = summarise(block, "score", reference="a")["p_holm"].to_numpy()
    found = summarise(both, "score", reference={"e": "a", "f": "a"})["p_holm"].to_numpy()
    assert found == pytest.approx(np.tile(alone, 2), nan_ok=True)


def test_more_seeds_by_hand():
    # ((1.960 + .8416) * 1 / .5)^2 + 1.960^2 / 2 = 33.3
    assert more_seeds(sd=1.0, effect=0.5, n=5) == 29
    assert more_seeds(sd=1.0, effect=1e-9, n=5) == 1000
    # Exact ties: no number of them differs from 0.
    assert more_seeds(sd=0.0, effect=0.0, n=5) == 1000
    # Without spread p is 2^(1 - n): 6 pairs at 0.05, 8 at 0.01, 11 at 0.05 over 40 tests.
    assert more_seeds(sd=0.0, effect=1.0, n=5) == 1
    assert more_seeds(sd=0.0, effect=1.0, n=5, alpha=0.01) == 3
    assert more_seeds(sd=0.0, effect=1.0, n=5, alpha=0.05 / 40) == 6
    # to reach a bound 0.1 below, too: (.8416 / .1)^2 + 1.960^2 / 2 = 72.7
    assert more_seeds(sd=1.0, effect=0.5, n=5, margin=0.1) == 68
    assert more_seeds(sd=1.0, effect=0.5, n=5, margin=0.0) == 1000


@pytest.mark.parametrize(
    ("effect", "alpha"), [(0.5, 0.05), (1.0, 0.05), (1.0, 0.0025), (1.5, 0.01)]
)
def test_more_seeds_agrees_with_exact_power(effect, alpha):
    exact = TTestPower().solve_power(effect, alpha=alpha, power=0.8)
    assert more_seeds(sd=1.0, effect=effect, n=0, alpha=alpha) == pytest.approx(exact, abs=2)


def test_rows_of_episodes_are_no_replicates():
    episodes = pd.DataFrame({"experiment": "e", "method": "m", "seed": 0, METRIC: [0.2, 0.4, 0.6]})
    with pytest.raises(InputError, match="3 rows of seed 0; allowed is one row a run"):
        Replicates(episodes, "e", "m")


def test_list_of_items_is_no_metric():
    cell = {"experiment": "e", "method": "m", "seed": [0, 1]}
    table = pd.DataFrame(cell | {"test_right": ["[1, 0]", "[1, 1]"]})
    with pytest.raises(InputError, match="test_right is not one number a run"):
        Replicates(table, "e", "m", "test_right")


@pytest.mark.parametrize("function", [mean_interval, iqm, hierarchical_interval])
@pytest.mark.parametrize("values", [[0.1, 0.2], np.array([0.1, 0.2]), pd.Series([0.1, 0.2])])
def test_plain_numbers_are_refused(function, values):
    with pytest.raises(TypeError, match="allowed is Replicates"):
        function(values)
    with pytest.raises(TypeError, match="allowed is Replicates"):
        paired_difference(replicates([0.1, 0.2]), values)


def test_only_finished_finite_runs_count():
    table = pd.DataFrame(
        [
            ("e", "m", 0, "ok", 0.5),
            ("e", "m", 1, "diverged", 0.1),
            ("e", "m", 2, "ok", np.nan),
            ("e", "x", 3, "ok", 0.9),
        ],
        columns=["experiment", "method", "seed", "status", METRIC],
    )
    assert Replicates(table, "e", "m", scale=100).values.to_dict() == {0: 50.0}


def test_items_need_all_runs_and_metric():
    """Items are there only where every run has them, and for the metric that they are of."""
    right = np.array([[1, 0, 1], [0, 0, 1]])
    assert replicates(right.mean(1), items=right).items == pytest.approx(right)
    cell = {"experiment": "e", "method": "m", "seed": [0, 1]}
    table = pd.DataFrame(cell | {METRIC: [0.5, 0.5], "test_answers": 2})
    assert Replicates(table.assign(test_right=["[2, 0]", None]), "e", "m").items is None
    whole = table.assign(test_right=["[2, 0]", "[1, 1]"], other=0.5)
    found = Replicates(whole, "e", "m", scale=100).items
    assert found == pytest.approx(np.array([[100, 0], [50, 50]]))
    assert Replicates(whole, "e", "m", "other").items is None


def test_iqm_by_hand():
    assert iqm(replicates([0, 1, 2, 3, 100])) == 2  # one of each end goes
    # a quarter of three is less than one
    assert iqm(replicates([0, 1, 100])) == pytest.approx(101 / 3)
    assert np.isnan(iqm(replicates([])))


def test_sign_flips_by_hand():
    # 16 sign patterns of 1, 2, 3, 4: sums of at least 8 in size are ±10, ±8; two-sided 4/16
    assert permutation_p(np.array([-1.0, 2, 3, 4])) == pytest.approx(0.25)
    assert np.isnan(permutation_p(np.array([1.0])))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, EXACT_UP_TO))
def test_sign_flips_favour_no_direction(seed, n):
    """Opposite differences have the same p, and it is no smaller than 2^(1 - n)."""
    d = np.random.default_rng(seed).normal(0.5, 1, n)
    p = permutation_p(d)
    assert p == pytest.approx(permutation_p(-d))
    assert 2.0 ** (1 - n) - 1e-12 <= p <= 1


def test_number_of_pairs_decides_test():
    d = np.random.default_rng(0).normal(0.5, 1, PERMUTED_FROM)
    few, many = (paired_difference(replicates(x), replicates(0 * x)) for x in (d[:-1], d))
    assert (few.test, many.test) == ("t", "permutation")
    assert many.p == pytest.approx(permutation_p(d))
    assert many.p == pytest.approx(stats.ttest_1samp(d, 0).pvalue, abs=0.02)


def test_improvement_is_paired_or_unpaired():
    a, b = replicates([3, 1, 2, 5]), replicates([2, 1, 3, 1])
    assert probability_of_improvement(a, b) == (2 + 0.5) / 4
    apart = replicates([2, 1, 3, 1], seeds=[10, 11, 12, 13])
    u = stats.mannwhitneyu([3, 1, 2, 5], [2, 1, 3, 1]).statistic
    assert probability_of_improvement(a, apart) == pytest.approx(u / 16)
    assert np.isnan(probability_of_improvement(a, replicates([])))


def test_effect_size_by_hand():
    """The limits are those effects that give the observed t with the tail probabilities."""
    d = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    g = effect_size(replicates(d), replicates(0 * d))
    raw = 3 / np.sqrt(2.5)
    assert g.estimate == pytest.approx(raw * special.gamma(2) / (np.sqrt(2) * special.gamma(1.5)))
    tails = [stats.nct.cdf(raw * 5**0.5, 4, limit * 5**0.5) for limit in (g.low, g.high)]
    assert tails == pytest.approx([0.975, 0.025], abs=1e-5)
    assert np.isnan(effect_size(replicates([1.0, 1.0]), replicates([0.0, 0.0])).low)


def test_hierarchical_interval_resembles_t_interval():
    """Where there are no items, the interval is about the t interval."""
    r = replicates(np.random.default_rng(0).normal(size=10))
    two, m = hierarchical_interval(r), mean_interval(r)
    assert two.estimate == m.mean
    assert two.high - two.low == pytest.approx(m.high - m.low, rel=0.1)


def test_hierarchical_interval_sees_shared_items():
    # seeds agree on every item
    right = np.repeat(np.random.default_rng(0).integers(0, 2, (1, 200)), 5, axis=0)
    share = right[0].mean()
    runs = replicates(right.mean(1), items=right)
    two = hierarchical_interval(runs)
    half = 1.96 * np.sqrt(share * (1 - share) / 200)
    assert (two.high - two.low) / 2 == pytest.approx(half, rel=0.1)
    same = hierarchical_interval(runs, replicates(right.mean(1), items=right))
    assert (same.low, same.high) == (0, 0)


def test_one_seed_with_items_concludes_nothing():
    one = replicates([0.5], items=np.array([[0, 1] * 300]))
    for interval in (hierarchical_interval(one), effect_size(one, one), mean_interval(one)):
        assert np.isnan([interval.low, interval.high]).all()
    assert np.isnan(paired_difference(one, one).p)


def layout_of(
    rng: np.random.Generator, seeds: int, items: int, sd: tuple[float, float, float]
) -> np.ndarray:
    """Normal seeds × items of mean 0 with sd of seeds, of items and of what is left."""
    return (
        rng.normal(0, sd[0], (seeds, 1))
        + rng.normal(0, sd[1], (1, items))
        + rng.normal(0, sd[2], (seeds, items))
    )


def covered(interval) -> bool:
    return interval.low <= 0 <= interval.high


@pytest.mark.slow
@pytest.mark.parametrize("sd", [(0.1, 0.0, 0.3), (0.03, 0.3, 0.3), (0.1, 0.3, 0.1)])
@pytest.mark.parametrize("seeds", [5, 10])
def test_hierarchical_intervals_cover(seeds, sd):
    rng = np.random.default_rng(20)
    drawn = [layout_of(rng, seeds, 100, sd) for _ in range(2000)]
    rate = np.mean([covered(hierarchical_interval(replicates(y.mean(1), items=y))) for y in drawn])
    assert 0.93 <= rate <= 0.97


@pytest.mark.slow
def test_t_intervals_and_effects_cover():
    rng = np.random.default_rng(21)
    drawn = [replicates(rng.normal(size=5)) for _ in range(2000)]
    assert 0.93 <= np.mean([covered(mean_interval(r)) for r in drawn]) <= 0.97
    zero = replicates(np.zeros(5))
    for true in (0.0, 1.0):
        found = [effect_size(replicates(true + r.values.to_numpy()), zero) for r in drawn[:1000]]
        assert 0.93 <= np.mean([g.low <= true <= g.high for g in found]) <= 0.97


@pytest.mark.slow
def test_seeds_alone_miss_test_set():
    """The control: without its second level the interval must fail where items differ."""
    rng = np.random.default_rng(22)
    drawn = [layout_of(rng, 10, 100, (0.03, 0.3, 0.3)) for _ in range(500)]
    assert np.mean([covered(hierarchical_interval(replicates(y.mean(1)))) for y in drawn]) < 0.8


def test_nested_means_count_groups_alike():
    values = np.array([[1.0], [3.0], [10.0]])
    found = nested_means(values, np.array([0, 0, 1]))
    assert found.groups.ravel() == pytest.approx([2, 10])
    assert found.mean == pytest.approx([6])


def test_nested_interval_is_t_for_constant_groups():
    """Without spread within, the stretched bootstrap is about the t interval of the group means."""
    means = np.random.default_rng(2).normal(size=30)
    found = nested_means(means.repeat(4)[:, None], np.arange(30).repeat(4))
    low, high = stats.t.interval(0.95, 29, means.mean(), stats.sem(means))
    width = high - low
    assert found.low[0] == pytest.approx(low, abs=0.05 * width)
    assert found.high[0] == pytest.approx(high, abs=0.05 * width)


def test_one_group_has_its_members_interval():
    values = np.random.default_rng(3).normal(size=40)
    found = nested_means(values[:, None], np.zeros(40))
    low, high = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert found.low[0] == pytest.approx(low, abs=0.05 * (high - low))
    assert found.high[0] == pytest.approx(high, abs=0.05 * (high - low))
    alone = nested_means(values[:1, None], np.zeros(1))
    assert np.isnan([alone.low[0], alone.high[0]]).all()


def test_nested_interval_ignores_order():
    rng = np.random.default_rng(4)
    values, group = rng.normal(size=(24, 2)), np.arange(6).repeat(4)
    first = nested_means(values, group)
    order = np.argsort(np.arange(24) % 4, kind="stable")
    second = nested_means(values[order], group[order])
    assert second.low == pytest.approx(first.low)
    assert second.high == pytest.approx(first.high)


def test_t_p_is_scipys():
    values = np.random.default_rng(5).normal(0.3, 1, (9, 4))
    assert t_p(values, 0.1) == pytest.approx(stats.ttest_1samp(values, 0.1).pvalue)
    level = np.array([[0.5, 1.0]] * 4)
    assert t_p(level, 0.5) == pytest.approx([1, 1 / 8])
    assert np.isnan(t_p(values[:1])).all()


@pytest.mark.parametrize(
    ("difference", "minimum", "p", "expected"),
    [
        (1.0, 0.5, (0.01, 0.2), "supported"),
        (0.4, 0.5, (0.01, 0.2), ""),
        (-1.0, 0.5, (0.01, 0.01), "contradicted"),
        (-0.1, -0.5, (0.9, 0.01), "supported"),
        (-0.9, -0.5, (0.01, 0.01), "contradicted"),
        (-0.1, -0.5, (0.01, 0.2), ""),
    ],
)
def test_two_tests_decide(difference, minimum, p, expected):
    assert decision(difference, minimum, p, 0.05) == expected
