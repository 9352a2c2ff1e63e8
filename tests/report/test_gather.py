"""Records in, checked; one table of runs and one of trajectories out."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from synthetic_records import diverged, synthetic_record, write_bundle

from hsac.errors import InputError
from hsac.files import file_sha256, read_json, write_json
from hsac.report import gather as module
from hsac.report.gather import (
    OWN,
    RUN_SCHEMA,
    TABLES,
    TIMING,
    check_record,
    gather,
    geometric_mean,
    read_gathered,
    run_row,
    trajectory_columns,
)
from hsac.report.statistics import Replicates


def run_gather(root: Path, indexes: list[Path]) -> pd.DataFrame:
    gather(indexes, root)
    return pd.read_parquet(root / "runs.parquet")


def test_one_row_a_run_in_order(tmp_path):
    """One row a run in order with paths from the results folder."""
    cells = [
        ("digits", "sgd+hsac", 1),
        ("digits", "sgd+hsac", 0),
        ("disease", "adam+grid", 0),
        ("digits", "sam+hsac", 0),
    ]
    runs = run_gather(tmp_path, write_bundle(tmp_path, [synthetic_record(*cell) for cell in cells]))
    assert list(zip(runs.experiment, runs.method, runs.seed, strict=True)) == sorted(cells)
    assert all((tmp_path / path).is_file() for path in runs.record)
    measured = pd.read_parquet(tmp_path / "measured.parquet")
    assert list(zip(measured.experiment, measured.method, measured.seed, strict=True)) == sorted(
        cells
    )
    assert measured.seconds.tolist() == [1.5, 1.5, 1.6, 1.5]
    assert not {*TIMING, "host", "device"} & set(runs.columns)
    assert runs.chosen.tolist()[-1] == "adam+fixed@1"
    trajectories = pd.read_parquet(tmp_path / "trajectories.parquet")
    layers = {name: set(block.layer) for name, block in trajectories.groupby("experiment")}
    assert layers == {"digits": {"layer0", "head"}, "disease": {"layer0", "aggregation", "head"}}


def test_bytes_ignore_order_of_indexes(tmp_path):
    """The same records give the same bytes whatever the order of indexes."""
    indexes = write_bundle(
        tmp_path,
        [synthetic_record("digits", m, s) for m in ("sgd+hsac", "sgd+grid") for s in (0, 1)],
    )
    run_gather(tmp_path, indexes)
    first = [(tmp_path / name).read_bytes() for name in ("runs.parquet", "trajectories.parquet")]
    run_gather(tmp_path, indexes[::-1])
    assert first == [
        (tmp_path / name).read_bytes() for name in ("runs.parquet", "trajectories.parquet")
    ]


def test_chunks_and_processes_change_nothing(tmp_path, monkeypatch):
    """Neither chunks nor processes change a value."""
    indexes = write_bundle(
        tmp_path,
        [synthetic_record("digits", m, s) for m in ("sgd+hsac", "sgd+grid") for s in (1, 0)],
    )
    whole = run_gather(tmp_path, indexes)
    monkeypatch.setattr(module, "CHUNK", 1)
    gather(indexes, tmp_path, processes=1)
    alone = [(tmp_path / name).read_bytes() for name in TABLES]
    gather(indexes, tmp_path, processes=2)
    assert alone == [(tmp_path / name).read_bytes() for name in TABLES]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "runs.parquet"), whole)
    assert pq.ParquetFile(tmp_path / "runs.parquet").num_row_groups == 4


def test_error_in_process_names_record(tmp_path, monkeypatch):
    """An error in a process is the line that names the record."""
    monkeypatch.setattr(module, "CHUNK", 1)
    (index,) = write_bundle(tmp_path, [synthetic_record("digits", "sgd+hsac", s) for s in range(3)])
    (index.parent / "1.json").write_text("{}")
    with pytest.raises(InputError, match=r"1\.json: edited or damaged"):
        gather([index], tmp_path, processes=2)
    assert not (tmp_path / "runs.parquet").exists()


def test_memory_ignores_number_of_records(tmp_path, monkeypatch):
    """Memory does not grow with the number of records."""
    monkeypatch.setattr(module, "CHUNK", 5)

    def peak(runs: int) -> int:
        root = tmp_path / str(runs)
        record = with_items([0, 1, 1, 1] * 500, 1)
        indexes = write_bundle(root, [record | {"seed": seed} for seed in range(runs)])
        tracemalloc.start()
        gather(indexes, root)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(5)  # what is imported and compiled once
    assert peak(80) < 1.3 * peak(20)


def test_empty_column_keeps_its_type(tmp_path):
    """A column without values keeps its type."""
    runs = run_gather(tmp_path, write_bundle(tmp_path, [diverged("digits", "sgd+hsac", 0)]))
    assert str(runs.selected_test_accuracy.dtype) == "float64"
    assert runs.reason.tolist() == ["loss not finite at step 12"]
    assert runs.shape == (1, len(RUN_SCHEMA))


def with_items(right: list[int], answers: int) -> dict:
    record = synthetic_record("digits", "sgd+hsac", 0, accuracy=0.75)
    record["metrics"]["selected"] |= {"test_right": right, "test_answers": answers}
    return record


def test_test_answers_reach_the_statistics(tmp_path):
    """The answers to test items reach the statistics."""
    runs = run_gather(tmp_path, write_bundle(tmp_path, [with_items([5, 2, 3, 5], 5)]))
    assert Replicates(runs, "digits", "sgd+hsac").items == pytest.approx(
        np.array([[1, 0.4, 0.6, 1]])
    )


def test_answers_must_match_the_accuracy(tmp_path):
    """Answers that are not the accuracy are refused."""
    with pytest.raises(
        InputError,
        match=r"0\.json: metrics\.selected\.test_right: 0\.5 of the answers, while .* 0\.75",
    ):
        run_gather(tmp_path, write_bundle(tmp_path, [with_items([1, 1, 0, 0], 1)]))


def test_an_edited_record_is_detected(tmp_path):
    (index,) = write_bundle(tmp_path, [synthetic_record("digits", "sgd+hsac", 0)])
    path = index.parent / "0.json"
    path.write_text(path.read_text().replace('"seed":0', '"seed": 0'))
    with pytest.raises(InputError, match=r"0\.json: edited or damaged"):
        run_gather(tmp_path, [index])
    assert not (tmp_path / "runs.parquet").exists()


def test_a_missing_record_is_named(tmp_path):
    (index,) = write_bundle(tmp_path, [synthetic_record("digits", "sgd+hsac", 0)])
    (index.parent / "0.json").unlink()
    with pytest.raises(InputError, match=r"0\.json: missing"):
        run_gather(tmp_path, [index])


def test_record_of_another_cell_refused(tmp_path):
    """A record of another cell is refused."""
    (index,) = write_bundle(tmp_path, [synthetic_record("digits", "sgd+hsac", 0)])
    path = index.parent / "0.json"
    write_json(path, synthetic_record("digits", "sgd+learned", 0))
    content = read_json(index)
    content["runs"][0]["sha256"] = file_sha256(path)
    write_json(index, content)
    with pytest.raises(InputError, match=r"sgd\+learned"):
        run_gather(tmp_path, [index])


def test_a_run_listed_twice_is_refused(tmp_path):
    (index,) = write_bundle(tmp_path, [synthetic_record("digits", "sgd+hsac", 0)])
    with pytest.raises(InputError, match="second time"):
        run_gather(tmp_path, [index, index])


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"setting": "regression"}, "setting"),
        ({"seed": -1}, "seed"),
        ({"status": "fine"}, "status"),
        ({"curvature": {"names": ["a", "b"], "final": [1.0]}}, "curvature.final"),
        ({"curvature": {"names": [], "final": []}}, "trajectory.curvature"),
        ({"status": "diverged", "reason": "at some step"}, "reason"),
        ({"status": "timeout", "reason": "after step 3 of 9"}, "(weights|metrics)"),
        ({"reason": "late"}, "reason"),
        ({"gradients": None}, "gradients"),
    ],
)
def test_unfit_record_names_its_key(changes, key):
    """A record that does not fit the schema names its key."""
    with pytest.raises(InputError, match=f"r.json: {key}"):
        check_record(synthetic_record("digits", "sgd+hsac", 0) | changes, Path("r.json"))


@pytest.mark.parametrize(
    "block", ["", "metrics", "metrics.last", "curvature", "trajectory", "landscape", "embedding"]
)
def test_misspelt_key_refused_at_every_level(block):
    """A misspelt key is refused at every level."""
    record = json.loads(json.dumps(synthetic_record("digits", "sgd+hsac", 0)))
    inner = record
    for part in filter(None, block.split(".")):
        inner = inner[part]
    check_record(record, Path("r.json"))
    inner["secondss"] = []
    with pytest.raises(InputError, match=f"r.json: {block or 'the record'}: .*secondss"):
        check_record(record, Path("r.json"))


def test_unfinished_run_has_a_row():
    """A run that did not finish fits the schema and has a row."""
    record = synthetic_record(
        "digits", "sgd+hsac", 0, status="out_of_memory", reason="too large", weights=None
    )
    record |= dict.fromkeys(
        ["metrics", "steps", "gradients", "products", "sharpness", "landscape", "embedding"]
    )
    record |= {
        "curvature": {"names": [], "final": []},
        "trajectory": {key: [] for key in record["trajectory"]},
    }
    check_record(record, Path("r.json"))
    row = run_row(record, "r.json")
    assert (row["status"], row["curvature"], row["selected_test_accuracy"]) == (
        "out_of_memory",
        None,
        None,
    )


def test_model_without_curvature_has_rows():
    """A model without curvature has its rows."""
    record = synthetic_record("digits", "sgd+euclidean", 0)
    points = len(record["trajectory"]["step"])
    record |= {"curvature": {"names": [], "final": []}}
    record["trajectory"] = record["trajectory"] | {"curvature": [[]] * points}
    check_record(record, Path("r.json"))
    assert run_row(record, "r.json")["curvature"] is None
    columns = trajectory_columns(record)
    assert columns["sharpness"] == record["trajectory"]["sharpness"]
    assert {len(values) for values in columns.values()} == {points}
    assert {*zip(columns["layer"], columns["curvature"], strict=True)} == {("", None)}


def test_edited_candidate_of_grid_detected(tmp_path):
    """An edited candidate of a grid is detected."""
    shown, candidate = write_bundle(
        tmp_path, [synthetic_record("digits", method, 0) for method in ("sgd+grid", "sgd+fixed@3")]
    )
    gather([shown], tmp_path, [candidate])
    assert len(pd.read_parquet(tmp_path / "runs.parquet")) == 1
    path = candidate.parent / "0.json"
    path.write_text(path.read_text().replace("0.", "0.9", 1))
    with pytest.raises(InputError, match=r"fixed@3/0\.json: edited or damaged"):
        gather([shown], tmp_path, [candidate])


def test_a_missing_key_is_named():
    record = synthetic_record("digits", "sgd+hsac", 0)
    del record["sharpness"]
    with pytest.raises(InputError, match="'sharpness' is a required property"):
        check_record(record, Path("r.json"))


def test_trajectory_of_unequal_lengths_refused():
    """A trajectory of unequal lengths is refused."""
    record = json.loads(json.dumps(synthetic_record("digits", "sgd+hsac", 0)))
    record["trajectory"]["sharpness"].pop()
    with pytest.raises(InputError, match=r"trajectory\.sharpness"):
        check_record(record, Path("r.json"))


def test_geometric_mean_of_curvatures():
    assert geometric_mean([0.1, 10.0]) == pytest.approx(1.0)
    assert geometric_mean([0.0]) == 0.0
    assert geometric_mean([1.0, None]) is None


def test_missing_or_damaged_table_named(tmp_path):
    """A missing or damaged table is named."""
    with pytest.raises(InputError, match=r"runs\.parquet: missing"):
        read_gathered(tmp_path / "runs.parquet")
    (tmp_path / "runs.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(InputError, match=r"runs\.parquet: damaged"):
        read_gathered(tmp_path / "runs.parquet")


@pytest.mark.parametrize("place", range(5, 400, 5))
def test_flipped_byte_gives_one_line(tmp_path, place):
    """Wherever it is, the table is read or named, in one line."""
    path = tmp_path / "runs.parquet"
    run = {"experiment": ["a"], "method": ["b"], "seed": [0], "status": ["ok"]}
    pd.DataFrame(run).to_parquet(path)
    data = bytearray(path.read_bytes())
    data[-place] ^= 255
    path.write_bytes(data)
    try:
        read_gathered(path)
    except InputError as error:
        said = str(error)
        assert said.startswith(str(path))
        assert "\n" not in said


def test_other_table_is_refused(tmp_path):
    path = tmp_path / "runs.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(InputError, match="found no column experiment"):
        read_gathered(path)


@pytest.mark.parametrize(("table", "own"), OWN.items())
def test_swapped_tables_are_refused(tmp_path, table, own):
    """All three say whose run a row is, and only one has its own column."""
    path, run = tmp_path / "a.parquet", {"experiment": ["a"], "method": ["b"], "seed": [0]}
    pd.DataFrame(run | {own: [0]}).to_parquet(path)
    assert len(read_gathered(path, table)) == 1
    for other in OWN.keys() - {table}:
        with pytest.raises(InputError, match=f"so it is no gathered table of {other}"):
            read_gathered(path, other)


def test_share_of_outer_steps_dropped():
    """The share of outer steps without implicit term."""
    outer = {"step": [10, 20, 30, 40], "fallback": [True, False, False, False]}
    assert (
        run_row(synthetic_record("digits", "sgd+hsac", 0, outer=outer), "r")["dropped_solves"]
        == 0.25
    )
    assert (
        run_row(synthetic_record("digits", "sgd+learned", 0, outer=None), "r")["dropped_solves"]
        is None
    )
