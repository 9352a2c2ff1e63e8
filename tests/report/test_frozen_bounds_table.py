"""How curvatures are ranked: planted landscapes, SciPy's own correlation, and files."""

import math
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
from landscapes import write_study
from scipy.stats import spearmanr

from hsac.report import frozen, frozen_bounds, table_sources
from hsac.report.frozen_bounds import (
    NAME,
    by_seed,
    displayed,
    quantities,
    size_note,
    spearman,
    table,
    write_bound_table,
)

C = (0.01, 0.1, 1.0, 10.0)


def planted(problem="a", setting="noisy", dim=2, seeds=3, **changes):
    columns = {
        "test_error": (0.1, 0.2, 0.3, 0.4),
        "test_nll": (0.4, 0.3, 0.2, 0.1),
        "informed": (0.9, 0.8, 0.95, 0.97),
        "certificate": (math.nan,) * 4,
        "validation_nll": (1.0, 1.0, 1.0, 1.0),
        "gap@0.05": (0.1, 0.2, 0.4, 0.8),
    }
    rows = pd.DataFrame({"c": C, "solved": True} | columns | changes)
    made = pd.concat([rows.assign(seed=seed) for seed in range(seeds)], ignore_index=True)
    return made.assign(problem=problem, setting=setting, dim=dim)


def of(rows, quantity):
    found = by_seed(rows)
    return found[found["quantity"] == quantity].iloc[0]


def test_planted_ranks():
    row = of(planted(), "gap@0.05")
    assert row["test_error_correlation"] == pytest.approx(1)
    assert row["test_nll_correlation"] == pytest.approx(-1)
    assert row["informed_correlation"] == pytest.approx(0.8)
    distances = ("test_error_decades", "test_nll_decades", "informed_decades")
    assert [row[name] for name in distances] == pytest.approx([0, 3, 1])


def test_constant_has_no_rank_and_unknown_is_unknown():
    assert of(planted(), "validation_nll")["test_error_correlation"] == 0
    assert math.isnan(of(planted(), "certificate")["test_error_correlation"])
    names = set(table(frozen.Regrets(pd.DataFrame({"setting": []}), planted(), 0, 3))["quantity"])
    assert "certificate" not in names


def test_correlation_is_scipys():
    rng = np.random.default_rng(0)
    # with ties
    a, b = (rng.integers(0, 6, size=(20, 25)).astype(float) for _ in range(2))
    expected = [spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    assert spearman(a, b) == pytest.approx(expected, abs=1e-12)


def test_dimensions_of_problem_are_averaged():
    falling = planted(dim=16, test_error=(0.4, 0.3, 0.2, 0.1))
    both = pd.concat([planted(), falling], ignore_index=True)
    assert of(both, "gap@0.05")["test_error_correlation"] == pytest.approx(0)
    assert len(by_seed(both)) == 3 * len(quantities(both.columns))


@pytest.fixture
def results(tmp_path):
    return write_study(tmp_path)


def test_settings_without_bounds_keep_their_readings(results):
    found = frozen.read(results)
    assert found is not None
    numbers = table(found)
    few_shot = numbers[numbers["group"] == "few_shot"].set_index("quantity")
    assert "certificate" not in few_shot.index
    assert math.isfinite(few_shot.loc["gap@0.05", "test_error_correlation"])
    assert math.isnan(few_shot.loc["gap@0.05", "informed_correlation"])
    clean = numbers[numbers["group"] == "classification"].set_index("quantity")
    assert clean.loc["certificate", "informed_correlation"] == pytest.approx(1)
    assert "bound, prior from half: 0.86" in size_note(found)
    ends = numbers[[name for name in numbers if name.endswith(("_low", "_high"))]]
    assert ends.abs().max().max() <= 1


def test_table_is_written_and_every_column_has_an_origin(results):
    write_bound_table(results, results / "tables")
    text = (results / "tables" / f"{NAME}.md").read_text()
    assert "bound, prior from half" in text
    read = pd.read_csv(results / "tables" / f"{NAME}.csv")
    made = table_sources.TABLES[NAME]
    seen = cast(table_sources.Results, SimpleNamespace(root=results))
    numbers = made.numbers(seen)
    assert displayed(read).equals(displayed(numbers))
    assert all(made.origin(column) for column in numbers.columns)
    assert made.origin("nothing") is None
    shown = set(frozen_bounds.HEADINGS)
    assert set(made.headings(numbers).values()) == shown
    rows = made.roles(
        cast(table_sources.Results, SimpleNamespace(root=results)), {"group": "noisy"}
    )
    assert all("/noisy_" in path for path in rows["rows"])


def test_no_frozen_features_no_table(tmp_path):
    write_bound_table(tmp_path, tmp_path / "tables")
    assert not (tmp_path / "tables").exists()
