"""What the recipes share: named draws, the validation cut, and the check that no part sees another."""

import hashlib
from typing import Any

import numpy as np

from hsac.errors import InputError
from hsac.registry import require

Arrays = dict[str, np.ndarray]
Rows = dict[str, np.ndarray]


def generator(draw: int, purpose: str) -> np.random.Generator:
    """The stream of one purpose under one draw, so a parameter that changes one choice leaves the others."""
    require(whole(draw) and draw >= 0, "draw", draw, "an integer from 0")
    words = np.frombuffer(hashlib.sha256(f"{purpose} {draw}".encode()).digest(), dtype="<u4")
    return np.random.Generator(np.random.PCG64([int(word) for word in words]))


def whole(value: Any) -> bool:
    """Whether a parameter is an integer (True and False are not)."""
    return isinstance(value, int) and not isinstance(value, bool)


def number(value: Any) -> bool:
    """Whether a parameter is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def cut(arrays: Arrays, validation: float, draw: int, balanced: bool = False) -> Rows:
    """Rows of train, validation and test of an image set, ascending, before any thinning.

    The test part is the dataset's. From each class, whole groups drawn at random are the validation part: the share
    ``validation`` of its groups, rounded, at least one and not all. ``balanced`` gives every class the same number of
    validation and of test rows, those of the class with the fewest. Raises InputError for a share outside (0, 1) and
    for a dataset without the parts.
    """
    require(number(validation) and 0 < validation < 1, "validation", validation, "a number between 0 and 1")
    if "split" not in arrays:
        raise InputError("recipe: found a graph; allowed are image sets (for graphs use node_split)")
    label, split, group = arrays["label"], arrays["split"], arrays["group"]
    pool, test = split != 2, np.flatnonzero(split == 2)
    classes = np.unique(label)
    if not (np.isin(classes, label[pool]).all() and np.isin(classes, label[test]).all()):
        raise InputError("recipe: found a dataset whose test classes are not trained on; allowed is recipe episodes")
    groups = {c: np.unique(group[pool & (label == c)]) for c in classes}
    fewest = min(len(ids) for ids in groups.values())
    if fewest < 2:
        raise InputError("validation: found a class with a single group of rows; it cannot be cut in two")
    stream = generator(draw, "validation")
    chosen = []
    for c in classes:
        size = fewest if balanced else len(groups[c])
        chosen.append(stream.permutation(groups[c])[: min(max(1, round(validation * size)), len(groups[c]) - 1)])
    held = np.isin(group, np.concatenate(chosen)) & pool
    kept = np.flatnonzero(held)
    if balanced:
        kept, test = (trim(label, rows, smallest(label, rows), generator(draw, "balance")) for rows in (kept, test))
    return {"train": np.flatnonzero(pool & ~held), "validation": kept, "test": test}


def smallest(label: np.ndarray, rows: np.ndarray) -> int:
    """Size of the smallest class among ``rows``."""
    return int(np.unique(label[rows], return_counts=True)[1].min())


def trim(label: np.ndarray, rows: np.ndarray, size: int | list[int], stream: np.random.Generator) -> np.ndarray:
    """At most ``size`` rows of each class (or one size a class), drawn at random, ascending. A larger size keeps the
    rows of a smaller one."""
    classes = np.unique(label[rows])
    sizes = [size] * len(classes) if isinstance(size, int) else size
    taken = [stream.permutation(rows[label[rows] == c])[:n] for c, n in zip(classes, sizes, strict=True)]
    return np.sort(np.concatenate(taken))


def capped(arrays: Arrays, rows: Rows, largest: int | None, draw: int) -> Rows:
    """``rows`` with at most ``largest`` training rows a class. Raises InputError for a cap below 1."""
    require(largest is None or (whole(largest) and largest >= 1), "largest", largest, "an integer from 1")
    if largest is None:
        return rows
    return {**rows, "train": trim(arrays["label"], rows["train"], largest, generator(draw, "thin"))}


def counts(arrays: Arrays, rows: Rows) -> dict[str, int]:
    """Rows of each part and the number of classes."""
    label = arrays["label"] if "label" in arrays else arrays["y"]
    return {**{part: len(index) for part, index in rows.items()}, "classes": len(np.unique(label))}


def check_disjoint(made: dict[str, Any], arrays: Arrays) -> None:
    """Raises InputError where two parts share a row or a group, or, for episodes, a class."""
    parts = {part: np.unique(rows) for part, rows in {**made.get("indices", {}), **made.get("episodes", {})}.items()}
    identities = {"row": np.arange(len(arrays["label"] if "label" in arrays else arrays["y"]))}
    if "group" in arrays:
        identities["group"] = arrays["group"]
    if "episodes" in made:
        identities["class"] = arrays["label"]
    owners = list(parts)
    for word, identity in identities.items():
        for i, one in enumerate(owners):
            for other in owners[i + 1 :]:
                shared = np.intersect1d(identity[parts[one]], identity[parts[other]])
                if shared.size:
                    raise InputError(f"{word} {shared[0]} is in both {one} and {other}; parts must not overlap")
