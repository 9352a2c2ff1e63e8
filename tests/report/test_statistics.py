"""Intervals, paired differences and Holm's correction against hand and library values."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hsac.report.statistics import holm, mean_interval, more_seeds, paired_difference, summarise


def runs_of(values: dict[str, list[float | None]]) -> pd.DataFrame:
    rows = [
        {"experiment": "e", "method": m, "seed": s, "status": "diverged" if v is None else "ok", "score": v}
        for m, series in values.items()
        for s, v in enumerate(series)
    ]
    return pd.DataFrame(rows)


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_t_interval_by_hand():
    # 1, 2, 3, 4, 5: mean 3, sd sqrt(2.5), t(.975, 4) = 2.7764, half width 2.7764 * sqrt(.5) = 1.9632
    m = mean_interval([1, 2, 3, 4, 5])
    assert (m.n, m.mean) == (5, 3.0)
    assert m.sd == pytest.approx(2.5**0.5)
    assert (m.low, m.high) == pytest.approx((3 - 1.96324, 3 + 1.96324), abs=1e-5)


def test_holm_by_hand_leaves_undefined_entries_out():
    assert holm([0.01, np.nan, 0.04, 0.03]) == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)
    assert np.isnan(holm([np.nan])).all()


def test_paired_difference_agrees_with_scipy_and_pairs_by_seed():
    a = pd.Series([0.9, 0.8, 0.85, 0.7], index=[3, 1, 0, 2])
    b = pd.Series([0.7, 0.75, 0.8, 0.78], index=[0, 1, 2, 3])
    d = paired_difference(a, b)
    assert d.p == pytest.approx(stats.ttest_rel(a.sort_index(), b).pvalue)
    assert d.difference == pytest.approx((a.sort_index() - b).mean())


def test_equal_in_every_pair_gives_p_one_and_constant_difference_the_sign_flip_p():
    a = pd.Series([0.1, 0.5, 0.9])
    assert paired_difference(a, a).p == 1.0
    d = paired_difference(a + 0.1, a)
    assert d.p == 0.25
    assert (d.low, d.high) == pytest.approx((0.1, 0.1))


def test_one_seed_gives_a_mean_and_nothing_else():
    row = summarise(runs_of({"a": [0.5], "b": [0.6]}), "score", reference="a").set_index("method").loc["b"]
    assert row["mean"] == 0.6
    assert row["difference"] == pytest.approx(0.1)
    assert row[["sd", "low", "high", "difference_low", "difference_high", "p", "p_holm"]].isna().all()


def test_runs_that_failed_count_in_n_and_their_pairs_drop():
    table = summarise(runs_of({"a": [0.5, 0.6, 0.7], "b": [0.6, None, 0.9]}), "score", reference="a")
    row = table.set_index("method").loc["b"]
    assert (row["n_ok"], row["n"], row["pairs"]) == (2, 3, 2)
    assert row["mean"] == pytest.approx(0.75)
    assert row["difference"] == pytest.approx(0.15)


def test_every_run_failed_or_no_reference():
    table = summarise(runs_of({"a": [0.5, 0.6], "b": [None, None]}), "score", reference="c").set_index("method")
    assert np.isnan(table.loc["b", "mean"])
    assert table["p"].isna().all()


def test_holm_family_is_the_experiment():
    rng = np.random.default_rng(0)
    block = runs_of({m: list(rng.normal(size=6)) for m in "abc"})
    both = pd.concat([block, block.assign(experiment="f")])
    alone = summarise(block, "score", reference="a")["p_holm"].to_numpy()
    assert summarise(both, "score", reference={"e": "a", "f": "a"})["p_holm"].to_numpy() == pytest.approx(
        np.tile(alone, 2), nan_ok=True
    )


def test_more_seeds():
    # ((1.960 + .8416) * 1 / .5)^2 + 1.960^2 / 2 = 33.3
    assert more_seeds(sd=1.0, effect=0.5, n=5) == 29
    assert more_seeds(sd=1.0, effect=1e-9, n=5) == 1000
    assert more_seeds(sd=0.0, effect=0.0, n=5) == 1
