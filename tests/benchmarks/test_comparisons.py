"""Every comparison at its tiniest: what is compared agrees, and the results are written.

No timing is asserted.
"""

from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

import pandas as pd
import pytest
import torch

from benchmarks import measure
from benchmarks.__main__ import NAMES
from benchmarks.case import FASTER, Case, at_least, at_most
from benchmarks.comparisons import hypergradient
from benchmarks.figures import draw
from benchmarks.results import measured, read, write

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SAMPLE", 0.0)
    monkeypatch.setattr(measure, "BUDGET", 0.0)
    monkeypatch.setattr(measure, "LEAST", 1)
    monkeypatch.setattr(hypergradient, "ERROR", 0.1)


@pytest.mark.parametrize("name", NAMES)
def test_both_sides_agree(name: str, record_property) -> None:
    module = import_module(f"benchmarks.comparisons.{name}")
    missing = []
    for case in module.cases(CPU, tiny=True):
        if case.needs and find_spec(case.needs) is None:
            missing.append(case.needs)
            continue
        row = measured(name, case, CPU)
        assert row["met"] in ("", "yes", "no"), f"{row['case']} against {row['against']}: {row}"
        assert row["ratio"] > 0
    if missing:
        pytest.skip(f"the rest agrees; not installed: {', '.join(sorted(set(missing)))}")


def test_results_that_disagree_are_not_timed() -> None:
    one = torch.ones(3)
    case = Case("x", "y", lambda: (lambda: one, lambda: 1.1 * one), at_least(1), tolerance=1e-3)
    row = measured("maps", case, CPU)
    assert row["met"] == "results disagree"
    assert row["disagreement"] == pytest.approx(0.1 / 1.1, rel=1e-5)
    assert "ratio" not in row


def test_nan_disagrees() -> None:
    assert measure.disagreement(torch.tensor([torch.nan]), torch.ones(1)) == float("inf")


def test_missing_peer_is_named() -> None:
    case = Case("x", "y", lambda: pytest.fail("built"), at_least(1), None, needs="no_such_module")
    assert measured("maps", case, CPU)["met"] == "no_such_module is not installed"


@pytest.mark.parametrize(
    ("target", "ratio", "met"),
    [(at_least(2), 4.0, "yes"), (at_least(5), 4.0, "no"), (at_most(0.2), 0.25, "no")],
)
def test_ratio_and_target(target, ratio: float, met: str) -> None:
    case = Case("x", "y", lambda: (lambda: 1.0, lambda: 4.0), target, None, unit="seeds/min")
    row = measured("x", case, CPU)
    assert (row["ratio"], row["met"]) == (ratio, met)


def test_peak_memory_is_held_at_once() -> None:
    """What is freed meanwhile does not count."""
    mib = 2**18  # float32 numbers
    both = measure.peak(lambda: torch.ones(mib) + torch.ones(2 * mib)[:mib], CPU)
    assert both == pytest.approx(4, abs=0.01)
    kept = measure.peak(lambda: [torch.ones(mib) for _ in range(5)], CPU)
    assert kept == pytest.approx(5, abs=0.01)
    freed = measure.peak(lambda: [torch.ones(mib).sum() for _ in range(5)], CPU)
    assert freed == pytest.approx(1, abs=0.01)


def test_mlr_memory_grows_as_the_logits() -> None:
    """Not as logits times dimension."""
    from benchmarks.comparisons.poincare_mlr import linear

    b, k = 64, 50
    small, large = (measure.peak(linear(b, d, k, CPU)[0], CPU) for d in (8, 128))
    # a few copies of u and z; one of (B, K, d) is 1.5 MiB
    assert large - small < 6 * (b + k) * 120 * 4 / 2**20
    assert 6 * (b + k) * 120 < b * k * 120


def test_results_are_written_and_drawn(tmp_path) -> None:
    there = Case("a", "y", lambda: (lambda: 1.0, lambda: 4.0), at_least(2), None, unit="MB")
    missing = replace(there, name="b", target=FASTER, needs="nowhere")
    rows = [measured("x", case, CPU) for case in (there, missing)]
    pd.DataFrame([rows[0] | {"ratio": 1.5}]).to_csv(tmp_path / "before.csv")
    table = write(rows, {"x": "Title"}, tmp_path)
    met = [row["met"] for row in read(tmp_path / "results.csv")]
    assert met == ["yes", "nowhere is not installed"]
    text = (tmp_path / "results.md").read_text()
    assert "| a | y | 1 ± 0 MB | 4 ± 0 MB | 1.50 | 4.00 | ≥ 2 | yes |" in text
    assert "## Title" in text
    draw(table, "Title", tmp_path / "figures" / "x.png")
    assert (tmp_path / "figures" / "x.png").stat().st_size > 1000
