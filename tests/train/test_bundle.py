"""Trainings: the same whichever way the seeds are trained, and what comes of them."""

import copy
import json

import numpy as np
import pytest
import torch
from studies import cell_of, recipe_of, smoke_keys

from hsac.data import build_variant, load_variant, write_variant
from hsac.errors import InputError
from hsac.ops.device import choose_device
from hsac.ops.runner import train_seeds
from hsac.train.inputs import load_inputs
from hsac.train.setup import prepare


@pytest.fixture(scope="module")
def keys():
    keys = smoke_keys()
    keys["experiments"]["digits"]["training"] |= {"epochs": 2, "evaluations": 2}
    keys["experiments"]["disease"]["training"] |= {"epochs": 12, "evaluations": 2}
    return keys


@pytest.fixture(scope="module")
def variants(keys, data_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("variants")
    out = {}
    for name in ("digits", "disease"):
        recipe = recipe_of(keys["experiments"][name])
        dataset = keys["experiments"][name]["dataset"]
        out[name] = folder / f"{name}.json"
        write_variant(build_variant(dataset, name, recipe, data_folder), out[name])
    return out


def records(keys, experiment, method, seeds, variants, data_folder):
    study, cell = cell_of(keys, experiment, method)
    trained = train_seeds(study, cell, seeds, load_variant(variants[experiment]), data_folder)
    return [record for record, _ in trained]


@pytest.mark.parametrize(
    ("experiment", "method"),
    [("digits", "sgd+hsac"), ("digits", "sam+hsac"), ("disease", "adam+hsac")],
)
def test_bundled_and_looped_seeds_agree(keys, variants, data_folder, experiment, method):
    together = records(keys, experiment, method, [3, 4], variants, data_folder)
    alone = [records(keys, experiment, method, [seed], variants, data_folder)[0] for seed in (3, 4)]
    for a, b in zip(together, alone, strict=True):
        assert a["seed"] == b["seed"]
        for key in ("curvature", "sharpness"):
            np.testing.assert_allclose(numbers(a[key]), numbers(b[key]), rtol=1e-6)
        np.testing.assert_allclose(
            numbers(a["metrics"]["last"]), numbers(b["metrics"]["last"]), rtol=1e-6
        )


@pytest.mark.parametrize(
    ("experiment", "method"), [("digits", "sgd+fixed@0.3"), ("disease", "adam+fixed@0.3")]
)
def test_selected_epoch_keeps_every_answer(keys, variants, data_folder, experiment, method):
    """The answer to every test item."""
    for record in records(keys, experiment, method, [0, 1], variants, data_folder):
        selected = record["metrics"]["selected"]
        assert len(selected["test_right"]) == load_variant(variants[experiment])["counts"]["test"]
        assert set(selected["test_right"]) == {0, 1}
        assert selected["test_answers"] == 1
        assert np.mean(selected["test_right"]) == pytest.approx(
            selected["test_accuracy"], abs=1e-12
        )
        assert "test_right" not in record["metrics"]["last"]


def numbers(value):
    if isinstance(value, dict):
        return [n for v in value.values() for n in numbers(v)]
    if isinstance(value, list):
        return [n for v in value for n in numbers(v)]
    return [value] if isinstance(value, int | float) else []


def test_same_seed_same_bytes(keys, variants, data_folder):
    first, second = (
        records(keys, "digits", "sgd+hsac", [0, 1], variants, data_folder) for _ in range(2)
    )
    for a, b in zip(first, second, strict=True):
        for record in (a, b):
            del record["seconds"], record["peak_memory_mib"]
        assert json.dumps(a) == json.dumps(b)


def test_methods_share_start_and_batches(keys, variants, data_folder):
    # fixed and learned at one start value differ only by what learning does to c: with a rate of
    # almost 0, nothing.
    still = copy.deepcopy(keys)
    still["rules"]["curvature"]["learned"] = {"lr": 1e-12}
    fixed = records(still, "digits", "sgd+fixed@0.3", [0], variants, data_folder)[0]
    learned = records(still, "digits", "sgd+learned", [0], variants, data_folder)[0]
    np.testing.assert_allclose(
        numbers(fixed["metrics"]["last"]), numbers(learned["metrics"]["last"]), rtol=1e-6
    )


def test_drift_moves_as_often_as_hsac(keys, variants, data_folder):
    hsac = records(keys, "disease", "adam+hsac", [0], variants, data_folder)[0]
    up = copy.deepcopy(keys)
    up["experiments"]["disease"]["methods"].append("adam+drift_up")
    drift = records(up, "disease", "adam+drift_up", [0], variants, data_folder)[0]
    moved = np.log(drift["curvature"]["final"][0] / 0.3) / 0.25
    assert round(moved) == len(hsac["outer"]["step"])


def test_divergence_has_a_reason(keys, variants, data_folder):
    """It is a result."""
    wild = copy.deepcopy(keys)
    wild["rules"]["weights"]["sgd"]["lr"] = 1e30
    record = records(wild, "digits", "sgd+fixed@0.3", [0], variants, data_folder)[0]
    assert record["status"] == "diverged"
    assert (
        record["reason"].endswith("not finite at step 2")
        or "not finite at step" in record["reason"]
    )
    json.dumps(record, allow_nan=False)


def prepared(keys, variants, data_folder):
    """A fixed curvature's training of the digits."""
    study, cell = cell_of(keys, "digits", "sgd+fixed@0.3")
    return prepare(
        load_inputs(study.device, cell, load_variant(variants["digits"]), data_folder), [0, 1]
    )


def test_risk_counts_near_copies_once(keys, variants, data_folder):
    made = prepared(keys, variants, data_folder)
    task, c = made.task, torch.full((2, 1), 0.3, dtype=torch.float64)
    logits = made.ensemble.call("forward", made.w, c, task.pixels(task.rows["train"]), shared=True)
    wrong = (logits.argmax(-1) != task.y["train"]).double()
    assert task.examples == len(task.y["train"])  # every digit is a group of its own
    torch.testing.assert_close(task.risk(made.ensemble, made.w, c), wrong.mean(-1))
    task.single = torch.arange(0, 900, 3)
    torch.testing.assert_close(task.risk(made.ensemble, made.w, c), wrong[:, :900:3].mean(-1))


def test_held_out_risk_has_training_distribution(keys, variants, data_folder):
    made = prepared(keys, variants, data_folder)
    task, c = made.task, torch.full((2, 1), 0.3, dtype=torch.float64)
    logits = made.ensemble.call(
        "forward", made.w, c, task.pixels(task.rows["validation"]), shared=True
    )
    wrong = (logits.argmax(-1) != task.y["validation"]).double()
    task.y["train"] = torch.tensor([0] * 75 + [1] * 25 + [2] * 99)
    task.single = torch.arange(100)  # a long tail: three quarters class 0, the copies do not count
    want = 0.75 * wrong[:, task.y["validation"] == 0].mean(-1) + 0.25 * wrong[
        :, task.y["validation"] == 1
    ].mean(-1)
    torch.testing.assert_close(task.held_out_risk(made.ensemble, made.w, c), want)


def test_an_absent_gpu_is_named():
    with pytest.raises(InputError, match="device: found 'cuda:77'; allowed here is auto, cpu"):
        choose_device("cuda:77")
