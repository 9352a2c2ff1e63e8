"""Two results folders side by side: what moved, what only differs, what is the same."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from synthetic_records import synthetic_record, write_bundle

from hsac.cli import main
from hsac.errors import InputError
from hsac.files import read_json, write_json
from hsac.report.compare import (
    compare,
    compare_folders,
    compare_runs,
    identical_runs,
    read_runs,
    welch,
)
from hsac.report.gather import gather
from hsac.report.statistics import Replicates

CELL = {"config_hash": "c", "variant_hash": "v", "start": 0.3, "code": "d", "status": "ok"}


def runs(values: list[float], method: str = "sgd+hsac", **changes: object) -> pd.DataFrame:
    """Gathered runs of one method with these test accuracies, seeds from 0."""
    rows = [
        {"experiment": "e", "method": method, "seed": s, "selected_test_accuracy": v}
        for s, v in enumerate(values)
    ]
    return pd.DataFrame([row | CELL | changes for row in rows])


def row(a: pd.DataFrame, b: pd.DataFrame, metric: str = "selected_test_accuracy") -> pd.Series:
    table = compare_runs(a, b)
    return table[table["metric"] == metric].iloc[0]


def test_the_same_runs_are_the_same():
    a = runs([0.5, 0.6, 0.7])
    assert compare_runs(a, a)["verdict"].tolist() == ["same", "same"]
    assert identical_runs(a, a) == (3, 3)


def test_pairs_find_what_unpaired_runs_cannot():
    a = runs([0.5, 0.6, 0.7, 0.8])
    b = runs([0.511, 0.609, 0.712, 0.808])
    assert row(a, b)["verdict"] == "moved"
    assert row(a, b)["how"] == "paired"
    assert row(a, b)["difference"] == pytest.approx(1.0)
    for changes in ({"config_hash": "other"}, {"variant_hash": "other"}, {"start": 1.0}):
        unpaired = row(a, b.assign(**changes))
        assert (unpaired["how"], unpaired["verdict"]) == ("Welch", "within noise")
        expected = stats.ttest_ind(
            b["selected_test_accuracy"], a["selected_test_accuracy"], equal_var=False
        )
        assert unpaired["p"] == pytest.approx(expected.pvalue)
        assert unpaired["low"] == pytest.approx(100 * expected.confidence_interval().low)


def test_other_seeds_are_not_paired():
    a, b = runs([0.5, 0.52, 0.51]), runs([0.5, 0.52, 0.51]).assign(seed=[3, 4, 5])
    assert row(a, b)["how"] == "Welch"
    assert identical_runs(a, b) == (0, 0)


def test_euclidean_cell_without_start_is_paired():
    """A euclidean cell has no start and is paired."""
    a = runs([0.5, 0.6, 0.7], start=None)
    assert row(a, a)["how"] == "paired"
    assert row(a, runs([0.5, 0.6, 0.7], start=0.3))["how"] == "Welch"


def test_nothing_is_concluded_from_one_run():
    assert row(runs([0.5]), runs([0.9]))["verdict"] == "too few runs"


def test_method_that_stops_finishing_moved():
    """A method that no longer finishes has moved."""
    a = runs([0.5, 0.6])
    b = runs([np.nan, np.nan], status="diverged")
    table = compare_runs(a, b).set_index("metric")
    assert table.loc["finished", "verdict"] == "moved"
    assert table.loc["selected_test_accuracy", "verdict"] == "too few runs"
    partly = a.assign(status=["ok", "diverged"], selected_test_accuracy=[0.5, np.nan])
    assert row(a, partly, "finished")["verdict"] == "within noise"


def test_holm_leaves_same_rows_out():
    """Holm is over all rows that are not the same."""
    rng = np.random.default_rng(0)
    a = [runs(rng.normal(0.5, 0.01, 5).tolist(), method=f"sgd+fixed@{i}") for i in range(6)]
    b = [frame.assign(selected_test_accuracy=rng.normal(0.5, 0.01, 5)) for frame in a[:4]]
    table = compare_runs(pd.concat(a), pd.concat([*b, *a[4:]])).set_index(["metric", "method"])
    rows = table.loc["selected_test_accuracy"]
    assert rows["verdict"].tolist()[4:] == ["same", "same"]
    expected = multipletests(rows["p"].iloc[:4], method="holm")[1]
    np.testing.assert_allclose(rows["p_holm"].iloc[:4], expected)
    assert table["p_holm"].notna().sum() == 4


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
def test_false_alarms_are_rare(paired):
    """Two sets of the same truth: at most 5 % of comparisons of a table find something moved."""
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(60):
        sets = [
            pd.concat(
                [
                    runs(rng.normal(0.5, 0.01, 4).tolist(), f"sgd+fixed@{i}", config_hash=side)
                    for i in range(3)
                ]
            )
            for side in ("a", "a" if paired else "b")
        ]
        alarms += (compare_runs(*sets)["verdict"] == "moved").any()
    assert stats.binomtest(int(alarms), 60, 0.05, alternative="greater").pvalue > 1e-3


def test_runs_without_spread_are_compared_exactly():
    def side(value: float) -> Replicates:
        return Replicates(runs([value] * 3), "e", "sgd+hsac")

    assert welch(side(0.5), side(0.5)).p == 1
    assert welch(side(0.5), side(0.6)).p == pytest.approx(2 / 20)


def test_bitwise_difference_seen_in_any_column():
    """A bitwise difference is seen in any column."""
    a = runs([0.5, 0.6]).assign(curvature=[0.3, np.nan], seconds=1.0)
    b = a.assign(curvature=[np.nextafter(0.3, 1), np.nan], seconds=2.0, code="other")
    assert identical_runs(a, b) == (2, 1)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return two folders of records.

    B is from another host, with other numpy and code, one method less and one that moved.
    """
    for name in "ab":
        records = []
        for method in ("sgd+hsac", "sgd+learned", "sgd+euclidean"):
            for seed in range(4):
                record = synthetic_record("digits", method, seed)
                if name == "b":
                    record |= {
                        "host": "other",
                        "versions": {"python": "3.11.0", "numpy": "2.1"},
                        "code": "9" * 16,
                    }
                    if method == "sgd+hsac":
                        record["metrics"]["selected"]["test_accuracy"] -= 0.2 + 0.001 * seed
                if name == "a" or method != "sgd+learned":
                    records.append(record)
        root = tmp_path / name
        gather(write_bundle(root, records), root)
    return tmp_path / "a", tmp_path / "b"


def test_the_report(folders, capsys):
    a, b = folders
    assert main(["compare", str(a), str(b)]) == 1
    text = capsys.readouterr().out
    moved = text[text.index("## Moved") : text.index("## Environments")]
    assert "sgd+hsac" in moved
    assert "sgd+euclidean" not in moved
    assert "bitwise identical: 4" in text
    assert "- digits sgd+learned" in text[text.index("## Cells only in A") :]
    assert "Cells only in B" not in text
    environment = text[text.index("## Environments") : text.index("## Cells only")]
    assert {"numpy", "host"} <= {
        line.split("|")[1].strip() for line in environment.splitlines() if "|" in line
    }
    assert "python" not in environment
    assert "code (2 of 2 cells differ)" in environment
    assert main(["compare", str(a), str(a)]) == 0
    assert "Nothing." in capsys.readouterr().out


def test_only_the_gathered_runs_are_needed(folders, tmp_path):
    a, b = folders
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "runs.parquet").write_bytes((b / "runs.parquet").read_bytes())
    found = compare_folders(a, bare)
    assert found.moved
    assert found.environment.set_index("what").loc["host, device, versions"].tolist() == [
        "recorded",
        "no records here",
    ]
    assert "no records here" in compare(a, bare)[0]


def test_bad_folders_are_one_line(folders, tmp_path, capsys):
    """Bad folders are named in one line."""
    a, b = folders
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "runs.parquet").write_bytes(b"PAR1")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    runs([0.5]).to_parquet(foreign / "runs.parquet")
    for name in ("nowhere", "damaged", "foreign"):
        assert main(["compare", str(a), str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("hsac: ")
        assert name in error
        assert error.count("\n") == 1
    runs([0.5]).drop(columns="code").to_parquet(foreign / "runs.parquet")
    with pytest.raises(InputError, match="no column code"):
        read_runs(foreign)
    pd.concat([runs([0.5]), runs([0.6])]).to_parquet(foreign / "runs.parquet")
    with pytest.raises(InputError, match="seed 0 twice"):
        read_runs(foreign)
    record = next((b / "runs").rglob("0.json"))
    write_json(record, read_json(record) | {"versions": {"numpy": "9"}})
    assert "9" in compare(a, b)[0]
    record.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        compare(a, b)
