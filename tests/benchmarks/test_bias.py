"""The tables of what the hypergradient's bias did, from the committed records."""

from pathlib import Path

import pytest

from benchmarks import bias

VERDICT = Path(__file__).parents[2] / "docs" / "verdict.md"


@pytest.fixture(scope="module")
def runs():
    return bias.records()


@pytest.mark.parametrize("table", [bias.samples, bias.rivals, bias.cost])
def test_verdict_has_the_present_tables(runs, table) -> None:
    assert table(runs) in VERDICT.read_text()


def test_verdict_has_the_guards() -> None:
    table = bias.guards()
    assert table in VERDICT.read_text()
    assert len(table.splitlines()) == 2 + len(bias.GUARDS)


def test_grid_costs_its_four_trainings(runs) -> None:
    assert "| sgd+grid | 4.00 |" in bias.cost(runs)
    assert "| sgd+learned | 1.00 |" in bias.cost(runs)


def test_shared_runs_stand_once(runs) -> None:
    """A run of two scales is the same run, so it does not matter which of them it is read from."""
    assert not runs.duplicated(["experiment", "method", "seed"]).any()


def test_scales_agree_on_shared_runs() -> None:
    """The default scale and `bias` trained one method on the same seeds, and found the same."""
    folders = (bias.REFERENCE, bias.REFERENCE / "bias")
    tables = [bias.pd.read_parquet(folder / "runs.parquet") for folder in folders]
    both = tables[0].merge(tables[1], on=["experiment", "method", "seed"])
    both = both[both["method"] == bias.MENDED]
    assert len(both) == 40
    assert (both["selected_test_accuracy_x"] == both["selected_test_accuracy_y"]).all()


def test_differences_are_of_the_mended_rule(runs) -> None:
    """On clean images the mended rule exceeds the first one, as a look at the means says, too."""
    means = runs.groupby(["experiment", "method"])["selected_test_accuracy"].mean() * 100
    images = bias.ROBUSTNESS[0]
    difference = means[images, bias.MENDED] - means[images, bias.FIRST]
    row = next(line for line in bias.rivals(runs).splitlines() if images in line)
    assert f"{difference:+.2f} [".replace("-", "−") in row
