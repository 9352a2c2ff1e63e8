"""Features of a graph, propagated along its edges without weights."""

import numpy as np
from scipy.sparse import coo_array, csr_array

from hsac.data.variants._parts import (
    check_graph,
    class_words,
    generator,
    is_integer,
    is_number,
)
from hsac.errors import InputError
from hsac.frozen.features._content import (
    TEST,
    Arrays,
    FeatureContent,
    normalised,
    principal_components,
)
from hsac.parts import require

DRAW = 0  # the draw of the test nodes, one for all problems


def build(arrays: Arrays, *, hops: int, components: int, test: float) -> FeatureContent:
    """Propagate the nodes' features, and project them onto their principal components.

    Source: Wu et al., Simplifying Graph Convolutional Networks, ICML 2019. The features are S^hops
    X, where S = D^(-1/2) (A + I) D^(-1/2) and D has the row sums of A + I. Features of test nodes
    take part in it, as in every transductive study, and their labels do not.

    Args:
        arrays: The graph's arrays.
        hops: How often the features are propagated, 0 for not at all.
        components: How many principal components, fitted without test nodes, at most the rank.
        test: Share of each class's nodes that test, drawn once.

    Returns:
        The features.

    Raises:
        InputError: A parameter is out of range, a class is too small to be cut in two, or the
            dataset is no graph.
    """
    require(is_integer(hops) and hops >= 0, "hops", hops, "an integer from 0")
    require(is_number(test) and 0 < test < 1, "test", test, "a number between 0 and 1")
    check_graph(arrays)
    label = arrays["y"].astype(np.int64)
    split = _split(arrays, test)
    x = arrays["x"].astype(np.float64)
    step = _step(arrays["edge"], len(x))
    for _ in range(hops):
        x = step @ x
    made = principal_components(x, split != TEST, components)
    classes = arrays.get("classes", np.array([str(c) for c in range(label.max() + 1)]))
    return FeatureContent(
        words=f"{components} principal components of the features propagated {hops} times; of each"
        f" class {test:g} of the nodes test",
        x=normalised(made[None], split != TEST),
        label=label,
        split=split,
        group=np.arange(len(label)),
        classes=classes,
    )


def _step(edge: np.ndarray, nodes: int) -> csr_array:
    """Return S (N, N): the adjacency with self-loops, normalised on both sides."""
    loops = np.arange(nodes)
    # Each edge is stored once, and a self-loop of the dataset counts no more than the one added.
    ends = np.concatenate([edge, edge[::-1], np.stack([loops, loops])], axis=1)
    ends = np.unique(ends, axis=1)
    degree = np.bincount(ends[0], minlength=nodes)
    value = 1 / np.sqrt(degree[ends[0]] * degree[ends[1]])
    return coo_array((value, (ends[0], ends[1])), shape=(nodes, nodes)).tocsr()


def _split(arrays: Arrays, test: float) -> np.ndarray:
    """Return the code of each node's part (N,), the same share of every class testing."""
    y, stream = arrays["y"], generator(DRAW, "frozen nodes")
    split = np.zeros(len(y), dtype=np.int8)
    for c in np.unique(y):
        order = stream.permutation(np.flatnonzero(y == c))
        size = round(test * len(order))
        # Training and validation need a node each.
        if size < 1 or len(order) - size < 2:
            words = class_words(arrays, c)
            raise InputError(f"test: found {test:g}, which leaves {words} too few nodes")
        split[order[:size]] = TEST
    return split
