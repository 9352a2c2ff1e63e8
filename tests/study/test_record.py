"""What a run record may hold, and how it lies on disk."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from hsac.errors import InputError
from hsac.files import write_json
from hsac.study.record import (
    RunRecord,
    check_record,
    read_index,
    read_records,
    same_cell,
    write_index,
    write_point_index,
)

CELL = {"experiment": "digits", "method": "sgd+hsac"}
METRICS = {
    **{"step": 9, "train_accuracy": 0.9, "train_nll": 0.3},
    **{"validation_accuracy": 0.8, "validation_nll": 0.5},
    **{"test_accuracy": 0.75, "test_nll": None},
}
SEARCH = {"curvature": [1.0], "status": "ok", "validation_accuracy": 0.8}
SEARCH |= {"validation_nll": 0.5, "tempered_nll": 0.4}
RECORD = {
    **{"schema": 1, **CELL, "seed": 0, "setting": "classification", "dataset": "digits"},
    **{"variant": "plain", "model": "mlp2", "weight_rule": "sgd", "curvature_rule": "hsac"},
    **{"loss": "cross_entropy", "start": 0.3, "status": "ok", "reason": None, "config": {}},
    **{"config_hash": "c" * 16, "code": "d" * 16, "variant_hash": "e" * 16, "weights": "f" * 64},
    **{"versions": {"python": "3.11"}, "host": "here", "device": "cpu", "dtype": "float32"},
    **{"steps": 9, "gradients": 9, "products": 3, "tried": 1, "chosen": None},
    "metrics": {
        "selected": METRICS | {"test_right": [2, 1], "test_answers": 2},
        **{"last": METRICS, "oracle": METRICS},
    },
    **{"selected_by": "validation_accuracy", "sharpness": 0.1},
    "curvature": {"names": ["head"], "final": [0.5]},
    "trajectory": {
        **{"step": [0, 9], "curvature": [[0.3], [0.5]], "sharpness": [None, 0.1]},
        **{"train_nll": [1.0, 0.3], "validation_accuracy": [0.1, 0.8]},
        "test_accuracy": [0.1, 0.75],
    },
    **{"outer": None, "landscape": None, "embedding": None},
    **{"seconds": 1, "peak_memory_mib": 100.0},
}


def with_value(place: str, value: object) -> dict:
    """The record with another value at a place of dotted keys."""
    record = json.loads(json.dumps(RECORD))
    *parents, key = place.split(".")
    inner = record
    for parent in parents:
        inner = inner[parent]
    inner[key] = value
    return record


def test_record_is_typed():
    record = check_record(RECORD, Path("r.json"))
    assert isinstance(record, RunRecord)
    assert record.metrics.selected.test_right == [2, 1]
    assert record.curvature.final == [0.5]
    assert record.together is record.tuning is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("start", None),
        ("held_out_batches", 4),
        ("together", [0, 1]),
        ("plugins", {"a.py": "f" * 64}),
        ("search", {"chosen": 0, "tried": [SEARCH]}),
        ("metrics.last.test_ece", 0.1),
        ("sharpness", None),
    ],
)
def test_other_records_are_accepted(place, value):
    check_record(with_value(place, value), Path("r.json"))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("schema", 2, "r.json: schema: .*found 2"),
        ("seed", 0.5, "seed: "),
        ("seed", True, "seed: "),
        ("host", None, "host: "),
        ("tried", "1", "tried: "),
        ("method", "hsac", "method: .*found 'hsac'"),
        ("start", -1.0, "start: .*greater than or equal to 0"),
        ("together", [1, 1], "together: .*twice"),
        ("versions", {}, "versions: 'python' is a required property"),
        ("plugins", {"a.py": "short"}, "plugins.a.py: "),
        ("search", {"chosen": 0, "tried": []}, "search.tried: "),
        ("search", {"chosen": 0, "tried": [SEARCH | {"extra": 1}]}, "search.tried.0: 'extra' is"),
        ("metrics.last.test_accuracy", 1.5, "metrics.last.test_accuracy: "),
        ("metrics.selected.test_right", [2, 0], "metrics.selected.test_right: 0.5 of the answers"),
        ("metrics.selected.test_right", [4, -1], "metrics.selected.test_right: a negative"),
        ("metrics", None, "metrics: None is not allowed where status is ok"),
        ("weights", None, "weights: None is not allowed where status is ok"),
        ("reason", "late", "reason: only None is allowed"),
        ("status", "error", "(metrics|weights): only None is allowed where status is error"),
        ("trajectory.curvature", [[0.3], []], "trajectory.curvature: a row of 0"),
    ],
)
def test_misfits_are_named(place, value, words):
    with pytest.raises(InputError, match=words) as raised:
        check_record(with_value(place, value), Path("r.json"))
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith(
        "delete it and its bundle's index (block<k>.json) and run `snakemake` again"
    )


@pytest.mark.parametrize("content", [None, 3, [], "record"])
def test_other_content_is_no_record(content):
    with pytest.raises(InputError, match=r"r\.json: the record: "):
        check_record(content, Path("r.json"))


@pytest.mark.parametrize(
    ("status", "reason", "fits"),
    [
        ("diverged", "loss not finite at step 3", True),
        ("diverged", "it diverged", False),
        ("timeout", "time limit after step 3 of 9", True),
        ("timeout", "too slow", False),
        ("error", "ValueError: no", True),
        ("error", "no", False),
        ("out_of_memory", "too large", True),
        ("out_of_memory", "", False),
        ("out_of_memory", None, False),
    ],
)
def test_reasons_follow_status(status, reason, fits):
    record = RECORD | {"status": status, "reason": reason}
    if status != "diverged":
        record |= {"metrics": None, "weights": None}
    if fits:
        check_record(record, Path("r.json"))
    else:
        with pytest.raises(InputError, match="reason: found"):
            check_record(record, Path("r.json"))


def test_index_leads_to_its_records(tmp_path):
    """Records lie beside the index of a bundle, and in other folders for a bundle of trials."""
    own, other = tmp_path / "runs" / "seed0.json", tmp_path / "trials" / "1" / "seed0.json"
    for path in (own, other):
        path.parent.mkdir(parents=True)
        write_json(path, RECORD)
    index, points = tmp_path / "runs" / "block0.json", tmp_path / "trials" / "points.json"
    cell = SimpleNamespace(**CELL)
    write_index(index, cell, {0: own})
    write_point_index(points, cell, [(0, other)])
    assert [path for path, _ in read_records(index)] == [own]
    assert list(read_records(points)) == [(other, RECORD)]
    assert read_index(points)[0] == ("digits", "sgd+hsac")


def test_same_cell_compares_given_hashes():
    assert same_cell(RECORD, {"code": "d" * 16})
    assert not same_cell(RECORD, {"code": "d" * 16, "config_hash": "other"})
    assert not same_cell(None, {})
