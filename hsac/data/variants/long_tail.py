"""Long-tailed training parts: class 0 is the head, the test part stays balanced."""

from typing import Any

import numpy as np

from hsac.data.variants._parts import (
    Arrays,
    Rows,
    counts,
    cut,
    even,
    generator,
    held,
    number,
    pools,
    smallest,
    trim,
    whole,
)
from hsac.errors import InputError
from hsac.parts import require

PROFILES = ("exp", "step")
CARVES = ("pool", "subset")


def class_counts(n_max: int, factor: float, classes: int, profile: str = "exp") -> list[int]:
    """Rows of each class.

    ``exp``: n_i = int(n_max * factor^(-i / (C - 1))), i = 0 the head. ``step``: n_max for the first
    half of the classes (rounded down), int(n_max / factor) for the others. Source: Cao et al.,
    Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, NeurIPS 2019, whose
    totals it gives (CIFAR-10 at 100: 12406).
    """
    if profile == "step":
        return [n_max if i < classes // 2 else int(n_max / factor) for i in range(classes)]
    return [int(n_max * (1 / factor) ** (i / max(classes - 1, 1))) for i in range(classes)]


def shot_groups(sizes: list[int]) -> dict[str, list[int]]:
    """Classes with many (above 100), medium and few (below 20) rows; a group that is empty is left
    out. Source: Liu et al., Large-Scale Long-Tailed Recognition in an Open World, CVPR 2019.
    """
    groups: dict[str, list[int]] = {"many": [], "medium": [], "few": []}
    for c, size in enumerate(sizes):
        groups["many" if size > 100 else "few" if size < 20 else "medium"].append(c)
    return {name: classes for name, classes in groups.items() if classes}


def build(
    arrays: Arrays,
    *,
    factor: float,
    profile: str = "exp",
    carve: str = "pool",
    validation: float = 0.2,
    largest: int | None = None,
    draw: int = 0,
) -> dict[str, Any]:
    """Thin training to ``class_counts``, the head as large as the smallest class allows,
    ``largest`` at most.

    ``carve`` says what validation is cut from. ``pool``: from all training rows, before thinning,
    balanced like the test part; ``class_counts`` are then those of the training part. ``subset``:
    the published recipe, whose head is the full class: all training rows are thinned to
    ``class_counts``, and the share ``validation`` of each class of that subset, at least one row,
    validates, as long-tailed as what trains. Classes are not shuffled, and a larger factor thins to
    a subset of a smaller one's rows.

    Returns words, counts and indices. counts also holds per_class (``class_counts``) and the
    classes of head, middle and tail, thirds of the class order; under ``subset`` also their total
    and the classes of many, medium and few, by ``class_counts``. Raises InputError for a factor
    below 1, an unknown profile or carve, or a factor that leaves a class empty, or too small to cut
    validation from.
    """
    require(number(factor) and factor >= 1, "factor", factor, "a number from 1")
    require(profile in PROFILES, "profile", profile, " or ".join(PROFILES))
    require(carve in CARVES, "carve", carve, " or ".join(CARVES))
    require(
        largest is None or (whole(largest) and largest >= 1),
        "largest",
        largest,
        "an integer from 1",
    )
    if carve == "pool":
        rows = cut(arrays, validation, draw, balanced=True)
        rows["train"], sizes = _thin(arrays, rows["train"], factor, profile, largest, draw)
        parts = f"validation ({validation:g} of the groups) and test balanced"
        published: dict[str, Any] = {}
    else:
        pool, test = pools(arrays)
        subset, sizes = _thin(arrays, pool, factor, profile, largest, draw)
        rows = _carve(arrays, subset, factor, validation, draw) | {"test": even(arrays, test, draw)}
        parts = (
            f"{validation:g} of each class of this subset of {sum(sizes)} validates; test balanced"
        )
        published = {"total": sum(sizes), **shot_groups(sizes)}
    thirds = zip(("head", "middle", "tail"), np.array_split(np.arange(len(sizes)), 3), strict=True)
    return {
        "words": (
            f"{profile} profile with imbalance factor {factor:g}: {sizes[0]} training images in"
            f" class 0, {sizes[-1]} in the last; {parts} (draw {draw})"
        ),
        "counts": {
            **counts(arrays, rows),
            "per_class": sizes,
            **{name: part.tolist() for name, part in thirds},
            **published,
        },
        "indices": rows,
    }


def _thin(
    arrays: Arrays, rows: np.ndarray, factor: float, profile: str, largest: int | None, draw: int
) -> tuple[np.ndarray, list[int]]:
    """The rows that are left and how many of each class."""
    label = arrays["label"]
    n_max = min(smallest(label, rows), largest or len(label))
    sizes = class_counts(n_max, factor, len(np.unique(label)), profile)
    if min(sizes) < 1:
        raise InputError(
            f"factor: found {factor:g}, which leaves a class empty; allowed is up to the head's"
            f" {n_max} rows"
        )
    return trim(label, rows, sizes, generator(draw, "thin")), sizes


def _carve(arrays: Arrays, subset: np.ndarray, factor: float, validation: float, draw: int) -> Rows:
    """Training and validation part of a thinned subset."""
    label, group = arrays["label"][subset], arrays["group"][subset]
    for c in np.unique(label):
        if len(np.unique(group[label == c])) < 2:
            raise InputError(
                f"factor: found {factor:g}, which leaves class {c} a single row (or near copies of"
                " one), and validation needs one, too; allowed is a smaller factor, or carve: pool"
            )
    inside = held(arrays, subset, validation, draw)
    return {"train": subset[~inside], "validation": subset[inside]}
