"""Every mirrored dataset trains for a few steps with hsac.

It is fetched, and cut into the variant of a shipped scale.
"""

import math

import pytest
from studies import cell_of, keys_of, recipe_of

from hsac.data import build_variant
from hsac.ops.runner import train_seeds

IMAGES = ("fashion_mnist", "cifar10", "cifar_fs", "omniglot")  # cifar100 begins with cifar10
SLOW = ("pubmed", *IMAGES)
CASES = [
    ("workstation", "cora", {}),
    ("workstation", "citeseer", {}),
    ("workstation", "pubmed", {}),
    ("workstation", "airport_without_3", {}),
    ("workstation", "airport", {"dataset": "disease_lp"}),
    ("workstation", "fashion_mnist", {}),
    ("workstation", "cifar10", {}),
    ("workstation", "cifar10_noisy_human", {}),
    ("workstation", "cifar100", {}),
    ("workstation", "cifar100_long_tailed_100", {}),
    ("workstation", "cifar100_noisy_human", {}),
    ("workstation", "omniglot_way5_shot1", {}),
    ("workstation", "cifar_fs_way5_shot1", {}),
    ("paper", "cifar10_long_tailed_100", {}),
]


def case(scale, name, changes):
    dataset = changes.get("dataset", name)
    marks = pytest.mark.slow if dataset.startswith(SLOW) else ()
    return pytest.param(scale, name, changes, id=f"{scale}-{dataset}", marks=marks)


def cut(variant):
    """The variant with few rows, spread over those that there are: about 50 of each part."""
    indices, labels = dict(variant["indices"]), dict(variant.get("labels", {}))
    for part, rows in indices.items():
        chosen = slice(None, None, len(rows) // 50)
        indices[part] = rows[chosen]
        if part in labels:
            labels[part] = labels[part][chosen]
    return variant | {"indices": indices, "labels": labels}


@pytest.mark.parametrize(("scale", "name", "changes"), [case(*given) for given in CASES])
def test_trains_for_three_steps(scale, name, changes, real_data, request):
    keys = keys_of(scale) | {
        "device": "cpu",
        "time_limit": None,
    }
    experiment = keys["experiments"][name] | changes
    images = experiment["dataset"].startswith(IMAGES)
    few_shot = experiment["setting"] == "few_shot"
    experiment["training"] |= {"epochs": 1 if images else 3, "evaluations": 1}
    if few_shot:
        experiment["variant"] = experiment["variant"] | {"train": 3, "validation": 2, "test": 2}
    elif images:
        experiment["training"] |= {"batch": 16}
    keys["experiments"][name] = experiment
    keys["rules"]["curvature"]["hsac"] = {"period": 3, "warm_up": 0.0}

    recipe = recipe_of(experiment)
    for needed in filter(None, (recipe.get("labels"), experiment["dataset"])):
        root = real_data(needed)
    variant = build_variant(experiment["dataset"], experiment["variant"]["name"], recipe, root)
    if images and not few_shot:
        variant = cut(variant)
    method = next(m for m in experiment["methods"] if m.endswith("+hsac"))
    study, cell = cell_of(keys, name, method)
    ((record, _),) = train_seeds(study, cell, [0], variant, root)

    assert record["status"] == "ok"
    assert record["steps"] == 3
    assert len(record["outer"]["step"]) == 1
    assert record["curvature"]["final"] != [0.3] * len(record["curvature"]["final"])
    last = record["metrics"]["last"]
    assert all(math.isfinite(last[key]) for key in ("train_nll", "validation_nll", "test_nll"))
    asked = variant["episodes"]["test"] if few_shot else variant["indices"]["test"]
    assert len(record["metrics"]["selected"]["test_right"]) == len(asked)
