"""A disease spreading down a contact tree, simulated from the recipe below. No downloaded data."""

import numpy as np

SEED = 20240502
NODES = 1044
SYMPTOMS = 6
TRAITS = 6


def build() -> dict[str, np.ndarray]:
    """Simulate the tree, its features and who is infected.

    Recipe, all draws from one PCG64(20240502) in this order:

    1. Nodes 0..1043 are numbered breadth first from the root 0. Going through them in order, each
       gets 1 + Poisson(0.9) children until 1044 nodes exist. A node reached after that is a leaf.
    2. Each node is frail (z = 1) or hardy (z = 0) with probability one half.
    3. The root is infected. Going down, the child of an infected node is infected with probability
       0.97 if it is frail and 0.79 if it is hardy. Nobody else is. The label is 1 for infected, 0
       for not.
    4. Six symptoms: (2y - 1) * 0.3 * u + N(0, 1), u a random unit vector (a single node's symptoms
       alone separate the classes with d' = 0.6, that is, 62 % at best with equal classes).
    5. Six traits: (2z - 1) * 0.5 * v + N(0, 1), v a random unit vector.
    6. All features are rounded to four decimals, so that the last bit of a machine's arithmetic
       does not show.

    The infected nodes are a subtree that contains the root, so neighbours inform: a single node's
    features are weak and its parent's and children's add to them. After the idea of the Disease
    tree of Chami et al., Hyperbolic Graph Convolutional Neural Networks (NeurIPS 2019), whose
    public files hold neither its recipe nor its features.

    Returns:
        ``x`` float32 (1044, 12), symptoms first, ``edge`` int64 (2, 1043), each parent over its
        child, and ``y`` int64 (1044,).
    """
    draw = np.random.Generator(np.random.PCG64(SEED))
    parent = _grow(draw)
    # All from one stream: in another order these draws would make other data.
    frail = draw.random(NODES) < 0.5
    reach = draw.random(NODES) < np.where(frail, 0.97, 0.79)
    infected = np.ones(NODES, dtype=bool)
    # Parents have lower numbers, so that one pass goes down the whole tree.
    for node in range(1, NODES):
        infected[node] = infected[parent[node]] and reach[node]
    symptoms = _signal(draw, infected, 0.3, SYMPTOMS)
    traits = _signal(draw, frail, 0.5, TRAITS)
    return {
        "x": np.hstack([symptoms, traits]).round(4).astype(np.float32),
        "edge": np.stack([parent[1:], np.arange(1, NODES)]).astype(np.int64),
        "y": infected.astype(np.int64),
    }


def _grow(draw: np.random.Generator) -> np.ndarray:
    """Return the parent of every node, int64 (1044,); the root's own entry is 0."""
    parent = np.zeros(NODES, dtype=np.int64)
    size, node = 1, 0
    while size < NODES:
        # The last family is cut off, so that the number of nodes is exact.
        children = min(1 + int(draw.poisson(0.9)), NODES - size)
        parent[size : size + children] = node
        size, node = size + children, node + 1
    return parent


def _signal(
    draw: np.random.Generator, truth: np.ndarray, strength: float, width: int
) -> np.ndarray:
    """Draw noisy views of a binary truth, float64 (nodes, width)."""
    direction = draw.standard_normal(width)
    direction /= np.sqrt((direction**2).sum())
    # Unit directions, so that the strength alone sets how well one feature vector tells.
    mean = np.where(truth, strength, -strength)[:, None] * direction
    return mean + draw.standard_normal((truth.size, width))
