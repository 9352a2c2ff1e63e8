"""Small sets of images, of episodes and of nodes, with what a law needs to be seen."""

import numpy as np

from hsac.study.frozen import Features, Problem


def images(classes=4, each=30, test=10, side=4, seed=0):
    """A set of random images whose classes differ in their mean; pairs are near copies."""
    stream = np.random.default_rng(seed)
    per_class = each + test
    label = np.repeat(np.arange(classes), per_class)
    within = np.tile(np.arange(per_class), classes)
    centre = stream.integers(40, 200, size=(classes, side, side))
    noise = stream.integers(-40, 40, size=(len(label), side, side))
    return {
        "image": (centre[label] + noise).clip(0, 255).astype(np.uint8),
        "label": label,
        "split": np.where(within < each, 0, 2).astype(np.int8),
        "group": label * per_class + within // 2,
        "classes": np.array([f"c{c}" for c in range(classes)]),
    }


def few_shot(classes=24, each=8, seed=0):
    """A set whose parts have classes of their own."""
    made = images(classes, each, 0, seed=seed)
    split = (made["label"] % 3).astype(np.int8)
    return made | {"split": split, "group": np.arange(len(split))}


def graph(nodes=60, features=8, classes=3, seed=0):
    """A random graph with labels."""
    stream = np.random.default_rng(seed)
    ends = np.unique(np.sort(stream.integers(0, nodes, size=(3 * nodes, 2)), axis=1), axis=0)
    return {
        "x": stream.normal(size=(nodes, features)).astype(np.float32),
        "edge": ends[ends[:, 0] < ends[:, 1]].T,
        "y": np.arange(nodes) % classes,
        "classes": np.array([f"c{c}" for c in range(classes)]),
    }


def features(dataset="digits", **recipe):
    return Features.model_validate({"dataset": dataset, **recipe})


def problem(setting, variant, seeds=3, test=1000):
    return Problem.model_validate(
        {
            "setting": setting,
            "features": "any",
            "variant": variant,
            "dims": [2],
            "seeds": seeds,
            "test": test,
        }
    )
