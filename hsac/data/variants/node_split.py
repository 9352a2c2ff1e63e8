"""Nodes of a graph parted into train, validation and test, class by class."""

from collections.abc import Sequence

import numpy as np

from hsac.data.variants._parts import (
    PARTS,
    Arrays,
    Rows,
    VariantContent,
    check_graph,
    class_words,
    generator,
    is_number,
    kept_columns,
    part_sizes,
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
) -> VariantContent:
    """Split the nodes of each class at random.

    Args:
        arrays: The dataset's arrays.
        train: Share of each class that trains.
        validation: Share of each class that validates. The rest tests.
        without: Feature columns that the model does not see.
        draw: Number of the draw.

    Returns:
        Words, counts, indices and columns.

    Raises:
        InputError: For shares outside (0, 1), shares that leave no test part, a class too small for
            three parts, a column that is not there, or a dataset that is no graph.
    """
    for name, share in (("train", train), ("validation", validation)):
        require(is_number(share) and 0 < share < 1, name, share, "a number between 0 and 1")
    both = train + validation
    require(both < 1, "train + validation", both, "less than 1, to leave a test part")
    check_graph(arrays)
    rows = _split(arrays, train, validation, generator(draw, "nodes"))
    columns = kept_columns(arrays, without)
    words = f"of each class {train:g} of the nodes train, {validation:g} validate, the rest test"
    return VariantContent(
        words=f"{words}{without_words(without)} (draw {draw})",
        counts=part_sizes(arrays, rows),
        indices=rows,
        columns=columns,
    )


def _split(arrays: Arrays, train: float, validation: float, stream: np.random.Generator) -> Rows:
    y = arrays["y"]
    parts: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}
    for c in np.unique(y):
        # Class by class, so that each part has the shares of the whole.
        order = stream.permutation(np.flatnonzero(y == c))
        first = round(train * len(order))
        pieces = np.split(order, [first, first + round(validation * len(order))])
        if min(len(piece) for piece in pieces) == 0:
            words = class_words(arrays, c)
            raise InputError(
                f"{words}: found {len(order)} nodes, too few for three parts of these shares"
            )
        for part, piece in zip(PARTS, pieces, strict=True):
            parts[part].append(piece)
    return {part: np.sort(np.concatenate(pieces)) for part, pieces in parts.items()}
