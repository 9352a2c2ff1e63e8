"""Rank correlations of sweeps whose answer is known, and what their intervals resample."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hsac.report.curvature_role import COLUMNS, PAIRS, correlations, displayed, mean_over_seeds

CURVATURES = (0.1, 0.3, 1.0, 3.0, 5.0)


def sweep(
    seeds: int = 4, experiment: str = "digits", weight: str = "sgd", **quantities
) -> pd.DataFrame:
    """A row a seed and curvature; a quantity is a function of (log c, seed, noise), else 0."""
    names = ("sharpness", "top_eigenvalue", "trace", "bound", "gap", "test_error")
    rng, rows = np.random.default_rng(seeds), []
    for seed in range(seeds):
        for c in CURVATURES:
            values = dict.fromkeys(names, 0.0)
            for name, f in quantities.items():
                values[name] = f(np.log(c), seed, rng.standard_normal())
            run = {"experiment": experiment, "setting": "plain", "weight_rule": weight}
            run |= {"method": f"{weight}+fixed@{c}", "seed": seed, "curvature": c}
            rows.append(run | values)
    return pd.DataFrame(rows)


def row(table: pd.DataFrame, x: str, y: str) -> pd.Series:
    found = table[(table["x"] == x) & (table["y"] == y)]
    assert len(found) == 1
    return found.iloc[0]


def test_monotone_quantities_correlate_perfectly() -> None:
    runs = sweep(sharpness=lambda c, s, n: np.exp(c) + s, gap=lambda c, s, n: -(c**3) + 10 * s)
    table = correlations(runs)
    assert list(table.columns) == list(COLUMNS)
    assert list(zip(table["x"], table["y"], strict=True)) == list(PAIRS)
    for name in ("rho", "low", "high", "tau", "tau_low", "tau_high"):
        assert row(table, "curvature", "sharpness")[name] == pytest.approx(1)
        assert row(table, "curvature", "gap")[name] == pytest.approx(-1)
        assert row(table, "sharpness", "gap")[name] == pytest.approx(-1)
    assert tuple(row(table, "sharpness", "gap")[["seeds", "curvatures"]]) == (4, 5)


def test_seeds_are_not_pooled() -> None:
    """Differences between seeds are not taken for curvature's effect."""
    # Within a seed the two move against each other. Pooled over seeds they rise together.
    runs = sweep(6, sharpness=lambda c, s, n: c + 100 * s, gap=lambda c, s, n: -c + 100 * s)
    assert stats.spearmanr(runs["sharpness"], runs["gap"]).statistic > 0.8
    assert row(correlations(runs), "sharpness", "gap")["rho"] == pytest.approx(-1)


def test_rho_and_interval_are_over_seeds() -> None:
    """Rho is the mean of the seeds, and its interval is that of a bootstrap of the seeds."""
    runs = sweep(8, sharpness=lambda c, s, n: n, gap=lambda c, s, n: c + 2 * n)
    by_seed = [stats.spearmanr(r["sharpness"], r["gap"]).statistic for _, r in runs.groupby("seed")]
    found = row(correlations(runs), "sharpness", "gap")
    assert found["rho"] == pytest.approx(np.mean(by_seed))
    options = {"n_resamples": 20000, "method": "percentile", "random_state": 1}
    reference = stats.bootstrap((by_seed,), np.mean, **options).confidence_interval
    assert (found["low"], found["high"]) == pytest.approx(tuple(reference), abs=0.03)
    kendall = [stats.kendalltau(r["sharpness"], r["gap"]) for _, r in runs.groupby("seed")]
    assert found["tau"] == pytest.approx(np.mean([test.statistic for test in kendall]))


def test_unknown_values_leave_runs_out() -> None:
    """A seed with too few runs left, or with a constant, does not count."""
    runs = sweep(4, bound=lambda c, s, n: n, gap=lambda c, s, n: c)
    # two left: too few to be ordered
    runs.loc[(runs["seed"] == 0) & (runs["curvature"] > 0.3), "bound"] = np.nan
    runs.loc[(runs["seed"] == 1) & (runs["curvature"] > 1), "bound"] = np.inf
    runs.loc[runs["seed"] == 2, "bound"] = 0.3  # constant: no order
    found = row(correlations(runs), "bound", "gap")
    assert found["seeds"] == 2
    assert found["curvatures"] == 5
    table = correlations(runs[runs["seed"] == 1])
    assert np.isfinite(row(table, "bound", "gap")["rho"])
    assert np.isnan(row(table, "bound", "gap")["low"])
    assert row(table, "bound", "gap")["curvatures"] == 3
    nothing = row(table, "curvature", "trace")
    assert np.isnan(nothing["rho"])
    assert nothing["seeds"] == nothing["curvatures"] == 0


def test_weight_rules_are_kept_apart() -> None:
    signs = (("sgd", 1), ("sam", -1))
    blocks = [sweep(2, weight=w, gap=lambda c, s, n, k=k: k * c) for w, k in signs]
    blocks.append(sweep(3, experiment="disease", gap=lambda c, s, n: c))
    table = correlations(pd.concat(blocks, ignore_index=True))
    found = table[(table["x"] == "curvature") & (table["y"] == "gap")]
    columns = (found["experiment"], found["weight_rule"], found["rho"].round(9), found["seeds"])
    keys = list(zip(*columns, strict=True))
    assert keys == [("digits", "sgd", 1, 2), ("digits", "sam", -1, 2), ("disease", "sgd", 1, 3)]


def test_empty_sweep_gives_empty_table() -> None:
    table = correlations(sweep(1).iloc[:0])
    assert table.empty
    assert list(table.columns) == list(COLUMNS)
    assert displayed(table).empty


def test_interval_repeats_and_holds_mean() -> None:
    values = np.random.default_rng(3).uniform(-1, 1, 10)
    mean, low, high = mean_over_seeds(values)
    assert (mean, low, high) == mean_over_seeds(values)
    assert mean == pytest.approx(values.mean())
    assert low < mean < high
    half = stats.t.ppf(0.975, 9) * values.std(ddof=1) / np.sqrt(10)
    assert 0.7 * half < (high - low) / 2 < half


def test_displayed_cells_hold_intervals() -> None:
    shown = displayed(correlations(sweep(sharpness=lambda c, s, n: c, gap=lambda c, s, n: -c)))
    quantity, against = shown["Quantity"], shown["Against"]
    cells = shown[(quantity == "scope sharpness") & (against == "generalisation gap")].iloc[0]
    assert cells["Spearman's ρ [95 % interval]"] == "−1.00 [−1.00, −1.00]"
    assert (cells["Seeds"], cells["Curvatures"]) == ("4", "5")
    unknown = shown[(quantity == "Hessian trace") & (against == "test error")].iloc[0]
    assert unknown["Kendall's τ [95 % interval]"] == "–"
