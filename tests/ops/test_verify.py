"""`hsac verify`: the same bits here, a learned tolerance elsewhere, forged results found out."""

import json
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from studies import CONFIG, smoke_keys, unchecked

from hsac import cli
from hsac.data import build_variant, write_variant
from hsac.errors import InputError
from hsac.files import file_sha256, read_array, read_json, write_array, write_json
from hsac.ops import verify
from hsac.ops.runner import run_bundle
from hsac.study import resolve
from hsac.study.graph import Graph, variant_path
from hsac.study.models import Measure
from hsac.study.record import write_index

METHODS = {"digits": ["sgd+fixed@0.3", "sgd+hsac"], "disease": ["adam+hsac"]}


@pytest.fixture(scope="module")
def study():
    keys, experiments = smoke_keys(), {}
    for name, methods in METHODS.items():
        experiments[name] = keys["experiments"][name]
        experiments[name] |= {"methods": methods, "reference": methods[0]}
    experiments["digits"]["informed"] = METHODS["digits"][:1]
    experiments["digits"]["training"] |= {"epochs": 2, "evaluations": 2}
    experiments["disease"]["training"] |= {"epochs": 12, "evaluations": 2}
    return unchecked(keys | {"experiments": experiments, "device": "cpu"})


@pytest.fixture(scope="module")
def finished(study, data_folder, tmp_path_factory):
    """A results folder with six finished runs."""
    results = tmp_path_factory.mktemp("verify") / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HSAC_DATA", str(data_folder))
        for experiment in study.experiments.values():
            chosen = experiment.variant
            recipe = chosen.made_by()
            variant = build_variant(experiment.dataset, chosen.name, recipe, data_folder)
            write_variant(variant, variant_path(experiment))
        graph = Graph(study, results)
        for bundle in graph.bundles:
            variant = graph.variant(bundle.of.experiment)
            seeds = list(bundle.seeds)
            run_bundle(study, bundle.of, seeds, variant, data_folder, bundle.index)
    return results


@pytest.fixture
def graph(study, finished, data_folder, monkeypatch):
    """The study whose runs are finished. They are put back as they were after the test."""
    monkeypatch.setenv("HSAC_DATA", str(data_folder))
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    yield Graph(study, finished)
    for path, content in before.items():
        path.write_bytes(content)


def rewrite(graph, experiment, method, change, seed=1):
    """Change a record as one who knows of the index would: the index is made to agree."""
    cell = resolve.cell(graph.study, experiment, method)
    (bundle,) = graph.own_bundles(cell)
    path = bundle.record(cell, seed)
    record = read_json(path)
    change(record)
    write_json(path, record)
    write_index(bundle.index, cell, {s: bundle.record(cell, s) for s in bundle.seeds})


def test_same_machine_repeats_every_bit(graph, data_folder):
    again = partial(verify.verify, graph, data_folder, "100%", 0)
    certificate = again()
    assert certificate["counts"] == {"bitwise": 6, "within": 0, "outside": 0}
    assert all(run["differs"] == {} and run["environment"] == {} for run in certificate["runs"])
    assert json.dumps(certificate) == json.dumps(again())


def test_sampled_run_keeps_its_company(graph, data_folder):
    """It is trained again with those that it was trained with."""
    certificate = verify.verify(graph, data_folder, "1", 3)
    assert (certificate["sampled"], certificate["checked"], certificate["finished"]) == (1, 2, 6)
    assert len({(run["experiment"], run["method"]) for run in certificate["runs"]}) == 1


def forge_accuracy(record):
    record["metrics"]["last"]["test_accuracy"] += 0.01


def test_a_forged_result_is_outside(graph, data_folder):
    rewrite(graph, "digits", "sgd+hsac", forge_accuracy)
    certificate = verify.verify(graph, data_folder, "100%", 0)
    assert certificate["counts"] == {"bitwise": 5, "within": 0, "outside": 1}
    (found,) = [run for run in certificate["runs"] if run["verdict"] == "outside"]
    assert (found["method"], found["seed"]) == ("sgd+hsac", 1)
    assert list(found["differs"]) == ["metrics.last.test_accuracy"]
    assert found["differs"]["metrics.last.test_accuracy"]["deviation"] == pytest.approx(0.01)


def test_a_forged_status_is_outside(graph, data_folder):
    rewrite(graph, "disease", "adam+hsac", lambda record: record.update(status="diverged"))
    certificate = verify.verify(graph, data_folder, "100%", 0)
    (found,) = [run for run in certificate["runs"] if run["verdict"] == "outside"]
    assert found["differs"] == {"status": {"deviation": None, "tolerance": 0.0}}


def test_rounding_is_within_the_tolerance(graph, data_folder):
    """What rounding does is within, and a thousand times that is outside.

    The record says that the seed was trained alone, so its repetition sums in another order.
    """
    rewrite(graph, "digits", "sgd+hsac", lambda record: record.update(together=[1]))
    certificate = verify.verify(graph, data_folder, "100%", 0)
    assert certificate["counts"]["outside"] == 0
    (found,) = [run for run in certificate["runs"] if run["differs"]]
    assert found["verdict"] == "within"
    weights = found["differs"]["weights"]
    assert 0 < weights["deviation"] <= weights["tolerance"] < 1e-9

    path = graph.folder(resolve.cell(graph.study, "digits", "sgd+hsac")) / "seed1.npy"
    write_array(path, read_array(path) + 1000 * weights["tolerance"])

    def shift(record):
        record["weights"] = file_sha256(path)

    rewrite(graph, "digits", "sgd+hsac", shift)
    assert verify.verify(graph, data_folder, "100%", 0)["counts"]["outside"] == 1


def test_another_environment_is_named(graph, data_folder):
    def older(record):
        record["versions"]["torch"] = "1.0"

    rewrite(graph, "disease", "adam+hsac", older)
    certificate = verify.verify(graph, data_folder, "100%", 0)
    assert certificate["counts"]["bitwise"] == 6
    (found,) = [run["environment"] for run in certificate["runs"] if run["environment"]]
    assert found["torch"][0] == "1.0"
    assert any("torch 1.0 then" in line for line in verify.lines(certificate))


def test_edited_record_is_refused(graph, data_folder):
    path = next(graph.results.rglob("seed0.json"))
    path.write_text(path.read_text().replace("0.", "0.1", 1))
    with pytest.raises(InputError, match=r"seed0\.json: edited or damaged"):
        verify.verify(graph, data_folder, "100%", 0)


def test_stale_runs_are_left_out(graph, data_folder):
    """They are counted."""
    rewrite(graph, "digits", "sgd+hsac", lambda record: record.update(code="another"))
    certificate = verify.verify(graph, data_folder, "100%", 0)
    assert (certificate["stale"], certificate["sampled"]) == (1, 5)
    measure = Measure(radius=0.1, ascent_steps=3)
    other = Graph(graph.study.model_copy(update={"measure": measure}), graph.results)
    with pytest.raises(InputError, match="found 0 finished runs"):
        verify.verify(other, data_folder, "100%", 0)


def test_command_writes_the_certificate(graph, tmp_path, monkeypatch, capsys):
    """Its exit status says whether a run is outside."""
    (tmp_path / "config").symlink_to(CONFIG)
    (tmp_path / "results").mkdir()
    (tmp_path / "results/smoke").symlink_to(graph.results)
    monkeypatch.chdir(tmp_path)
    override = {"experiments": graph.study.dump()["experiments"], "device": "cpu"}
    command = ["verify", "--scale", "smoke", "--override", json.dumps(override), "--sample"]
    assert cli.main([*command, "2"]) == 0
    assert read_json(graph.results / "verification.json")["counts"]["outside"] == 0
    assert "bitwise" in capsys.readouterr().out
    rewrite(graph, "disease", "adam+hsac", forge_accuracy)
    assert cli.main([*command, "100%"]) == 1
    assert "metrics.last.test_accuracy: differs by 0.01" in capsys.readouterr().out
    assert cli.main([*command, "many"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@given(st.integers(1, 10_000), st.floats(0.01, 100))
def test_share_is_rounded_up(runs, share):
    """It is never more than all runs."""
    size = verify.sample_size(f"{share}%", runs)
    assert 1 <= size <= runs
    assert size - 1 < share / 100 * runs <= size + 1e-6


@pytest.mark.parametrize("sample", ["", "%", "0", "0%", "-1", "101%", "nan%", "inf%", "2.5", "all"])
def test_an_odd_sample_is_named(sample):
    with pytest.raises(InputError, match="--sample: found"):
        verify.sample_size(sample, 10)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1.0, 2], [1.0, 5], 3),
        (["ok"], ["ok"], 0),
        (["ok"], ["error"], math.inf),
        ([None], [None], 0),
        ([None], [1.0], math.inf),
        ([1.0], [1.0, 1.0], math.inf),
        ([True], [False], 1),
        ([math.nan], [math.nan], 0),
        ([math.nan], [1.0], math.inf),
    ],
)
def test_deviation(a, b, expected):
    assert verify._deviation(a, b) == expected


def test_weights_count(tmp_path):
    for name, value in (("a", 1.0), ("b", 1.5)):
        np.save(tmp_path / f"{name}.npy", np.array([0.0, value]))
    a, b = (
        verify.quantities({"weights": "x", "seconds": 1.0}, tmp_path / f"{name}.npy")
        for name in "ab"
    )
    assert verify.deviations(a, b) == {"weights": 0.5}
    assert file_sha256(tmp_path / "a.npy") != file_sha256(tmp_path / "b.npy")
