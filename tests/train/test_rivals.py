"""Each rival of a bi-level curvature learns something in each setting, in a few seconds."""

import copy

import numpy as np
import pytest
from studies import cell_of

from hsac.data import build_variant, load_images
from hsac.ops.runner import train_seeds

# By rule, the end of a method's name.
RIVALS = {
    "joint": "joint@0.3",
    "delta_learned": "delta_learned@0.3",
    "ramp": "ramp@0.3",
    "halving": "halving",
    "reparametrised": "reparametrised@0.3",
}
SHARED = {"validation": 0.2, "draw": 0}
RECIPES = {
    "classification": {"recipe": "plain", **SHARED},
    "long_tailed": {"recipe": "long_tail", "profile": "exp", "factor": 10, **SHARED},
    "noisy": {
        "recipe": "label_noise",
        "kind": "symmetric_exclusive",
        "rate": 0.4,
        "largest": 100,
        **SHARED,
    },
}


@pytest.fixture(scope="module")
def images(data_folder):
    return {
        name: build_variant("digits", name, recipe, data_folder) for name, recipe in RECIPES.items()
    }


@pytest.fixture(scope="module")
def episodes(small):
    """The small episodes with 50 others of the training classes as the test part: 200 answers."""
    label = load_images("digits", small.data).label
    stream, found = np.random.default_rng(1), []
    for _ in range(50):
        ways = stream.permutation(6)[:2]
        found.append([stream.permutation(np.flatnonzero(label == c))[:3] for c in ways])
    variant = small.variants["glyphs_few_shot"]
    return variant | {"episodes": variant["episodes"] | {"test": np.array(found)}}


def selected(small, experiment, method, variant, epochs, **model):
    """Test accuracy of one run at its selected epoch."""
    keys = copy.deepcopy(small.keys)
    keys["rules"]["curvature"] |= {rule: keys["rules"]["curvature"].get(rule) for rule in RIVALS}
    keys["experiments"][experiment]["model"] |= model
    keys["experiments"][experiment]["training"] |= {"epochs": epochs, "evaluations": 2}
    study, cell = cell_of(keys, experiment, method)
    ((record, _),) = train_seeds(study, cell, [0], variant, small.data)
    assert record["status"] == "ok"
    return record["metrics"]["selected"]["test_accuracy"]


@pytest.mark.parametrize("setting", RECIPES)
@pytest.mark.parametrize("rule", RIVALS)
def test_rivals_learn_digits(small, images, rule, setting) -> None:
    """Three times as many right as by chance, of ten classes that are even in the test part."""
    method = f"sam+{RIVALS[rule]}"
    found = selected(small, "digits", method, images[setting], 5, hidden=32, dim=8, pool=1)
    assert found > 0.3


@pytest.mark.parametrize("rule", RIVALS)
def test_rivals_learn_points(small, images, rule) -> None:
    """With a head whose parameters are points of the ball, under the rule that keeps them there."""
    method = f"riemannian_adam+{RIVALS[rule]}+geoopt_mlr"
    found = selected(small, "digits", method, images["classification"], 3, hidden=32, dim=8)
    assert found > 0.3


@pytest.mark.parametrize("rule", RIVALS)
def test_rivals_learn_episodes(small, doubled, episodes, rule) -> None:
    """Other episodes of the classes that were trained on: 0.6 is three standard errors up."""
    method = f"adam+{RIVALS[rule]}"
    assert selected(small, "glyphs_few_shot", method, episodes, 10, width=8) > 0.6
