"""What is measured of the machine is in its own files; all others depend on the runs alone."""

from pathlib import Path

import pandas as pd
import pytest
from smoke_results import small, smoke_results, tables
from synthetic_records import synthetic_record, write_bundle

from hsac.files import read_json, write_json
from hsac.report.cost import cost_table, displayed, write_cost
from hsac.report.gather import gather
from hsac.report.why import explain
from hsac.study import load
from hsac.study.graph import Graph
from hsac.study.record import write_index

MEASURED = {"host": "another", "seconds": 99.0, "peak_memory_mib": 1.0, "together": [0]}


def content(folder: Path) -> dict[str, bytes]:
    """Every gathered table and every file of the tables."""
    paths = [
        folder / "runs.parquet",
        folder / "trajectories.parquet",
        *sorted((folder / "tables").iterdir()),
    ]
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HSAC_DATA", raising=False)  # variants are written there
    return smoke_results(tmp_path, small())


def test_timing_only_in_its_own_files(results):
    """Only its own files hold what is measured."""
    before, cost = content(results), (results / "cost/cost.csv").read_bytes()
    graph = Graph(load.read(results / "settings.json"), results)
    for bundle in graph.bundles:
        paths = {run.seed: run.record for run in bundle.runs()}
        for path in paths.values():
            write_json(path, read_json(path) | MEASURED)
        write_index(bundle.index, bundle.of, paths)
    tables(results)
    assert content(results) == before
    assert (results / "cost/cost.csv").read_bytes() != cost
    measured = pd.read_parquet(results / "measured.parquet")
    assert set(measured["host"]) == {"another"}
    assert set(measured["seconds"]) == {99.0}


def test_cell_of_cost_is_explained(results):
    """A cell of the cost is explained."""
    text, sound = explain(results, "cost", "digits sgd+hsac", "seconds")
    assert sound
    assert "mean over seeds" in text


def test_search_costs_beside_its_runs(tmp_path):
    """The cost of a search is beside that of its runs."""
    search = {
        "point": 0,
        "different": 2,
        "seeds": [9],
        "score": 0.5,
        "failed": 0,
        "gradients": 1,
        "products": 1,
    }
    records = [
        synthetic_record("digits", "sgd+hsac", seed, tuning=search | {"seconds": 7.0})
        for seed in (0, 1)
    ]
    gather(write_bundle(tmp_path, records), tmp_path)
    files = tmp_path / "runs.parquet", tmp_path / "measured.parquet"
    write_cost(*files, {"digits": ["sgd+hsac", "sgd+grid"]}, tmp_path / "cost")
    (row,) = pd.read_csv(tmp_path / "cost/cost.csv").to_dict("records")
    assert (row["seconds"], row["search_seconds"], row["n_ok"]) == (pytest.approx(1.55), 7.0, 2)
    assert (
        "| digits | sgd+hsac | 1.55 | 300 | 7 | 2 / 2 |" in (tmp_path / "cost/cost.md").read_text()
    )


def test_no_runs_cost_nothing():
    empty = pd.DataFrame(
        columns=[
            "experiment",
            "method",
            "seed",
            "status",
            "seconds",
            "peak_memory_mib",
            "search_seconds",
        ]
    )
    assert displayed(cost_table(empty, {"digits": ["sgd+hsac"]})).empty
