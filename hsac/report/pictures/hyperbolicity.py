"""How tree-like a graph is: Gromov's δ by sampled quadruples."""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from hsac.data.variants._parts import generator

# Each costs a row of distances to all nodes, in float64.
LANDMARKS = 1000
QUADRUPLES = 200_000


class Hyperbolicity(NamedTuple):
    """How tree-like a graph is.

    Attributes:
        largest: Largest δ of the sampled quadruples.
        mean: Their mean δ.
        relative: 2 ``largest`` / ``diameter``.
        diameter: Largest distance between sampled nodes.
        exact: Whether all quadruples were looked at.
    """

    largest: float
    mean: float
    relative: float
    diameter: int
    exact: bool


def hyperbolicity(edge: np.ndarray, nodes: int) -> Hyperbolicity:
    """Compute Gromov's δ of the largest connected component, by the four-point condition.

    For nodes a, b, c, d at graph distance d(·,·), with the sums d(a,b) + d(c,d), d(a,c) + d(b,d),
    d(a,d) + d(b,c) in falling order s₁ ≥ s₂ ≥ s₃: δ(a, b, c, d) = (s₁ − s₂) / 2, and δ of the graph
    is the largest over all quadruples (M. Gromov, Hyperbolic Groups, 1987; H. Fournier, A. Ismail,
    A. Vigneron, Computing the Gromov Hyperbolicity of a Discrete Metric Space, Information
    Processing Letters 115, 2015). A tree has 0. The largest of a sample is a lower bound. The
    sample is 200,000 quadruples of different nodes among 1,000 nodes of the component, both drawn
    from a fixed stream (all nodes where there are fewer, all quadruples where those are fewer).

    Args:
        edge: int64 (2, E), each edge once.
        nodes: Number of nodes.

    Returns:
        δ and the diameter.
    """
    members = components(edge, nodes)[0]
    stream = generator(0, "hyperbolicity")
    chosen = np.sort(stream.permutation(members)[:LANDMARKS])
    # All are of one component, so that distances are finite and whole.
    distance = distances(edge, nodes, chosen)[:, chosen].astype(np.int32)
    (a, b, c, d), exact = _quadruples(len(chosen), stream)
    opposite = [
        distance[a, b] + distance[c, d],
        distance[a, c] + distance[b, d],
        distance[a, d] + distance[b, c],
    ]
    # Ascending, so that s₁ is the last.
    sums = np.sort(opposite, 0)
    delta = (sums[2] - sums[1]) / 2
    diameter = int(distance.max(initial=0))
    largest = float(delta.max(initial=0.0))
    return Hyperbolicity(
        largest=largest,
        mean=float(delta.mean()) if delta.size else 0.0,
        # A single node has the diameter 0.
        relative=2 * largest / max(diameter, 1),
        diameter=diameter,
        # All quadruples of a sample of the nodes are not all quadruples.
        exact=exact and len(chosen) == len(members),
    )


def distances(edge: np.ndarray, nodes: int, sources: np.ndarray) -> np.ndarray:
    """Count the edges from each source to every node.

    Args:
        edge: int64 (2, E), each edge once.
        nodes: Number of nodes.
        sources: Nodes to start from.

    Returns:
        float64 (sources, nodes), inf where there is no way.
    """
    return csgraph.dijkstra(_matrix(edge, nodes), directed=False, indices=sources, unweighted=True)


def components(edge: np.ndarray, nodes: int) -> list[np.ndarray]:
    """Find the connected components.

    Args:
        edge: int64 (2, E), each edge once.
        nodes: Number of nodes.

    Returns:
        The nodes of each, ascending, the largest component first.
    """
    count, component = csgraph.connected_components(_matrix(edge, nodes), directed=False)
    ends = np.cumsum(np.bincount(component, minlength=count))[:-1]
    # A stable sort keeps the nodes of a component ascending.
    return sorted(np.split(np.argsort(component, kind="stable"), ends), key=len, reverse=True)


def _matrix(edge: np.ndarray, nodes: int) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.ones(edge.shape[1]), (edge[0], edge[1])), shape=(nodes, nodes))


def _quadruples(size: int, stream: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Draw quadruples of different positions, int (4, n), and tell whether they are all."""
    every = size * (size - 1) * (size - 2) * (size - 3) // 24
    if every <= QUADRUPLES:
        mesh = np.array(np.meshgrid(*[np.arange(size)] * 4, indexing="ij")).reshape(4, -1)
        # Ascending places only, so that each quadruple comes in one order.
        return mesh[:, (np.diff(mesh, axis=0) > 0).all(axis=0)], True
    drawn = stream.integers(0, size, (4, QUADRUPLES))
    ordered = np.sort(drawn, axis=0)
    # Quadruples that drew a node twice have δ 0 and would only dilute the mean.
    return drawn[:, (np.diff(ordered, axis=0) > 0).all(axis=0)], False
