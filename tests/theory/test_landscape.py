"""Trained networks measured, and certificates with an informed prior, on the digits."""

import copy
import csv

import numpy as np
import pytest
import torch
from studies import cell_of, recipe_of, smoke_keys, unchecked

from hsac.data import build_variant, load_variant, write_variant
from hsac.errors import InputError
from hsac.files import read_array, read_json, write_rows
from hsac.hypergradient import HessianOperator
from hsac.ops.runner import run_bundle
from hsac.theory import informed, landscape
from hsac.train.inputs import load_inputs
from hsac.train.setup import prepare
from hsac.train.tasks.types import plain_loss


@pytest.fixture(scope="module")
def keys():
    keys = smoke_keys()
    keys["experiments"]["digits"]["training"] |= {"epochs": 3, "evaluations": 1}
    keys["experiments"]["digits"]["model"] |= {"hidden": 8, "dim": 3}
    return keys


@pytest.fixture(scope="module")
def variant(keys, data_folder, tmp_path_factory):
    recipe = recipe_of(keys["experiments"]["digits"])
    path = tmp_path_factory.mktemp("variants") / "digits.json"
    write_variant(build_variant("digits", "digits", recipe, data_folder), path)
    return path


@pytest.fixture(scope="module")
def bundles(keys, variant, data_folder, tmp_path_factory):
    """Index and cell of two trained bundles of two seeds."""
    found = {}
    for method in ("sgd+fixed@0.3", "sgd+hsac"):
        study, cell = cell_of(keys, "digits", method)
        index = tmp_path_factory.mktemp("runs") / "block0.json"
        run_bundle(study, cell, [0, 1], variant, data_folder, index)
        found[index] = cell
    return found


@pytest.fixture(scope="module")
def rows(keys, bundles, variant, data_folder, tmp_path_factory):
    kept = landscape.Kept(tmp_path_factory.mktemp("kept"), "code")
    return landscape.measure(
        unchecked(keys), bundles, variant, data_folder, kept, lambda text: None
    )


def test_measures_the_trained_network(bundles, variant, data_folder, rows):
    index, cell = next(iter(bundles.items()))
    made = prepare(load_inputs("cpu", cell, load_variant(variant), data_folder), [1])
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


def test_rows_are_kept_until_changes(keys, bundles, variant, data_folder, tmp_path, rows):
    """What was measured is taken from there until something changes."""
    study, measured = unchecked(keys), []
    for code in ("a", "a", "b"):
        said: list[str] = []
        found = landscape.measure(
            study,
            bundles,
            variant,
            data_folder,
            landscape.Kept(tmp_path, code),
            said.append,
        )
        assert found == rows
        measured.append(len(said))
    assert measured == [4, 0, 4]


def test_a_diverged_run_has_no_row(keys, variant, data_folder, tmp_path):
    wild = copy.deepcopy(keys)
    wild["rules"]["weights"]["sgd"]["lr"] = 1e30
    study, cell = cell_of(wild, "digits", "sgd+fixed@0.3")
    run_bundle(study, cell, [0], variant, data_folder, tmp_path / "block0.json")
    bundles = {tmp_path / "block0.json": cell}
    kept = landscape.Kept(tmp_path, "code")
    found = landscape.measure(study, bundles, variant, data_folder, kept, lambda text: None)
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


def test_informed_prior_beats_start_weights(keys, variant, data_folder, rows):
    longer = copy.deepcopy(keys)
    longer["experiments"]["digits"]["training"] |= {"epochs": 25}
    study, cell = cell_of(longer, "digits", "sgd+hsac")
    found = informed.informed(study, cell, [0], variant, data_folder)
    prior, trained = found
    assert [row["posterior"] for row in found] == ["prior", "trained on"]
    assert prior["kl"] == 0 < trained["kl"]
    assert prior["examples"] == trained["examples"] < rows[0]["examples"]
    assert prior["bound"] < rows[2]["bound"]
    assert not prior["vacuous"]
    assert found == informed.informed(study, cell, [0], variant, data_folder)


def test_graphs_have_no_informed_prior(keys, data_folder, tmp_path):
    recipe = recipe_of(keys["experiments"]["disease"])
    write_variant(
        build_variant("disease", "disease", recipe, data_folder), tmp_path / "disease.json"
    )
    study, cell = cell_of(keys, "disease", "adam+hsac")
    with pytest.raises(InputError, match=r"experiments.disease.informed: found 'adam\+hsac'"):
        informed.informed(study, cell, [0], tmp_path / "disease.json", data_folder)
