"""Every space, head and network of few-shot learning beats chance in a short training."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
from studies import cell_of

from hsac.data import load_images
from hsac.ops.runner import train_seeds
from hsac.ops.timings import shape

HEADS = {
    "lorentz_mlr": None,
    "product_mlr": None,
    "three": {"rule": "product_mlr", "signs": [-1, -1, 1], "scale": "learned"},
    "distances": {"rule": "prototypes", "power": 1},
}
MLP = {"name": "mlp", "hidden": 32, "dim": 6}
WIDE = {"name": "wide_resnet", "depth": 10, "width": 1}


def planned(small, experiment, model, method, epochs=1):
    """Return the study and the cell of a short training, in which c may move often."""
    keys = copy.deepcopy(small.keys)
    keys["rules"]["heads"] |= HEADS
    keys["rules"]["curvature"]["hsac"] = {"period": 10, "warm_up": 0.0}
    changed = keys["experiments"][experiment]
    changed["model"] = model
    changed["training"] = changed["training"] | {"epochs": epochs}
    return cell_of(keys, experiment, method)


def trained(small, experiment, *choice):
    """Return the record of a short training."""
    study, cell = planned(small, experiment, *choice)
    ((record, weights),) = train_seeds(study, cell, [0], small.variants[experiment], small.data)
    assert record["status"] == "ok"
    assert np.isfinite(weights).all()
    return record


@pytest.fixture
def many_tests(small, doubled):
    """The few-shot variant with 100 test episodes of the two test classes, 400 queries."""
    stream, labels = np.random.default_rng(1), load_images("digits", small.data).label

    def episode():
        return [stream.permutation(np.flatnonzero(labels == c))[:3] for c in (8, 9)]

    variant = copy.deepcopy(small.variants["glyphs_few_shot"])
    variant["episodes"]["test"] = np.array([episode() for _ in range(100)], dtype=np.int64)
    return SimpleNamespace(**vars(small) | {"variants": {"glyphs_few_shot": variant}})


@pytest.mark.parametrize("rule", ["learned", "hsac"])
@pytest.mark.parametrize("head", HEADS)
def test_heads_beat_chance(small, head, rule):
    """Chance is 0.1, and every curvature of the head moves."""
    record = trained(small, "digits", MLP, f"adam+{rule}+{head}", 3)
    assert record["metrics"]["last"]["test_accuracy"] > 0.4
    names = {"product_mlr": ["head.0.hyperbolic", "head.1.spherical"]}
    names["three"] = ["head.0.hyperbolic", "head.1.hyperbolic", "head.2.spherical"]
    assert record["curvature"]["names"] == names.get(head, ["head"])
    final = record["curvature"]["final"]
    assert all(abs(c - 0.3) > 1e-3 for c in final)
    assert len(set(final)) == len(final)


def test_heads_in_flat_space_are_trained(small):
    record = trained(small, "digits", MLP, "adam+euclidean+product_mlr", 3)
    assert record["metrics"]["last"]["test_accuracy"] > 0.4
    assert record["curvature"]["final"] == [0.0, 0.0]


@pytest.mark.parametrize("method", ["adam+learned", "adam+hsac"])
def test_wide_resnet_beats_chance(small, method):
    record = trained(small, "digits", WIDE, method, 2)
    assert record["metrics"]["last"]["test_accuracy"] > 0.3
    assert record["curvature"]["final"] != [0.3]


@pytest.mark.parametrize("method", ["adam+learned", "adam+hsac"])
@pytest.mark.parametrize(
    "model",
    [
        {"name": "resnet12", "widths": [8, 16], "groups": 4},
        {"name": "conv4_protonet", "width": 8, "power": 1},
    ],
    ids=["resnet12", "distances"],
)
def test_protonets_beat_chance(many_tests, model, method):
    """On two classes that training did not have: by luck 0.6 is four deviations above a half."""
    record = trained(many_tests, "glyphs_few_shot", model, method, 6)
    assert record["metrics"]["last"]["test_accuracy"] > 0.6
    assert record["curvature"]["final"] != [0.3]


def test_new_parameters_have_own_shapes(small):
    """A timing of one is not taken for that of another."""
    models = [MLP, WIDE, WIDE | {"width": 2}]
    cells = [planned(small, "digits", model, "adam+fixed@0.3")[1] for model in models]
    cells += [planned(small, "digits", MLP, f"adam+fixed@0.3+{head}")[1] for head in HEADS]
    assert len({shape(cell.config.dump()) for cell in cells}) == len(cells)
