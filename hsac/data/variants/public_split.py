"""The split of its nodes that a graph comes with."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hsac.data.variants._parts import PARTS, Arrays, check_graph, columns, counts, without_words
from hsac.errors import InputError


def build(arrays: Arrays, *, without: Sequence[int] = ()) -> dict[str, Any]:
    """Nodes train, validate and test as the dataset's own split says; nodes it leaves unused are in
    no part.

    ``without`` lists feature columns that the model does not see. Returns words, counts (with
    unused), indices and, under ``columns``, those it sees where some are left out. Raises
    InputError for a dataset that is no graph or has no split of its own, a split without one of the
    parts, or a column that is not there. Source for Cora, CiteSeer and PubMed: Yang et al.,
    Revisiting Semi-Supervised Learning with Graph Embeddings, ICML 2016.
    """
    check_graph(arrays)
    if "split" not in arrays:
        raise InputError("recipe: found a graph without a split of its own; allowed is node_split")
    split = arrays["split"]
    rows = {part: np.flatnonzero(split == code) for code, part in enumerate(PARTS)}
    for part, index in rows.items():
        if not len(index):
            raise InputError(
                f"recipe: found a split of the graph's own without {part} nodes; allowed is"
                " node_split"
            )
    unused = len(split) - sum(map(len, rows.values()))
    kept = columns(arrays, without)
    return {
        "words": (
            f"the dataset's own split of its nodes; {unused} are in no part{without_words(without)}"
        ),
        "counts": {**counts(arrays, rows), "unused": unused},
        "indices": rows,
        **kept,
    }
