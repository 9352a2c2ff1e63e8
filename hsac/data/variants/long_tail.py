"""Long-tailed training parts: class 0 is the head, the test part stays balanced."""

from typing import Any

import numpy as np

from hsac.data.variants._parts import Arrays, counts, cut, generator, number, smallest, trim, whole
from hsac.errors import InputError
from hsac.registry import require

PROFILES = ("exp", "step")


def class_counts(n_max: int, factor: float, classes: int, profile: str = "exp") -> list[int]:
    """Training rows of each class.

    ``exp``: n_i = int(n_max * factor^(-i / (C - 1))), i = 0 the head. ``step``: n_max for the first half of the classes
    (rounded down), int(n_max / factor) for the others. Source: Cao et al., Learning Imbalanced Datasets with
    Label-Distribution-Aware Margin Loss, NeurIPS 2019, whose totals it gives (CIFAR-10 at 100: 12406).
    """
    if profile == "step":
        return [n_max if i < classes // 2 else int(n_max / factor) for i in range(classes)]
    return [int(n_max * (1 / factor) ** (i / max(classes - 1, 1))) for i in range(classes)]


def build(
    arrays: Arrays,
    *,
    factor: float,
    profile: str = "exp",
    validation: float = 0.2,
    largest: int | None = None,
    draw: int = 0,
) -> dict[str, Any]:
    """Thin training to ``class_counts``, the head as large as the smallest class allows, ``largest`` at most.

    Validation is cut first and balanced, like the test part; classes are not shuffled, and a larger factor keeps a
    subset of a smaller one's rows. counts also holds per_class and the classes of head, middle and tail, thirds of the
    class order. Returns words, counts and indices. Raises InputError for a factor below 1, an unknown profile, or a
    factor that leaves a class empty.
    """
    require(number(factor) and factor >= 1, "factor", factor, "a number from 1")
    require(profile in PROFILES, "profile", profile, " or ".join(PROFILES))
    require(largest is None or (whole(largest) and largest >= 1), "largest", largest, "an integer from 1")
    rows = cut(arrays, validation, draw, balanced=True)
    label = arrays["label"]
    classes = len(np.unique(label))
    n_max = min(smallest(label, rows["train"]), largest or len(label))
    sizes = class_counts(n_max, factor, classes, profile)
    if min(sizes) < 1:
        raise InputError(
            f"factor: found {factor:g}, which leaves a class empty; allowed is up to the head's {n_max} rows"
        )
    rows["train"] = trim(label, rows["train"], sizes, generator(draw, "thin"))
    thirds = zip(("head", "middle", "tail"), np.array_split(np.arange(classes), 3), strict=True)
    return {
        "words": f"{profile} profile with imbalance factor {factor:g}: {n_max} training images in class 0, "
        f"{sizes[-1]} in the last; validation ({validation:g} of the groups) and test balanced (draw {draw})",
        "counts": {**counts(arrays, rows), "per_class": sizes, **{name: part.tolist() for name, part in thirds}},
        "indices": rows,
    }
