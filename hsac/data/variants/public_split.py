"""The split of its nodes that a graph comes with."""

from collections.abc import Sequence

import numpy as np

from hsac.data.variants._parts import (
    PARTS,
    Arrays,
    VariantContent,
    check_graph,
    class_words,
    kept_columns,
    part_sizes,
    without_words,
)
from hsac.errors import InputError


def build(arrays: Arrays, *, without: Sequence[int] = ()) -> VariantContent:
    """Split the nodes of a graph as the dataset's own split says.

    Nodes that it leaves unused are in no part. Source for Cora, CiteSeer and PubMed: Yang et al.,
    Revisiting Semi-Supervised Learning with Graph Embeddings, ICML 2016.

    Args:
        arrays: The dataset's arrays.
        without: Feature columns that the model does not see.

    Returns:
        Words, counts (with unused), indices and columns.

    Raises:
        InputError: For a dataset that is no graph or has no split of its own, a split without one
            of the parts or without training nodes of a class, or a column that is not there.
    """
    check_graph(arrays)
    if "split" not in arrays:
        raise InputError("recipe: found a graph without a split of its own; allowed is node_split")
    split = arrays["split"]
    # Unused nodes are -1, the code of no part.
    rows = {part: np.flatnonzero(split == code) for code, part in enumerate(PARTS)}
    for part, index in rows.items():
        if not len(index):
            raise InputError(
                f"recipe: found a split of the graph's own without {part} nodes; allowed is"
                " node_split"
            )
    lacking = np.setdiff1d(arrays["y"], arrays["y"][rows["train"]])
    if lacking.size:
        words = class_words(arrays, lacking[0])
        raise InputError(
            f"recipe: found a split of the graph's own without train nodes of {words}; allowed is"
            " node_split"
        )
    columns = kept_columns(arrays, without)
    unused = len(split) - sum(map(len, rows.values()))
    words = f"the dataset's own split of its nodes; {unused} are in no part{without_words(without)}"
    counts = {**part_sizes(arrays, rows), "unused": unused}
    return VariantContent(words, counts, rows, columns=columns)
