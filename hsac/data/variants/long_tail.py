"""Long-tailed training parts: class 0 is the head, the test part stays balanced."""

from typing import Any

import numpy as np

from hsac.data.variants._parts import (
    Arrays,
    Rows,
    VariantContent,
    balance,
    check_cap,
    class_words,
    cut_meta,
    generator,
    held_out,
    is_number,
    meta_words,
    part_sizes,
    pools,
    smallest_class,
    split_rows,
    trim,
)
from hsac.errors import InputError
from hsac.parts import require

PROFILES = ("exp", "step")
CARVES = ("pool", "subset")


def class_counts(n_max: int, factor: float, classes: int, profile: str = "exp") -> list[int]:
    """Compute the number of rows of each class.

    ``exp``: n_i = int(n_max * factor^(-i / (C - 1))), i = 0 the head. ``step``: n_max for the first
    half of the classes (rounded down), int(n_max / factor) for the others. Source: Cao et al.,
    Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, NeurIPS 2019, whose
    totals it gives (CIFAR-10 at 100: 12406).

    Args:
        n_max: Rows of the head.
        factor: Imbalance factor: the head's rows to the last class's.
        classes: Number of classes C.
        profile: exp or step.

    Returns:
        A number a class, in class order.
    """
    if profile == "step":
        return [n_max if i < classes // 2 else int(n_max / factor) for i in range(classes)]
    # Truncated, not rounded, and in this order of operations: so the totals are the published ones.
    return [int(n_max * (1 / factor) ** (i / max(classes - 1, 1))) for i in range(classes)]


def shot_groups(sizes: list[int]) -> dict[str, list[int]]:
    """Group classes by their number of training rows.

    Source: Liu et al., Large-Scale Long-Tailed Recognition in an Open World, CVPR 2019.

    Args:
        sizes: Rows of each class.

    Returns:
        Classes with many (above 100), medium and few (below 20) rows. A group that is empty is left
        out.
    """
    groups: dict[str, list[int]] = {"many": [], "medium": [], "few": []}
    for c, size in enumerate(sizes):
        # Strict bounds, as published: 100 and 20 rows are medium.
        groups["many" if size > 100 else "few" if size < 20 else "medium"].append(c)
    return {name: classes for name, classes in groups.items() if classes}


def build(  # noqa: PLR0913 - each parameter is a key of a configuration
    arrays: Arrays,
    *,
    factor: float,
    profile: str = "exp",
    carve: str = "pool",
    validation: float = 0.2,
    largest: int | None = None,
    draw: int = 0,
    meta: int = 0,
) -> VariantContent:
    """Thin the training part to a long tail (`class_counts`), its head as large as can be.

    Classes are not shuffled, and a larger factor thins to a subset of a smaller one's rows.

    Args:
        arrays: The dataset's arrays.
        factor: Imbalance factor.
        profile: exp or step.
        carve: What validation is cut from. ``pool``: from all training rows, before thinning,
            balanced like the test part. The counts are then those of the training part.
            ``subset``: the published recipe, whose head is the full class. All training rows are
            thinned, and of each class of that subset a share validates, at least one row, as
            long-tailed as what trains.
        validation: Share of each class's groups that validate.
        largest: Largest number of rows of the head. None leaves it to the smallest class.
        draw: Number of the draw.
        meta: Images of each class in a meta set with true labels, cut before thinning, as Shu et
            al. do (NeurIPS 2019). The head has so many fewer. 0 for none.

    Returns:
        Words, counts and indices. The counts have ``per_class`` (`class_counts`) and the classes of
        ``head``, ``middle`` and ``tail``, thirds of the class order. Under ``subset`` also their
        ``total`` and the classes of ``many``, ``medium`` and ``few`` (`shot_groups`).

    Raises:
        InputError: For a factor below 1, an unknown profile or carve, a factor that leaves a class
            empty, or too small to cut validation from, or a meta set that takes all rows of a
            class.
    """
    require(is_number(factor) and factor >= 1, "factor", factor, "a number from 1")
    require(profile in PROFILES, "profile", profile, " or ".join(PROFILES))
    require(carve in CARVES, "carve", carve, " or ".join(CARVES))
    check_cap(largest)
    published: dict[str, Any] = {}
    if carve == "pool":
        rows = split_rows(arrays, validation, draw, balanced=True)
        rows = cut_meta(arrays, rows, meta, draw)
        # Validation is cut before thinning, so that it is the same for every factor.
        rows["train"], sizes = _thin(arrays, rows["train"], factor, profile, largest, draw)
        parts = f"validation ({validation:g} of the groups) and test balanced"
    else:
        pool, test = pools(arrays)
        rows = cut_meta(arrays, {"train": pool}, meta, draw)
        subset, sizes = _thin(arrays, rows["train"], factor, profile, largest, draw)
        rows |= _carve(arrays, subset, factor, validation, draw)
        rows["test"] = balance(arrays, test, draw)
        of_subset = f"{validation:g} of each class of this subset of {sum(sizes)}"
        parts = f"{of_subset} validates; test balanced"
        published = {"total": sum(sizes), **shot_groups(sizes)}
    ends = f"{sizes[0]} training images in class 0, {sizes[-1]} in the last"
    return VariantContent(
        words=f"{profile} profile with imbalance factor {factor:g}: {ends}; {parts}"
        f"{meta_words(meta)} (draw {draw})",
        counts={
            **part_sizes(arrays, rows),
            "per_class": sizes,
            **_thirds(len(sizes)),
            **published,
        },
        indices=rows,
    )


def _thirds(classes: int) -> dict[str, list[int]]:
    pieces = np.array_split(np.arange(classes), 3)
    return dict(zip(("head", "middle", "tail"), (p.tolist() for p in pieces), strict=True))


def _thin(
    arrays: Arrays, rows: np.ndarray, factor: float, profile: str, largest: int | None, draw: int
) -> tuple[np.ndarray, list[int]]:
    """Return the rows that are left and how many of each class."""
    label = arrays["label"]
    # The smallest class bounds the head, so that each class has the rows asked of it.
    n_max = min(smallest_class(label, rows), largest or len(label))
    sizes = class_counts(n_max, factor, len(np.unique(label)), profile)
    if min(sizes) < 1:
        raise InputError(
            f"factor: found {factor:g}, which leaves a class empty; allowed is up to the head's"
            f" {n_max} rows"
        )
    return trim(label, rows, sizes, generator(draw, "thin")), sizes


def _carve(arrays: Arrays, subset: np.ndarray, factor: float, validation: float, draw: int) -> Rows:
    """Return the training and validation part of a thinned subset."""
    label, group = arrays["label"][subset], arrays["group"][subset]
    for c in np.unique(label):
        # Looked at here, where the factor can be blamed.
        if len(np.unique(group[label == c])) < 2:
            raise InputError(
                f"factor: found {factor:g}, which leaves {class_words(arrays, c)} a single row (or"
                " near copies of one), and validation needs one, too; allowed is a smaller factor,"
                " or carve: pool"
            )
    inside = held_out(arrays, subset, validation, draw)
    return {"train": subset[~inside], "validation": subset[inside]}
