"""What the recipes share: named draws, the validation cut, and the check that no part sees another."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from hsac.errors import InputError
from hsac.parts import require

Arrays = dict[str, np.ndarray]
Rows = dict[str, np.ndarray]
PARTS = ("train", "validation", "test")


def generator(draw: int, purpose: str) -> np.random.Generator:
    """The stream of one purpose under one draw, so a parameter that changes one choice leaves the
    others.
    """
    require(whole(draw) and draw >= 0, "draw", draw, "an integer from 0")
    words = np.frombuffer(hashlib.sha256(f"{purpose} {draw}".encode()).digest(), dtype="<u4")
    return np.random.Generator(np.random.PCG64([int(word) for word in words]))


def whole(value: Any) -> bool:
    """Whether a parameter is an integer (True and False are not)."""
    return isinstance(value, int) and not isinstance(value, bool)


def number(value: Any) -> bool:
    """Whether a parameter is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def pools(arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train and validate on, and rows of the test part, of an image set. Raises InputError
    for a graph and for a set whose parts do not all hold every class.
    """
    if "split" not in arrays or "label" not in arrays:
        raise InputError(
            "recipe: found a graph; allowed are image sets (for graphs use node_split or"
            " public_split)"
        )
    label = arrays["label"]
    pool, test = (np.flatnonzero(inside) for inside in (arrays["split"] != 2, arrays["split"] == 2))
    classes = np.unique(label)
    if not all(np.isin(classes, label[rows]).all() for rows in (pool, test)):
        raise InputError(
            "recipe: found a dataset whose test classes are not trained on; allowed is recipe"
            " episodes"
        )
    return pool, test


def held(
    arrays: Arrays, rows: np.ndarray, validation: float, draw: int, balanced: bool = False
) -> np.ndarray:
    """Which of ``rows`` (n,) validate: of each class the share ``validation`` of its groups, drawn
    at random, rounded, at least one and not all. ``balanced`` takes the share of the class with the
    fewest groups from every class. Raises InputError for a share outside (0, 1) and for a class
    that cannot be cut in two.
    """
    require(
        number(validation) and 0 < validation < 1,
        "validation",
        validation,
        "a number between 0 and 1",
    )
    label, group = arrays["label"][rows], arrays["group"][rows]
    groups = {c: np.unique(group[label == c]) for c in np.unique(label)}
    fewest = min(len(ids) for ids in groups.values())
    if fewest < 2:
        raise InputError(
            "validation: found a class with a single group of rows; it cannot be cut in two"
        )
    stream = generator(draw, "validation")
    chosen = []
    for ids in groups.values():
        size = round(validation * (fewest if balanced else len(ids)))
        chosen.append(stream.permutation(ids)[: min(max(1, size), len(ids) - 1)])
    return np.isin(group, np.concatenate(chosen))


def cut(arrays: Arrays, validation: float, draw: int, balanced: bool = False) -> Rows:
    """Rows of train, validation and test of an image set, ascending, before any thinning.

    The test part is the dataset's, validation what ``held`` says. ``balanced`` gives every class
    the same number of validation and of test rows, those of the class with the fewest. Raises
    InputError for a share outside (0, 1) and for a dataset without the parts.
    """
    pool, test = pools(arrays)
    inside = held(arrays, pool, validation, draw, balanced)
    kept = pool[inside]
    if balanced:
        kept, test = even(arrays, kept, draw), even(arrays, test, draw)
    return {"train": pool[~inside], "validation": kept, "test": test}


def even(arrays: Arrays, rows: np.ndarray, draw: int) -> np.ndarray:
    """``rows`` with as many of each class as the smallest class has."""
    label = arrays["label"]
    return trim(label, rows, smallest(label, rows), generator(draw, "balance"))


def smallest(label: np.ndarray, rows: np.ndarray) -> int:
    """Size of the smallest class among ``rows``."""
    return int(np.unique(label[rows], return_counts=True)[1].min())


def trim(
    label: np.ndarray, rows: np.ndarray, size: int | list[int], stream: np.random.Generator
) -> np.ndarray:
    """At most ``size`` rows of each class (or one size a class), drawn at random, ascending. A
    larger size keeps the rows of a smaller one.
    """
    classes = np.unique(label[rows])
    sizes = [size] * len(classes) if isinstance(size, int) else size
    taken = [
        stream.permutation(rows[label[rows] == c])[:n] for c, n in zip(classes, sizes, strict=True)
    ]
    return np.sort(np.concatenate(taken))


def capped(arrays: Arrays, rows: Rows, largest: int | None, draw: int) -> Rows:
    """``rows`` with at most ``largest`` training rows a class. Raises InputError for a cap below 1."""
    require(
        largest is None or (whole(largest) and largest >= 1),
        "largest",
        largest,
        "an integer from 1",
    )
    if largest is None:
        return rows
    return {**rows, "train": trim(arrays["label"], rows["train"], largest, generator(draw, "thin"))}


def counts(arrays: Arrays, rows: Rows) -> dict[str, int]:
    """Rows of each part and the number of classes."""
    label = arrays["label"] if "label" in arrays else arrays["y"]
    return {**{part: len(index) for part, index in rows.items()}, "classes": len(np.unique(label))}


def columns(arrays: Arrays, without: Sequence[int]) -> dict[str, Any]:
    """The feature columns of a graph that are left when those of ``without`` are left out, under
    ``columns``; nothing where none are. Raises InputError for what are not different columns, or
    all of them.
    """
    if without in ((), []):
        return {}
    features = arrays["x"].shape[1]
    listed = isinstance(without, list | tuple) and all(
        whole(column) and 0 <= column < features for column in without
    )
    ok = listed and len(set(without)) == len(without) < features
    require(
        ok,
        "without",
        without,
        f"a list of different feature columns from 0 to {features - 1}, not all",
    )
    return {"columns": [column for column in range(features) if column not in without]}


def without_words(without: Sequence[int]) -> str:
    """The columns that are left out, for the end of a recipe's words."""
    return (
        f"; without feature column{'s' * (len(without) > 1)} {', '.join(map(str, without))}"
        if without
        else ""
    )


def check_graph(arrays: Arrays) -> None:
    """Raises InputError for a dataset that is no graph."""
    if "y" not in arrays:
        raise InputError("recipe: found an image set; allowed are graphs")


def check_disjoint(made: dict[str, Any], arrays: Arrays) -> None:
    """Raises InputError where two parts share a row or a group, or, for episodes, a class."""
    parts = {
        part: np.unique(rows)
        for part, rows in {**made.get("indices", {}), **made.get("episodes", {})}.items()
    }
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
                    raise InputError(
                        f"{word} {shared[0]} is in both {one} and {other}; parts must not overlap"
                    )
