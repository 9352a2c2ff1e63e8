"""Each column is declared once, and a plugin's metric is one more."""

import dataclasses

import pandas as pd
import pytest
from synthetic_records import synthetic_record, write_bundle

from hsac import plugins
from hsac.errors import InputError
from hsac.report import gather as module
from hsac.report.columns import COST, EXPERIMENT, FAILURES, displayed, experiment, headings
from hsac.report.compare import METRICS
from hsac.report.figures import captions, write_figures
from hsac.report.gather import MEASURED_SCHEMA, RUN_SCHEMA, gather
from hsac.report.tables import experiment_table

GAP = """
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Gap:
    heading: ClassVar[str] = "Gap (nats)"
    format: ClassVar[str] = "{:.2f}"

    def measure(self, record):
        last = record["metrics"]["last"]
        return last["test_nll"] - last["train_nll"]
"""
FIGURE = """
from hsac.report.figures import style

CAPTION = "Nothing."


def draw(runs, root):
    return style.nothing("Nothing", f"{len(runs)} runs")
"""


@pytest.fixture
def folder(tmp_path):
    def write(text, name="gap", family="metrics"):
        path = tmp_path / "mine" / family / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return plugins.using([tmp_path / "mine"])

    return write


def indexes(root):
    records = [synthetic_record("digits", "sgd+hsac", seed) for seed in (0, 1)]
    return write_bundle(root, records)


@pytest.mark.parametrize("columns", [EXPERIMENT, COST, FAILURES])
def test_names_and_headings_are_unique(columns):
    names = [column.name for column in columns]
    assert len(set(names)) == len(names)
    found = headings(columns)
    assert len(set(found.values())) == len(found)


def test_sources_are_gathered_columns():
    known = {*RUN_SCHEMA.names, *MEASURED_SCHEMA.names}
    assert {column.source for column in (*EXPERIMENT, *COST)} - {None} <= known
    assert set(METRICS) <= set(RUN_SCHEMA.names)


def test_hidden_column_stays_in_numbers():
    hidden = dataclasses.replace(COST[0], hidden=lambda numbers: True)
    numbers = pd.DataFrame({"experiment": ["digits"], "method": ["sgd+hsac"]})
    assert list(displayed(numbers, [hidden, COST[1]])) == ["Method"]


@pytest.mark.parametrize("processes", [1, 2])
def test_plugin_metric_reaches_runs_and_table(folder, tmp_path, monkeypatch, processes):
    monkeypatch.setattr(module, "CHUNK", 1)
    files = indexes(tmp_path)
    with folder(GAP):
        gather(files, tmp_path, processes=processes)
        runs = pd.read_parquet(tmp_path / "runs.parquet")
        table = experiment_table(runs, "digits", ["sgd+hsac"], "sgd+hsac")
        assert displayed(table, experiment())["Gap (nats)"].item() == f"{runs['gap'].mean():.2f}"
    gap = runs["last_test_nll"] - runs["last_train_nll"]
    assert runs["gap"].tolist() == pytest.approx(gap.tolist())
    assert table["gap"].item() == pytest.approx(gap.mean())


def test_column_lasts_as_long_as_plugin(folder, tmp_path):
    files = indexes(tmp_path)
    with folder(GAP):
        gather(files, tmp_path)
        assert "gap" in {column.name for column in experiment()}
    gather(files, tmp_path)
    assert pd.read_parquet(tmp_path / "runs.parquet").columns.tolist() == RUN_SCHEMA.names
    assert experiment() == EXPERIMENT


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("gap", 'record["metrics"]["last"]', "record[1]", r"gap\.py: measure raised KeyError: 1"),
        ("gap", "return last", 'return "x" or last', r"gap\.py: measure raised ValueError"),
        ("seed", "class Gap", "class Seed", r"seed\.py: found the name 'seed', which a column"),
        ("n_ok", "class Gap", "class NOk", r"n_ok\.py: found the name 'n_ok', which another"),
        ("gap", "    heading:", "    title:", r"gap\.py: class Gap: found no heading"),
        ("gap", "self, record", "self", r"measure: found the arguments \(\) after self"),
    ],
)
def test_faulty_metric_is_one_line(folder, tmp_path, name, old, new, said):
    files = indexes(tmp_path)
    with pytest.raises(InputError, match=said), folder(GAP.replace(old, new), name):
        gather(files, tmp_path)


def test_plugin_figure_gets_what_it_asks(folder, results, tmp_path):
    with folder(FIGURE, "empty", "figures"):
        assert captions()["empty"] == "Nothing."
        files = results / "runs.parquet", results / "trajectories.parquet"
        write_figures(*files, "digraph {}", {}, {}, tmp_path / "figures")
    assert (tmp_path / "figures/empty.png").is_file()
    assert "empty" not in captions()


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("empty", "def draw", "def plot", r"empty\.py: found no function draw"),
        ("empty", "root", "settings", r"draw: found the argument 'settings'; allowed are runs, "),
        ("empty", "CAPTION", "TITLE", r"empty\.py: found no CAPTION"),
        ("coverage", "", "", r"found the name 'coverage', which .*report/figures/coverage\.py has"),
    ],
)
def test_faulty_figure_is_one_line(folder, name, old, new, said):
    text = FIGURE.replace(old, new) if old else FIGURE
    with pytest.raises(InputError, match=said), folder(text, name, "figures"):
        pass
