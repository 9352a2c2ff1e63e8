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
def study():
    keys, methods = smoke_keys(), [METHOD, "adam+fixed@0.3"]
    disease = keys["experiments"]["disease"] | {"methods": methods, "seeds": [0, 1]}
    disease["training"] |= {"epochs": 4, "evaluations": 2}
    return unchecked(keys | {"experiments": {"disease": disease}, "device": "cpu"})


@pytest.fixture(scope="module")
def finished(study, data_folder, tmp_path_factory):
    """A results folder with two finished runs of each method."""
    graph = Graph(study, tmp_path_factory.mktemp("searched") / "results" / "smoke")
    chosen = study.experiments["disease"].variant
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HSAC_DATA", str(data_folder))
        variant = graph.variant("disease")
        made = build_variant("disease", chosen.name, chosen.made_by(), data_folder)
        write_variant(made, variant)
        for bundle in graph.bundles:
            run_bundle(study, bundle.of, [0, 1], variant, data_folder, bundle.index)
    return graph


@pytest.fixture
def graph(finished, data_folder, monkeypatch):
    monkeypatch.setenv("HSAC_DATA", str(data_folder))
    return finished


def test_the_table_counts_every_training(graph, tmp_path) -> None:
    gather([*graph.by_index], tmp_path)
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
    records = [
        r for index in graph.by_index for _, r in read_records(index) if r["method"] == METHOD
    ]
    assert Timings(graph.results.parent).seconds(cell, 2) == pytest.approx(
        sum(r["seconds"] for r in records) / 2
    )


def test_verify_searches_again(graph, data_folder) -> None:
    certificate = verify.verify(graph, data_folder, "100%", 0)
    assert certificate["counts"] == {"bitwise": 4, "within": 0, "outside": 0}


def test_verify_finds_a_forged_search(graph, data_folder) -> None:
    cell = resolve.cell(graph.study, "disease", METHOD)
    (bundle,) = graph.own_bundles(cell)
    index, path = bundle.index, bundle.record(cell, 1)
    before = path.read_bytes(), index.read_bytes()
    record = json.loads(before[0])
    record["search"]["tried"][0]["tempered_nll"] += 0.01
    write_json(path, record)
    write_index(index, cell, {seed: bundle.record(cell, seed) for seed in (0, 1)})
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
    study = load.read(results / "settings.json")
    cell = resolve.cell(study, "digits", "sgd+random_search")
    (bundle,) = Graph(study, results).own_bundles(cell)
    paths = {seed: bundle.record(cell, seed) for seed in (0, 1, 2)}
    for path in paths.values():
        write_json(path, read_json(path) | {"search": search, "tried": 2})
    write_index(bundle.index, cell, paths)
    tables(results)
    text, sound = explain(results, "digits", "sgd+random_search", "points_tried")
    assert sound
    assert "seed 2: curvatures 0.123, 4.5; training 2 is the run" in text
    assert "hsac job train" in text
    assert "random_search" in text
