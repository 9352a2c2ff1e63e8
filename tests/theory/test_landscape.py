"""Trained networks measured, and certificates with an informed prior, on the digits."""

import copy
import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from hsac import config
from hsac.data import build_variant, load_variant, write_variant
from hsac.errors import InputError
from hsac.files import read_array, read_json, write_rows
from hsac.hypergradient import HessianOperator
from hsac.ops.runner import run_bundle
from hsac.theory import informed, landscape
from hsac.train.inputs import load_inputs
from hsac.train.setup import prepare
from hsac.train.tasks.types import plain_loss

CONFIG = Path(__file__).parent.parent.parent / "config"


@pytest.fixture(scope="module")
def settings():
    settings = config.load("smoke", folder=CONFIG)
    settings["experiments"]["digits"]["training"] |= {"epochs": 3, "evaluations": 1}
    settings["experiments"]["digits"]["model"] |= {"hidden": 8, "dim": 3}
    return settings


@pytest.fixture(scope="module")
def variant(settings, data_folder, tmp_path_factory):
    recipe = {k: v for k, v in settings["experiments"]["digits"]["variant"].items() if k != "name"}
    path = tmp_path_factory.mktemp("variants") / "digits.json"
    write_variant(build_variant("digits", "digits", recipe, data_folder), path)
    return path


@pytest.fixture(scope="module")
def bundles(settings, variant, data_folder, tmp_path_factory):
    """Index and cell of two trained bundles of two seeds."""
    found = {}
    for method in ("sgd+fixed@0.3", "sgd+hsac"):
        cell = config.cell(settings, "digits", method)
        index = tmp_path_factory.mktemp("runs") / "block0.json"
        run_bundle(settings, cell, [0, 1], variant, data_folder, index)
        found[index] = cell
    return found


@pytest.fixture(scope="module")
def rows(settings, bundles, variant, data_folder, tmp_path_factory):
    kept = landscape.Kept(tmp_path_factory.mktemp("kept"), "code")
    options = config.measured_options(settings)
    return landscape.measure(
        settings, options, bundles, variant, data_folder, kept, lambda text: None
    )


def test_measures_the_trained_network(settings, bundles, variant, data_folder, rows):
    index, cell = next(iter(bundles.items()))
    made = prepare(load_inputs(settings, cell, load_variant(variant), data_folder), [1])
    w = torch.from_numpy(read_array(index.parent / "seed1.npy"))[None].requires_grad_()
    c = torch.tensor([[0.3]], dtype=torch.float64, requires_grad=True)
    batch = made.task.probe()
    dense = HessianOperator(
        lambda w, c: plain_loss(made.task, made.ensemble, w, c, batch), w, c
    ).dense()[0]
    values = torch.linalg.eigvalsh(dense)
    row = rows[1]
    assert (row["method"], row["seed"]) == ("sgd+fixed@0.3", 1)
    assert row["top_eigenvalue"] == pytest.approx(float(values[-1]), rel=1e-3)
    assert row["bottom_eigenvalue"] == pytest.approx(float(values[0]), rel=1e-2)
    assert abs(row["trace"] - float(dense.trace())) < 5 * row["trace_standard_error"]
    last = read_json(index.parent / "seed1.json")["metrics"]["last"]
    assert row["held_out_error"] == pytest.approx(1 - last["validation_accuracy"], abs=0.01)


def test_certificate_pays_for_learned_curvature(rows):
    fixed, learned = rows[0], rows[2]
    assert learned["method"] == "sgd+hsac"
    assert fixed["examples"] == learned["examples"] > 900
    for row in (fixed, learned):
        assert row["empirical"] <= row["empirical_upper"] <= row["bound"] <= 1
        assert row["vacuous"] == (row["bound"] >= row["chance"])
    paid = [row["slack"] * row["examples"] - row["kl"] for row in (fixed, learned)]
    assert paid[1] - paid[0] == pytest.approx(np.log(50))


def test_rows_are_kept_until_changes(settings, bundles, variant, data_folder, tmp_path, rows):
    """What was measured is taken from there until something changes."""
    measured, options = [], config.measured_options(settings)
    for code in ("a", "a", "b"):
        said: list[str] = []
        found = landscape.measure(
            settings,
            options,
            bundles,
            variant,
            data_folder,
            landscape.Kept(tmp_path, code),
            said.append,
        )
        assert found == rows
        measured.append(len(said))
    assert measured == [4, 0, 4]


def test_a_diverged_run_has_no_row(settings, variant, data_folder, tmp_path):
    wild = copy.deepcopy(settings)
    wild["rules"]["weights"]["sgd"]["lr"] = 1e6
    cell = config.cell(wild, "digits", "sgd+fixed@0.3")
    run_bundle(wild, cell, [0], variant, data_folder, tmp_path / "block0.json")
    bundles = {tmp_path / "block0.json": cell}
    options = config.measured_options(wild)
    kept = landscape.Kept(tmp_path, "code")
    found = landscape.measure(wild, options, bundles, variant, data_folder, kept, lambda text: None)
    assert found == []
    write_rows(tmp_path / "rows.csv", [])
    assert list(csv.DictReader((tmp_path / "rows.csv").open())) == []


def test_prior_and_certified_examples_are_disjoint(variant):
    chosen = load_variant(variant)
    rows = np.asarray(chosen["indices"]["train"])
    group = np.arange(rows.max() + 1) // 3
    first, second = (set(part["indices"]["train"]) for part in informed.split(chosen, group, 0.4))
    assert first | second == set(rows)
    assert not {group[r] for r in first} & {group[r] for r in second}
    assert len({group[r] for r in first}) == round(0.4 * len(np.unique(group[rows])))
    labels = {"train": list(range(len(rows))), "validation": [0]}
    for part in informed.split(chosen | {"labels": labels}, group, 0.4):
        assert [rows[i] for i in part["labels"]["train"]] == part["indices"]["train"]
        assert part["labels"]["validation"] == [0]


def test_informed_prior_beats_start_weights(settings, variant, data_folder, rows):
    longer = copy.deepcopy(settings)
    longer["experiments"]["digits"]["training"] |= {"epochs": 25}
    cell = config.cell(longer, "digits", "sgd+hsac")
    found = informed.informed(longer, cell, [0], variant, data_folder)
    prior, trained = found
    assert [row["posterior"] for row in found] == ["prior", "trained on"]
    assert prior["kl"] == 0 < trained["kl"]
    assert prior["examples"] == trained["examples"] < rows[0]["examples"]
    assert prior["bound"] < rows[2]["bound"]
    assert not prior["vacuous"]
    assert found == informed.informed(longer, cell, [0], variant, data_folder)


def test_graphs_have_no_informed_prior(settings, data_folder, tmp_path):
    recipe = {k: v for k, v in settings["experiments"]["disease"]["variant"].items() if k != "name"}
    write_variant(
        build_variant("disease", "disease", recipe, data_folder), tmp_path / "disease.json"
    )
    cell = config.cell(settings, "disease", "adam+hsac")
    with pytest.raises(InputError, match=r"experiments.disease.informed: found 'adam\+hsac'"):
        informed.informed(settings, cell, [0], tmp_path / "disease.json", data_folder)
