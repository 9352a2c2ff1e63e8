"""Nodes of a graph parted into train, validation and test, class by class."""

from typing import Any

import numpy as np

from hsac.data.variants._parts import Arrays, counts, generator, number
from hsac.errors import InputError
from hsac.registry import require


def build(arrays: Arrays, *, train: float = 0.3, validation: float = 0.1, draw: int = 0) -> dict[str, Any]:
    """Of each class the share ``train`` trains, ``validation`` validates and the rest tests, drawn at random.

    Returns words, counts and indices. Raises InputError for shares outside (0, 1), shares that leave no test part, a
    class too small for three parts, or a dataset that is no graph.
    """
    for name, share in (("train", train), ("validation", validation)):
        require(number(share) and 0 < share < 1, name, share, "a number between 0 and 1")
    require(train + validation < 1, "train + validation", train + validation, "less than 1, to leave a test part")
    if "y" not in arrays:
        raise InputError("recipe: found an image set; allowed are graphs")
    y, stream = arrays["y"], generator(draw, "nodes")
    parts: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for c in np.unique(y):
        order = stream.permutation(np.flatnonzero(y == c))
        first = round(train * len(order))
        pieces = np.split(order, [first, first + round(validation * len(order))])
        if min(len(piece) for piece in pieces) == 0:
            raise InputError(f"class {c}: found {len(order)} nodes, too few for three parts of these shares")
        for part, piece in zip(parts, pieces, strict=True):
            parts[part].append(piece)
    rows = {part: np.sort(np.concatenate(pieces)) for part, pieces in parts.items()}
    return {
        "words": f"of each class {train:g} of the nodes train, {validation:g} validate, the rest test (draw {draw})",
        "counts": counts(arrays, rows),
        "indices": rows,
    }
