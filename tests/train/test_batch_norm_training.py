"""A network with batch normalisation through all that is done with one.

Training, records, measuring, certificates.
"""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from hsac import config, layout
from hsac.data import build_variant, load_variant, write_variant
from hsac.ops.runner import run_bundle, train_seeds
from hsac.ops.verify import verify
from hsac.theory.informed import informed
from hsac.theory.landscape import measured
from hsac.train.inputs import load_inputs
from hsac.train.setup import prepare

CONFIG = Path(__file__).parent.parent.parent / "config"
CERTIFICATE = {
    "delta": 0.05,
    "draws": 2,
    "pilot_draws": 1,
    "sigmas": [0.01],
    "alphas": [1.0],
    "curvature_points": 50,
}


@pytest.fixture(scope="module")
def settings():
    """Digits with a ResNet-20, two steps of training, augmented."""
    settings = config.load("smoke", folder=CONFIG)
    digits = copy.deepcopy(settings["experiments"]["digits"])
    digits["model"] = {"name": "resnet", "depth": 20}
    digits["training"] |= {"epochs": 1, "batch": 20, "evaluations": 1, "augment": "crop_flip"}
    digits["variant"]["largest"] = 5
    digits["rules"]["curvature"]["hsac"] = {"period": 1, "warm_up": 0.0}
    theory = settings["theory"] | {"certificate": CERTIFICATE, "probes": 2}
    theory["informed"] = {"share": 0.5, "rate": 0.1, "sigmas": [0.01], "draws": 2}
    return settings | {"experiments": {"digits": digits}, "theory": theory, "seeds": [0, 1]}


@pytest.fixture(scope="module")
def variant(settings, data_folder, tmp_path_factory):
    given = settings["experiments"]["digits"]["variant"]
    path = tmp_path_factory.mktemp("variants") / "digits.json"
    write_variant(
        build_variant(
            "digits", "plain", {k: v for k, v in given.items() if k != "name"}, data_folder
        ),
        path,
    )
    return path


@pytest.mark.parametrize("method", ["sgd+hsac", "sam+hsac", "sgd+learned", "sgd+euclidean"])
def test_trains(settings, variant, data_folder, method):
    cell = config.cell(settings, "digits", method)
    ((record, weights),) = train_seeds(settings, cell, [0], load_variant(variant), data_folder)
    assert record["status"] == "ok"
    assert record["steps"] == 2
    assert np.isfinite(weights).all()
    assert record["metrics"]["last"]["test_nll"] < 10
    if method.endswith("hsac"):
        assert len(record["outer"]["step"]) == 2
        assert record["outer"]["fallback"] == [False, False]
        assert record["curvature"]["final"] != [0.3]


def test_methods_see_the_same_augmented_batches(settings, variant, data_folder):
    still = copy.deepcopy(settings)
    still["experiments"]["digits"]["rules"]["curvature"]["hsac"] |= {
        "step": 1e-12
    }  # draws its own batches besides
    found = []
    for method in ("sgd+fixed@0.3", "sgd+hsac"):
        cell = config.cell(still, "digits", method)
        found.append(train_seeds(still, cell, [0], load_variant(variant), data_folder)[0][1])
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-6)


def test_is_measured_and_certified(settings, variant, data_folder):
    cell = config.cell(settings, "digits", "sgd+hsac")
    ((record, weights),) = train_seeds(settings, cell, [0], load_variant(variant), data_folder)
    made = prepare(load_inputs(settings, cell, load_variant(variant), data_folder), [0])
    options = {k: v for k, v in settings["theory"].items() if k != "studies"}
    row = measured(options, cell, made, torch.from_numpy(weights), record)
    assert row["top_eigenvalue"] > 0
    assert 0 <= row["bound"] <= 1
    assert 0 <= row["held_out_error"] <= 1


def test_gets_informed_certificate(settings, variant, data_folder):
    """A certificate with an informed prior."""
    cell = config.cell(settings, "digits", "sgd+hsac")
    rows = informed(settings, cell, [0], variant, data_folder)
    assert [row["posterior"] for row in rows] == ["prior", "trained on"]
    assert all(0 <= row["bound"] <= 1 for row in rows)


def test_is_verified(settings, variant, data_folder, tmp_path, monkeypatch):
    cell, given = config.cell(settings, "digits", "sgd+hsac"), settings | {"seeds": [0]}
    monkeypatch.setattr(layout, "variant_path", lambda experiment: variant)
    monkeypatch.setattr(config, "trained_cells", lambda settings: [cell])
    (index,) = layout.bundles(given, tmp_path, [cell])
    run_bundle(given, cell, [0], variant, data_folder, index)
    assert [row["verdict"] for row in verify(given, tmp_path, data_folder, "1", 0)["runs"]] == [
        "bitwise"
    ]
