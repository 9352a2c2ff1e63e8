"""Nodes of a graph parted into train, validation and test, class by class."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hsac.data.variants._parts import (
    Arrays,
    check_graph,
    columns,
    counts,
    generator,
    number,
    without_words,
)
from hsac.errors import InputError
from hsac.parts import require


def build(
    arrays: Arrays,
    *,
    train: float = 0.3,
    validation: float = 0.1,
    without: Sequence[int] = (),
    draw: int = 0,
) -> dict[str, Any]:
    """Of each class the share ``train`` trains, ``validation`` validates and the rest tests, drawn
    at random.

    ``without`` lists feature columns that the model does not see. Returns words, counts, indices
    and, under ``columns``, those it sees where some are left out. Raises InputError for shares
    outside (0, 1), shares that leave no test part, a class too small for three parts, a column that
    is not there, or a dataset that is no graph.
    """
    for name, share in (("train", train), ("validation", validation)):
        require(number(share) and 0 < share < 1, name, share, "a number between 0 and 1")
    require(
        train + validation < 1,
        "train + validation",
        train + validation,
        "less than 1, to leave a test part",
    )
    check_graph(arrays)
    y, stream = arrays["y"], generator(draw, "nodes")
    parts: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for c in np.unique(y):
        order = stream.permutation(np.flatnonzero(y == c))
        first = round(train * len(order))
        pieces = np.split(order, [first, first + round(validation * len(order))])
        if min(len(piece) for piece in pieces) == 0:
            raise InputError(
                f"class {c}: found {len(order)} nodes, too few for three parts of these shares"
            )
        for part, piece in zip(parts, pieces, strict=True):
            parts[part].append(piece)
    rows = {part: np.sort(np.concatenate(pieces)) for part, pieces in parts.items()}
    kept = columns(arrays, without)
    return {
        "words": (
            f"of each class {train:g} of the nodes train, {validation:g} validate, the rest test"
            f"{without_words(without)} (draw {draw})"
        ),
        "counts": counts(arrays, rows),
        "indices": rows,
        **kept,
    }
