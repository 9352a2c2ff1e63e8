"""Cells of a searching rule are stored, tabled, explained and trained again like any other."""

import json
from pathlib import Path

import pandas as pd
import pytest
from smoke_results import small, smoke_results, tables
from studies import smoke_keys, unchecked

from hsac.data import build_variant, write_variant
from hsac.files import read_json, write_json
from hsac.ops import stale, verify
from hsac.ops.runner import run_bundle
from hsac.ops.timings import Timings
from hsac.report.gather import gather
from hsac.report.tables import experiment_table
from hsac.report.why import explain
from hsac.study import load, resolve
from hsac.study.graph import Graph
from hsac.study.record import read_records, write_index

METHOD = "adam+temperature_search"


@pytest.fixture(scope="module")
def finished(data_folder, tmp_path_factory):
    """The work of two methods with two finished runs each."""
    keys = smoke_keys() | {"device": "cpu"}
    experiment = keys["experiments"]["disease"]
    experiment |= {"methods": [METHOD, "adam+fixed@0.3"], "seeds": [0, 1]}
    experiment["training"] |= {"epochs": 4, "evaluations": 2}
    study = unchecked(keys | {"experiments": {"disease": experiment}})
    graph = Graph(study, tmp_path_factory.mktemp("searched") / "results" / "smoke")
    variant = study.experiments["disease"].variant
    made = build_variant("disease", variant.name, variant.made_by(), data_folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HSAC_DATA", str(data_folder))
        path = write_variant(made, graph.variant("disease"))
        for bundle in graph.bundles:
            run_bundle(study, bundle.of, [0, 1], path, data_folder, bundle.index)
    return graph


@pytest.fixture
def graph(finished, data_folder, monkeypatch):
    monkeypatch.setenv("HSAC_DATA", str(data_folder))
    return finished


def indexes(graph):
    return [bundle.index for bundle in graph.bundles]


def test_the_table_counts_every_training(graph, tmp_path) -> None:
    gather(indexes(graph), tmp_path)
    runs = pd.read_parquet(tmp_path / "runs.parquet")
    table = experiment_table(
        runs, "disease", [METHOD, "adam+fixed@0.3"], "adam+fixed@0.3"
    ).set_index("method")
    assert table.loc[METHOD, "points_tried"] == 3
    assert table.loc["adam+fixed@0.3", "points_tried"] == 1
    assert table.loc[METHOD, "gradients"] == 3 * table.loc["adam+fixed@0.3", "gradients"]


def test_stale_knows_how_long_search_takes(graph) -> None:
    """Stale has nothing to say and knows how long a search takes."""
    assert [r for r in stale.stale_runs(graph) if r.method == METHOD] == []
    cell = resolve.cell(graph.study, "disease", METHOD)
    records = [record for index in graph.indexes([cell]) for _, record in read_records(index)]
    seconds = sum(record["seconds"] for record in records)
    assert Timings(graph.results.parent).seconds(cell, 2) == pytest.approx(seconds / 2)


def test_verify_searches_again(graph, data_folder) -> None:
    certificate = verify.verify(graph, data_folder, "100%", 0)
    assert certificate["counts"] == {"bitwise": 4, "within": 0, "outside": 0}


def test_verify_finds_a_forged_search(graph, data_folder) -> None:
    cell = resolve.cell(graph.study, "disease", METHOD)
    (index,) = graph.indexes([cell])
    path = index.parent / "seed1.json"
    before = path.read_bytes(), index.read_bytes()
    record = json.loads(before[0])
    record["search"]["tried"][0]["tempered_nll"] += 0.01
    write_json(path, record)
    write_index(index, cell, {seed: index.parent / f"seed{seed}.json" for seed in (0, 1)})
    certificate = verify.verify(graph, data_folder, "100%", 0)
    path.write_bytes(before[0])
    index.write_bytes(before[1])
    assert certificate["counts"] == {"bitwise": 3, "within": 0, "outside": 1}
    (differs,) = [run["differs"] for run in certificate["runs"] if run["verdict"] == "outside"]
    assert list(differs) == ["search.tried.tempered_nll"]


def test_why_tells_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HSAC_DATA", raising=False)  # variants are written there
    override = small()
    override["experiments"]["digits"]["methods"].append("sgd+random_search")
    results = smoke_results(tmp_path, override)
    one = {"status": "ok", "validation_accuracy": 0.9, "validation_nll": 0.3, "tempered_nll": 0.2}
    search = {"chosen": 1, "tried": [one | {"curvature": [c]} for c in (0.123, 4.5)]}
    graph = Graph(load.read(results / "settings.json"), results)
    cell = resolve.cell(graph.study, "digits", "sgd+random_search")
    (index,) = graph.indexes([cell])
    paths = {seed: index.parent / f"seed{seed}.json" for seed in (0, 1, 2)}
    for path in paths.values():
        write_json(path, read_json(path) | {"search": search, "tried": 2})
    write_index(index, cell, paths)
    tables(results)
    text, sound = explain(results, "digits", "sgd+random_search", "points_tried")
    assert sound
    assert "seed 2: curvatures 0.123, 4.5; training 2 is the run" in text
    assert "hsac job train" in text
    assert "random_search" in text
