"""A network with batch normalisation through all that is done with one.

Training, records, measuring, certificates.
"""

import copy

import numpy as np
import pytest
import torch
from studies import cell_of, smoke_keys

from hsac.data import build_variant, load_variant, write_variant
from hsac.ops.runner import run_bundle, train_seeds
from hsac.ops.verify import verify
from hsac.study import graph
from hsac.theory.informed import informed
from hsac.theory.landscape import measured
from hsac.train.inputs import load_inputs
from hsac.train.setup import prepare

CERTIFICATE = {
    "delta": 0.05,
    "draws": 2,
    "pilot_draws": 1,
    "sigmas": [0.01],
    "alphas": [1.0],
    "curvature_points": 50,
}


@pytest.fixture(scope="module")
def keys():
    """Digits with a ResNet-20, two steps of training, augmented."""
    keys = smoke_keys()
    digits = copy.deepcopy(keys["experiments"]["digits"])
    digits["model"] = {"name": "resnet", "depth": 20}
    digits["training"] |= {"epochs": 1, "batch": 20, "evaluations": 1, "augment": "crop_flip"}
    digits["variant"]["largest"] = 5
    digits["rules"]["curvature"]["hsac"] = {"period": 1, "warm_up": 0.0}
    theory = keys["theory"] | {"certificate": CERTIFICATE, "probes": 2}
    theory["informed"] = {"share": 0.5, "rate": 0.1, "sigmas": [0.01], "draws": 2}
    return keys | {"experiments": {"digits": digits}, "theory": theory, "seeds": [0, 1]}


@pytest.fixture(scope="module")
def variant(keys, data_folder, tmp_path_factory):
    given = keys["experiments"]["digits"]["variant"]
    path = tmp_path_factory.mktemp("variants") / "digits.json"
    write_variant(
        build_variant(
            "digits", "plain", {k: v for k, v in given.items() if k != "name"}, data_folder
        ),
        path,
    )
    return path


@pytest.mark.parametrize("method", ["sgd+hsac", "sam+hsac", "sgd+learned", "sgd+euclidean"])
def test_trains(keys, variant, data_folder, method):
    study, cell = cell_of(keys, "digits", method)
    ((record, weights),) = train_seeds(study, cell, [0], load_variant(variant), data_folder)
    assert record["status"] == "ok"
    assert record["steps"] == 2
    assert np.isfinite(weights).all()
    assert record["metrics"]["last"]["test_nll"] < 10
    if method.endswith("hsac"):
        assert len(record["outer"]["step"]) == 2
        assert record["outer"]["fallback"] == [False, False]
        assert record["curvature"]["final"] != [0.3]


def test_methods_see_the_same_augmented_batches(keys, variant, data_folder):
    still = copy.deepcopy(keys)
    still["experiments"]["digits"]["rules"]["curvature"]["hsac"] |= {
        "step": 1e-12
    }  # draws its own batches besides
    found = []
    for method in ("sgd+fixed@0.3", "sgd+hsac"):
        study, cell = cell_of(still, "digits", method)
        found.append(train_seeds(study, cell, [0], load_variant(variant), data_folder)[0][1])
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-6)


def test_is_measured_and_certified(keys, variant, data_folder):
    study, cell = cell_of(keys, "digits", "sgd+hsac")
    ((record, weights),) = train_seeds(study, cell, [0], load_variant(variant), data_folder)
    made = prepare(load_inputs(study.device, cell, load_variant(variant), data_folder), [0])
    row = measured(study.theory, cell, made, torch.from_numpy(weights), record)
    assert row["top_eigenvalue"] > 0
    assert 0 <= row["bound"] <= 1
    assert 0 <= row["held_out_error"] <= 1


def test_gets_informed_certificate(keys, variant, data_folder):
    """A certificate with an informed prior."""
    study, cell = cell_of(keys, "digits", "sgd+hsac")
    rows = informed(study, cell, [0], variant, data_folder)
    assert [row["posterior"] for row in rows] == ["prior", "trained on"]
    assert all(0 <= row["bound"] <= 1 for row in rows)


def test_is_verified(keys, variant, data_folder, tmp_path, monkeypatch):
    alone = copy.deepcopy(keys) | {"seeds": [0]}
    alone["experiments"]["digits"]["methods"] = ["sgd+hsac"]
    monkeypatch.setattr(graph, "variant_path", lambda experiment: variant)
    study, cell = cell_of(alone, "digits", "sgd+hsac")
    work = graph.Graph(study, tmp_path)
    (bundle,) = work.bundles
    run_bundle(study, cell, [0], variant, data_folder, bundle.index)
    (row,) = verify(work, data_folder, "1", 0)["runs"]
    assert row["verdict"] == "bitwise"
