"""Small cells of every kind of data, on what is embedded."""

from types import SimpleNamespace

import numpy as np
import pytest
from studies import keys_of, recipe_of

from hsac.data import build_variant, load_images
from hsac.train import inputs

SMALL = {
    "digits": {"model": {"name": "mlp", "hidden": 4, "dim": 2, "clip": 2.0, "pool": 4}},
    "disease": {"model": {"name": "hgcn", "hidden": 2, "dim": 2, "clip": 2.0}},
    "glyphs_few_shot": {"model": {"name": "conv4_protonet", "width": 2, "groups": 1, "clip": 2.0}},
}
EPOCHS = {"digits": 1, "disease": 20, "glyphs_few_shot": 1}  # 20 steps each


@pytest.fixture(scope="session")
def small(request, data_folder):
    """Settings of 20 steps a run, and variants by experiment.

    These are of images, of a graph and of episodes (digits, twice as large).
    """
    keys = keys_of("default") | {"device": "cpu"}
    variants = {}
    for name, changes in SMALL.items():
        experiment = keys["experiments"][name] | changes
        batch = min(32, experiment["training"]["batch"])
        experiment["training"] = experiment["training"] | {
            "epochs": EPOCHS[name],
            "evaluations": 1,
            "batch": batch,
        }
        if name == "glyphs_few_shot":
            # sgd is not this experiment's rule, and needs a rate of its own.
            experiment["rules"]["weights"]["sgd"] = {"lr": 1e-4}
        keys["experiments"][name] = experiment
        recipe = recipe_of(experiment)
        if name != "glyphs_few_shot":
            variants[name] = build_variant(experiment["dataset"], "plain", recipe, data_folder)
    variants["digits"]["indices"]["train"] = variants["digits"]["indices"]["train"][: 20 * 32]
    variants["glyphs_few_shot"] = _episodes(load_images("digits", data_folder))
    return SimpleNamespace(keys=keys, variants=variants, data=data_folder)


def _episodes(images):
    """20 training episodes of the classes 0 to 5, 5 of validation and test.

    They are 2-way 1-shot with 2 queries.
    """
    stream = np.random.default_rng(0)

    def draw(classes, count):
        ways = [stream.permutation(classes)[:2] for _ in range(count)]
        return np.array(
            [
                [stream.permutation(np.flatnonzero(images.label == c))[:3] for c in way]
                for way in ways
            ],
            dtype=np.int64,
        )

    episodes = {
        "train": draw([0, 1, 2, 3, 4, 5], 20),
        "validation": draw([6, 7], 5),
        "test": draw([8, 9], 5),
    }
    made = {"name": "tiny", "data_sha256": images.sha256, "recipe": {"recipe": "episodes"}}
    return made | {"episodes": episodes, "shot": 1, "query": 2}


@pytest.fixture
def doubled(monkeypatch, data_folder):
    """Make the few-shot images digits of 16 × 16, so that four poolings leave something."""
    inner = inputs.load_arrays

    def load(name, root, kind=None):
        arrays, sha256 = inner("digits" if name == "glyphs" else name, root, kind)
        if name == "glyphs":
            arrays["image"] = np.kron(arrays["image"], np.ones((1, 2, 2), np.uint8))
        return arrays, sha256

    monkeypatch.setattr(inputs, "load_arrays", load)
