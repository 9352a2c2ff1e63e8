"""`hsac time` takes timings from a few steps of the training loop itself."""

from pathlib import Path

import pytest
import torch
from studies import CONFIG, cell_of, changed, smoke

from hsac import cli, parts
from hsac.data import load_variant
from hsac.errors import InputError
from hsac.ops import time_cells
from hsac.ops.timings import COLUMNS, Timings, read_rows
from hsac.study import resolve
from hsac.study.graph import Graph


@pytest.fixture
def study(data_folder, monkeypatch):
    monkeypatch.setenv("HSAC_DATA", str(data_folder))
    return smoke({"device": "cpu"})


def test_each_shape_is_timed_once(study):
    graph = Graph(study)
    chosen = [(cell.method, seeds) for cell, seeds in time_cells.chosen(graph, ["digits"])]
    methods = [
        "sgd+euclidean",
        "sgd+fixed@0.3",
        "sgd+learned",
        "sgd+drift_up",
        "sgd+hsac",
        "sam+hsac",
    ]
    assert chosen == [(method, [0, 1]) for method in methods]  # fixed@1 is as fixed@0.3
    named = time_cells.chosen(graph, ["*/sam+*", "disease/adam+hsac"])
    assert [cell.method for cell, _ in named] == ["sam+hsac", "adam+hsac"]
    alone = time_cells.chosen(graph, ["glyphs_few_shot"])
    assert {len(seeds) for _, seeds in alone} == {1}  # one seed at a time
    with pytest.raises(InputError, match="did you mean 'digits'"):
        time_cells.chosen(graph, ["digit"])


def test_rows_are_written_once(study, data_folder, tmp_path, monkeypatch):
    """The plan reads them."""
    file = tmp_path / "timings.csv"
    wanted = time_cells.chosen(Graph(study), ["digits/*hsac"])
    assert time_cells.time_cells(study, wanted, data_folder, None, file) == []
    rows = read_rows(file)
    assert [(row["experiment"], row["method"]) for row in rows] == [
        ("digits", "sgd+hsac"),
        ("digits", "sam+hsac"),
    ]
    for row in rows:
        assert (tuple(row), row["together"], row["device"]) == (COLUMNS, 2, "cpu")
        assert min(row["seconds_once"], row["seconds_step"], row["seconds_evaluation"]) > 0
    assert rows[0]["steps_per_epoch"] == 14  # 958 images by 64
    for cell, _ in wanted:
        assert Timings(tmp_path, file).seconds(cell, 2) > 0
    monkeypatch.setattr(time_cells, "train_seeds", None)  # nothing is measured again
    assert time_cells.time_cells(study, wanted, data_folder, None, file) == []
    assert read_rows(file) == rows


def test_outer_steps_count_by_share(study, data_folder, monkeypatch):
    """By a clock that ticks ten a step and a hundred an outer step.

    The rule moves every fourth step of the last nine tenths.
    """
    keys = changed(study.dump(), "rules", "curvature", "hsac", value={"period": 4, "warm_up": 0.1})
    study, cell = cell_of(keys, "digits", "sgd+hsac")
    variant = load_variant(time_cells._variant(study.experiments["digits"], data_folder, None))
    time = [0.0]
    outer = parts.part("curvature rule", "hsac").outer

    def slow(*given):
        time[0] += 90
        return outer(*given)

    def begin(self):
        self.begun.append(time[0])
        time[0] += 10

    monkeypatch.setattr(parts.part("curvature rule", "hsac"), "outer", slow)
    monkeypatch.setattr(time_cells._Clock, "begin", begin)
    monkeypatch.setattr(time_cells._Clock, "now", lambda self: time[0])
    row = time_cells.measured(study, cell, [0, 1], variant, data_folder)
    assert row["seconds_step"] == pytest.approx(
        (10 + 0.9 / 4 * 90) / torch.get_num_threads(), rel=1e-3
    )


@pytest.mark.parametrize(("weights", "gradients"), [("sgd", 1), ("sam", 2)])
def test_sam_step_takes_two_gradients(study, data_folder, monkeypatch, weights, gradients):
    """A clock that ticks ten a gradient."""
    cell = resolve.cell(study, "digits", f"{weights}+hsac")
    variant = load_variant(time_cells._variant(study.experiments["digits"], data_folder, None))
    time = [0.0]
    rule = parts.part("weight rule", weights)
    update = rule.update

    def ticking(self, w, state, gradient, rate):
        def counted(point):
            time[0] += 10
            return gradient(point)

        return update(self, w, state, counted, rate)

    monkeypatch.setattr(rule, "update", ticking)
    monkeypatch.setattr(time_cells._Clock, "now", lambda self: time[0])
    row = time_cells.measured(study, cell, [0, 1], variant, data_folder)
    assert row["seconds_step"] == pytest.approx(10 * gradients / torch.get_num_threads(), rel=1e-3)


def test_failing_cell_is_named(study, data_folder, tmp_path, monkeypatch, capsys):
    """The others are timed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").symlink_to(CONFIG)
    inner = time_cells.train_seeds

    def failing(study, cell, *rest):
        if cell.method == "sgd+hsac":
            raise torch.OutOfMemoryError("of 5 GiB")
        return inner(study, cell, *rest)

    monkeypatch.setattr(time_cells, "train_seeds", failing)
    command = ["time", "--scale", "smoke", "--cells", "digits/*hsac", "--output", "t.csv"]
    assert cli.main(command) == 1
    assert [row["method"] for row in read_rows(Path("t.csv"))] == ["sam+hsac"]
    assert "hsac: digits sgd+hsac: not timed: out_of_memory: of 5 GiB" in capsys.readouterr().err
