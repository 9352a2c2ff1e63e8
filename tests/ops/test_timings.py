"""Timings are found for the cells they are of, scaled by the length of training, and for no others."""

import copy
from dataclasses import fields
from pathlib import Path

import pytest
from finished_runs import SECONDS, finish

from hsac import config
from hsac.errors import InputError
from hsac.files import read_json, write_json, write_rows
from hsac.ops.timings import COLUMNS, Timing, Timings, read_rows, shape

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture
def settings():
    return config.load("smoke", folder=CONFIG)


def cell(settings, method="sgd+hsac", experiment="digits"):
    return config.cell(settings, experiment, method)


def row(of, **changes):
    """A row of the file: two seeds together, a second a step, ten an evaluation, a hundred besides."""
    values = {
        "shape": shape(of),
        "together": 2,
        "device": "cpu",
        "threads": 4,
        "steps_per_epoch": 5,
    }
    values |= {"seconds_once": 100.0, "seconds_step": 1.0, "seconds_evaluation": 10.0}
    values |= {"bytes_once": 1000, "bytes_step": 2.0, "cores": 8, "torch": "2", "python": "3"}
    return {
        name: ({"experiment": "digits", "method": of["method"]} | values | changes)[name]
        for name in COLUMNS
    }


def changed(settings, *keys, value):
    """The settings with one key, deep inside, set anew."""
    settings = copy.deepcopy(settings)
    inner = settings
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
    inner[keys[-1]] = value
    return settings


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("experiments", "digits", "training", "epochs"), 70),
        (("rules", "weights", "sgd", "lr"), 0.5),
        (("curvature", "bounds"), [0.01, 9.0]),
        (("experiments", "digits", "variant", "draw"), 3),
        (("rules", "curvature", "hsac"), {"radius": 0.7}),
    ],
)
def test_what_leaves_a_step_as_long_as_it_was_leaves_the_shape(settings, keys, value):
    assert shape(cell(changed(settings, *keys, value=value))) == shape(cell(settings))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("experiments", "digits", "training", "batch"), 32),
        (("experiments", "digits", "model", "hidden"), 33),
        (("experiments", "digits", "variant", "validation"), 0.3),
        (("measure", "ascent_steps"), 9),
        (("rules", "curvature", "hsac"), {"solver": {"name": "cg", "terms": 9}}),
    ],
)
def test_what_changes_a_step_changes_the_shape(settings, keys, value):
    assert shape(cell(changed(settings, *keys, value=value))) != shape(cell(settings))


def test_the_start_is_no_part_of_the_shape_and_the_rule_is(settings):
    shapes = [
        shape(cell(settings, f"sgd+{rule}")) for rule in ("fixed@0.3", "fixed@3", "hsac", "learned")
    ]
    assert len(set(shapes)) == 3
    assert shapes[0] == shapes[1]


def test_a_row_gives_seconds_by_steps_and_evaluations(settings, tmp_path):
    of = cell(settings)
    write_rows(tmp_path / "timings.csv", [row(of)])
    (cost,) = Timings(tmp_path, tmp_path / "timings.csv").costs(of, 2).values()
    training = of["config"]["training"]
    assert (training["epochs"], training["evaluations"]) == (6, 3)
    assert cost.seconds == (100 + 6 * 5 * 1 + 3 * 10) / 2
    assert cost.threads == 4
    assert cost.bytes == 1000 + 6 * 5 * 2
    assert cost.source == f"cpu ({tmp_path}/timings.csv)"


def test_rows_of_as_many_seeds_together_come_first(settings, tmp_path):
    of = cell(settings)
    write_rows(tmp_path / "t.csv", [row(of), row(of, together=1, seconds_step=7.0)])
    timings = Timings(tmp_path, tmp_path / "t.csv")
    assert timings.costs(of, 1)["cpu"].seconds == 100 + 30 * 7 + 30
    assert timings.costs(of, 2)["cpu"].seconds == 80
    assert timings.costs(of, 9)["cpu"].seconds == (80 + 340) / 2


def test_finished_runs_come_before_rows_and_kinds_of_devices_apart(settings, tmp_path):
    of = cell(settings)
    write_rows(tmp_path / "t.csv", [row(of), row(of, device="Some GPU")])
    finish(settings, tmp_path / "results/smoke", of)
    costs = Timings(tmp_path / "results", tmp_path / "t.csv").costs(of, 2)
    assert costs["cpu"].seconds == pytest.approx(SECONDS)
    assert costs["gpu"].seconds == 80
    assert costs["gpu"].threads == 1


def test_runs_of_the_same_shape_are_scaled_by_their_length(settings, tmp_path):
    finish(settings, tmp_path / "results/smoke", cell(settings))
    longer = cell(changed(settings, "experiments", "digits", "training", "epochs", value=18))
    assert Timings(tmp_path / "results").seconds(longer, 2) == pytest.approx(3 * SECONDS)


def test_what_is_not_recorded_is_not_guessed(settings, tmp_path):
    finish(settings, tmp_path / "results/smoke", cell(settings))
    for other in (cell(settings, "sgd+learned"), cell(settings, "adam+hsac", "disease")):
        assert Timings(tmp_path / "results", tmp_path / "none.csv").costs(other, 2) == {}


def test_runs_that_failed_or_were_cut_short_say_nothing(settings, tmp_path):
    of, results = cell(settings), tmp_path / "results/smoke"
    finish(settings, results, of, status="timeout")
    assert Timings(tmp_path / "results", tmp_path / "none.csv").costs(of, 2) == {}
    finish(settings, results, of)
    first, second = sorted(results.rglob("seed*.json"))
    first.write_text(first.read_text()[:50])
    write_json(second, read_json(second) | {"seconds": 12.0})
    assert Timings(tmp_path / "results").seconds(of, 2) == pytest.approx(12)


@pytest.mark.parametrize(
    "spoil", [lambda text: text.replace(",100.0,", ",soon,"), lambda text: "a,b\n1,2\n"]
)
def test_a_file_of_something_else_is_refused(settings, tmp_path, spoil):
    path = tmp_path / "t.csv"
    write_rows(path, [row(cell(settings))])
    path.write_text(spoil(path.read_text()))
    with pytest.raises(InputError, match=r"t\.csv"):
        read_rows(path)


def test_rows_are_read_as_they_were_written(settings, tmp_path):
    write_rows(tmp_path / "t.csv", [row(cell(settings))])
    (read,) = read_rows(tmp_path / "t.csv")
    assert [read[f.name] for f in fields(Timing)] == [
        row(cell(settings))[f.name] for f in fields(Timing)
    ]
    assert read_rows(tmp_path / "none.csv") == []
