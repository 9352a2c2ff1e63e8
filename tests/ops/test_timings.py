"""Timings are found for the cells they are of, scaled by the length of training, and no others."""

from dataclasses import fields

import pytest
from finished_runs import SECONDS, finish
from studies import changed, smoke, smoke_keys, unchecked

from hsac.errors import InputError
from hsac.files import read_json, write_json, write_rows
from hsac.ops.timings import COLUMNS, Timing, Timings, read_rows, shape
from hsac.study import resolve
from hsac.study.graph import Graph


@pytest.fixture
def study():
    return smoke()


@pytest.fixture
def graph(study, tmp_path):
    return Graph(study, tmp_path / "results/smoke")


def cell(study, method="sgd+hsac", experiment="digits"):
    return resolve.cell(study, experiment, method)


def shape_of(cell):
    return shape(cell.config.dump())


def row(of, **changes):
    """Return a row of the file: two seeds together, a second a step, ten an evaluation."""
    values = {
        "experiment": "digits",
        "method": of.method,
        "shape": shape_of(of),
        "together": 2,
        "device": "cpu",
        "threads": 4,
        "steps_per_epoch": 5,
        "seconds_once": 100.0,
        "seconds_step": 1.0,
        "seconds_evaluation": 10.0,
        "bytes_once": 1000,
        "bytes_step": 2.0,
        "cores": 8,
        "torch": "2",
        "python": "3",
    }
    assert tuple(values) == COLUMNS
    return values | changes


def with_changed(*place, value):
    """Return the smoke scale with one key, deep inside, set anew."""
    return unchecked(changed(smoke_keys(), *place, value=value))


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
def test_equal_steps_have_one_shape(study, keys, value):
    assert shape_of(cell(with_changed(*keys, value=value))) == shape_of(cell(study))


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
def test_other_steps_have_other_shapes(study, keys, value):
    assert shape_of(cell(with_changed(*keys, value=value))) != shape_of(cell(study))


def test_shapes_tell_rules_not_starts(study):
    rules = ("fixed@0.3", "fixed@3", "hsac", "learned")
    shapes = [shape_of(cell(study, f"sgd+{rule}")) for rule in rules]
    assert len(set(shapes)) == 3
    assert shapes[0] == shapes[1]


def test_rows_give_seconds_by_steps(study, tmp_path):
    """And by evaluations."""
    of = cell(study)
    write_rows(tmp_path / "timings.csv", [row(of)])
    (cost,) = Timings(tmp_path, tmp_path / "timings.csv").costs(of, 2).values()
    training = of.config.training
    assert (training.epochs, training.evaluations) == (6, 3)
    assert cost.seconds == (100 + 6 * 5 * 1 + 3 * 10) / 2
    assert cost.threads == 4
    assert cost.bytes == 1000 + 6 * 5 * 2
    assert cost.source == f"cpu ({tmp_path}/timings.csv)"


def test_rows_of_equal_bundles_come_first(study, tmp_path):
    """Rows of as many seeds together count alone where there are any."""
    of = cell(study)
    write_rows(tmp_path / "t.csv", [row(of), row(of, together=1, seconds_step=7.0)])
    timings = Timings(tmp_path, tmp_path / "t.csv")
    assert timings.costs(of, 1)["cpu"].seconds == 100 + 30 * 7 + 30
    assert timings.costs(of, 2)["cpu"].seconds == 80
    assert timings.costs(of, 9)["cpu"].seconds == (80 + 340) / 2


def test_finished_runs_come_before_rows(graph, tmp_path):
    """On each kind of device: GPUs' rows stand where no run on a GPU is finished."""
    of = cell(graph.study)
    write_rows(tmp_path / "t.csv", [row(of), row(of, device="Some GPU")])
    finish(graph, of)
    costs = Timings(tmp_path / "results", tmp_path / "t.csv").costs(of, 2)
    assert costs["cpu"].seconds == pytest.approx(SECONDS)
    assert costs["gpu"].seconds == 80
    assert costs["gpu"].threads == 1


def test_seconds_scale_with_length(graph, tmp_path):
    finish(graph, cell(graph.study))
    longer = cell(with_changed("experiments", "digits", "training", "epochs", value=18))
    assert Timings(tmp_path / "results").seconds(longer, 2) == pytest.approx(3 * SECONDS)


def test_unrecorded_is_not_guessed(graph, tmp_path):
    finish(graph, cell(graph.study))
    for other in (cell(graph.study, "sgd+learned"), cell(graph.study, "adam+hsac", "disease")):
        assert Timings(tmp_path / "results", tmp_path / "none.csv").costs(other, 2) == {}


def test_failed_runs_say_nothing(graph, tmp_path):
    """Nor do records that were cut short."""
    of = cell(graph.study)
    finish(graph, of, status="timeout")
    assert Timings(tmp_path / "results", tmp_path / "none.csv").costs(of, 2) == {}
    finish(graph, of)
    first, second = sorted(graph.results.rglob("seed*.json"))
    first.write_text(first.read_text()[:50])
    write_json(second, read_json(second) | {"seconds": 12.0})
    assert Timings(tmp_path / "results").seconds(of, 2) == pytest.approx(12)


@pytest.mark.parametrize(
    "spoil", [lambda text: text.replace(",100.0,", ",soon,"), lambda text: "a,b\n1,2\n"]
)
def test_other_files_are_refused(study, tmp_path, spoil):
    path = tmp_path / "t.csv"
    write_rows(path, [row(cell(study))])
    path.write_text(spoil(path.read_text()))
    with pytest.raises(InputError, match=r"t\.csv"):
        read_rows(path)


def test_rows_are_read_as_written(study, tmp_path):
    written = row(cell(study))
    write_rows(tmp_path / "t.csv", [written])
    (read,) = read_rows(tmp_path / "t.csv")
    assert [read[f.name] for f in fields(Timing)] == [written[f.name] for f in fields(Timing)]
    assert read_rows(tmp_path / "none.csv") == []


def test_spreadsheets_may_mark_rows(study, tmp_path):
    """They write a byte order mark and line ends of their own, and may write UTF-16."""
    path = tmp_path / "t.csv"
    write_rows(path, [row(cell(study))])
    (plain,) = read_rows(path)
    text = path.read_text().replace("\n", "\r\n")
    path.write_bytes(text.encode("utf-8-sig"))
    assert read_rows(path) == [plain]
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(InputError, match=r"t\.csv: found UTF-16; allowed is UTF-8"):
        read_rows(path)
