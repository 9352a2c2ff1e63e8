"""The drawing of a graph beside its degrees and classes, with its shape in numbers."""

from dataclasses import dataclass

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D

from hsac.data.catalogue import Arrays
from hsac.data.variants._parts import generator
from hsac.report.figures.style import CLASSES, grid, log_axis
from hsac.report.pictures.hyperbolicity import components, distances, hyperbolicity
from hsac.report.pictures.picture import Picture

DRAWN, BRANCHES = 500, 6


@dataclass(frozen=True)
class GraphShape:
    """The shape of a graph in numbers.

    Attributes:
        nodes: Number of nodes.
        edges: Number of edges.
        components: Number of connected components.
        largest_component: Nodes of the largest.
        tree: Whether the graph is a tree.
        mean_degree: Neighbours of a node, on average.
        largest_degree: Neighbours of the node that has most.
        homophily: Share of the edges that join nodes of one class. None without edges.
        class_sizes: Nodes of each class.
        delta: Largest δ of the quadruples looked at (`hyperbolicity`).
        delta_mean: Their mean δ.
        delta_relative: 2δ over the diameter.
        delta_exact: Whether every quadruple was looked at.
        diameter: Largest distance seen.
    """

    nodes: int
    edges: int
    components: int
    largest_component: int
    tree: bool
    mean_degree: float
    largest_degree: int
    homophily: float | None
    class_sizes: list[int]
    delta: float
    delta_mean: float
    delta_relative: float
    delta_exact: bool
    diameter: int

    @property
    def delta_words(self) -> str:
        """δ as an equation: a lower bound unless every quadruple was looked at, or for a tree."""
        return f"δ {'=' if self.delta_exact or self.tree else '≥'} {self.delta:g}"

    def describe(self) -> str:
        """Describe the shape.

        Returns:
            A few sentences.
        """
        parts = "Connected"
        if self.components > 1:
            parts = (
                f"{self.components:,} connected components, the largest with"
                f" {self.largest_component:,} nodes"
            )
        looked = "the largest of 200,000 sampled quadruples, a lower bound"
        if self.delta_exact:
            looked = "all quadruples"
        if self.tree:
            looked = "as for every tree"
        joined = "no edges"
        if self.homophily is not None:
            joined = f"{100 * self.homophily:.0f} % of edges join nodes of one class"
        return (
            f"{parts}; {joined}. Gromov's"
            f" {self.delta_words} by the four-point condition ({looked}); its mean is"
            f" {self.delta_mean:.2f}, and 2δ over the largest distance seen, {self.diameter}, is"
            f" {self.delta_relative:.2f}."
        )


def draw(name: str, arrays: Arrays) -> Picture:
    """Draw a graph, its degrees and the sizes of its classes.

    A tree is drawn whole, node 0 in the middle. Of another graph a part is drawn (`drawn_part`),
    with all edges between its nodes. Of a graph in which none joins two nodes the first are drawn.

    Args:
        name: Name of the dataset.
        arrays: Its arrays.

    Returns:
        The picture. Its numbers are the `GraphShape`.
    """
    edge, y, nodes = arrays["edge"], arrays["y"], len(arrays["y"])
    shape = measure(arrays)
    classes = [f"class {c}" for c in range(y.max() + 1)]
    if "classes" in arrays:
        classes = [str(word) for word in arrays["classes"]]
    if shape.tree:
        kept = np.arange(nodes)
        place = place_tree(edge, nodes)
        shown = "the whole tree, node 0 in the middle"
    elif (edge[0] == edge[1]).all():
        kept = np.arange(min(nodes, DRAWN))
        place = place_lone(len(kept))
        shown = f"{len(kept):,} nodes, which no edge joins"
    else:
        kept = drawn_part(edge, nodes)
        place = place_part(edge, kept)
        shown = f"{len(kept):,} nodes around the best connected one"
    sizes = f"{nodes:,} nodes, {edge.shape[1]:,} edges, {arrays['x'].shape[1]:,} features"
    figure, axes = grid(2, 3, 3.7, 3.2, f"{name}: {sizes}, {shape.delta_words}")
    large, upper, lower = _panels(axes)
    _drawing(large, edge, y, kept, place)
    large.set_title(shown)
    _degrees(upper, np.bincount(edge.ravel(), minlength=nodes))
    _sizes(lower, np.bincount(y, minlength=len(classes)), classes)
    columns = min(len(classes), 4)
    figure.legend(
        handles=_legend(classes), loc="outside lower center", ncols=columns, frameon=False
    )
    caption = f"{name}: {shown}; degrees and class sizes of all nodes. {shape.describe()}"
    return Picture(figure, caption, vars(shape))


def measure(arrays: Arrays) -> GraphShape:
    """Measure the shape of a graph.

    Args:
        arrays: Its arrays: ``edge`` int64 (2, E), each edge once, and ``y`` int64 (N,).

    Returns:
        Its shape.
    """
    edge, y = arrays["edge"], arrays["y"]
    nodes = len(y)
    degree = np.bincount(edge.ravel(), minlength=nodes)
    parts = components(edge, nodes)
    found = hyperbolicity(edge, nodes)
    return GraphShape(
        nodes=nodes,
        edges=edge.shape[1],
        components=len(parts),
        largest_component=len(parts[0]),
        tree=len(parts) == 1 and edge.shape[1] == nodes - 1,
        mean_degree=float(degree.mean()),
        largest_degree=int(degree.max()),
        homophily=float((y[edge[0]] == y[edge[1]]).mean()) if edge.size else None,
        class_sizes=np.bincount(y).tolist(),
        delta=found.largest,
        delta_mean=found.mean,
        delta_relative=found.relative,
        delta_exact=found.exact,
        diameter=found.diameter,
    )


def place_tree(edge: np.ndarray, nodes: int) -> np.ndarray:
    """Lay out a tree around node 0.

    The radius is the depth below node 0. Leaves have equal angles in the order of a depth-first
    walk, and an inner node lies in the middle of its outermost leaves.

    Args:
        edge: int64 (2, E), each edge once.
        nodes: Number of nodes.

    Returns:
        Places (nodes, 2).
    """
    near = _neighbours(edge, nodes)
    depth, order, parent, stack = np.zeros(nodes), [], np.zeros(nodes, int), [0]
    while stack:
        node = stack.pop()
        order.append(node)
        # A stack gives back the last first, so this walks the children in order.
        for child in reversed(near[node]):
            if child != parent[node]:
                parent[child], depth[child] = node, depth[node] + 1
                stack.append(child)
    low, high = np.full(nodes, np.inf), np.full(nodes, -np.inf)
    # The root of a path has one neighbour, too, but stands in the middle.
    leaves = [node for node in order if node != 0 and len(near[node]) == 1]
    low[leaves] = high[leaves] = np.arange(len(leaves)) / max(len(leaves), 1)
    # Children come before their parents, so a span is complete when it is passed up.
    for node in reversed(order[1:]):
        up = parent[node]
        low[up], high[up] = min(low[up], low[node]), max(high[up], high[node])
    # The spans are shares of a turn: 2π times the middle of one. A lone node has no span.
    angle = np.pi * (low + high) if leaves else np.zeros(nodes)
    return np.stack([depth * np.cos(angle), depth * np.sin(angle)], axis=1)


def place_lone(nodes: int) -> np.ndarray:
    """Lay out nodes that no edge joins, evenly over a disc.

    Args:
        nodes: Number of nodes.

    Returns:
        Places (nodes, 2), on the spiral of a sunflower's seeds.
    """
    number = np.arange(nodes)
    angle = number * np.pi * (3 - np.sqrt(5))
    return np.sqrt(number)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def drawn_part(edge: np.ndarray, nodes: int) -> np.ndarray:
    """Choose the part of a large graph that is drawn.

    It is gathered breadth first from the node with the most neighbours: at most ``BRANCHES`` new
    neighbours of each node, ``DRAWN`` nodes in all, from a fixed stream.

    Args:
        edge: int64 (2, E), each edge once.
        nodes: Number of nodes.

    Returns:
        Its nodes, ascending.
    """
    near = _neighbours(edge, nodes)
    stream = generator(0, "graph drawing")
    start = int(np.bincount(edge.ravel(), minlength=nodes).argmax())
    seen, queue = {start}, [start]
    # The queue grows while it is walked, which makes the walk breadth first.
    for node in queue:
        # Sorted before, so that the order in which edges are listed does not show.
        shuffled = stream.permutation(sorted(near[node])).tolist()
        fresh = [other for other in shuffled if other not in seen]
        for other in fresh[: min(BRANCHES, DRAWN - len(seen))]:
            seen.add(other)
            queue.append(other)
    return np.array(sorted(seen))


def _neighbours(edge: np.ndarray, nodes: int) -> list[list[int]]:
    near: list[list[int]] = [[] for _ in range(nodes)]
    for a, b in edge.T.tolist():
        near[a].append(b)
        near[b].append(a)
    return near


def place_part(edge: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Lay out a connected part of a graph by springs.

    They start where distance on paper follows that in the graph.

    Args:
        edge: int64 (2, E), each edge of the graph once.
        kept: Nodes of the part, ascending.

    Returns:
        Places (kept, 2).
    """
    inside = np.isin(edge, kept).all(axis=0)
    local = np.searchsorted(kept, edge[:, inside])
    graph = nx.Graph()
    graph.add_nodes_from(range(len(kept)))
    graph.add_edges_from(local.T.tolist())
    # The part is connected, so that no distance is infinite.
    start = _scaled(distances(local, len(kept), np.arange(len(kept))))
    # networkx's own k, 1 / √n, sets the nodes closer together.
    placed = nx.spring_layout(
        graph, pos=dict(enumerate(start)), k=2.5 / np.sqrt(len(kept)), iterations=150, seed=0
    )
    return np.array([placed[node] for node in range(len(kept))])


def _scaled(distance: np.ndarray) -> np.ndarray:
    """Scale distances (n, n) classically to the plane, (n, 2), within the unit square."""
    squared = distance**2
    centred = squared - squared.mean(axis=0) - squared.mean(axis=1)[:, None] + squared.mean()
    # Half of it, negated, is the matrix of inner products of the places (Torgerson).
    values, vectors = np.linalg.eigh(-centred / 2)
    # The largest two come last. The second is 0 for a path, and may round below it.
    found = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 0))
    return found / np.abs(found).max()


def _panels(axes: np.ndarray) -> tuple[Axes, Axes, Axes]:
    """Return the four left panels as one, and the two on the right."""
    spec: GridSpec = axes[0, 0].get_gridspec()
    figure = axes[0, 0].figure
    for panel in axes[:, :2].ravel():
        panel.remove()
    large = figure.add_subplot(spec[:, :2])
    large.set_axis_off()
    large.set_aspect("equal")
    return large, axes[0, 2], axes[1, 2]


def _legend(classes: list[str]) -> list[Line2D]:
    handles = []
    for c, word in enumerate(classes):
        colour = CLASSES[c % len(CLASSES)]
        dot = Line2D([], [], linestyle="", marker="o", markersize=5, color=colour, label=word)
        handles.append(dot)
    return handles


def _drawing(
    panel: Axes, edge: np.ndarray, y: np.ndarray, kept: np.ndarray, place: np.ndarray
) -> None:
    inside = np.isin(edge, kept).all(axis=0)
    lines = list(place[np.searchsorted(kept, edge[:, inside])].transpose(1, 0, 2))
    # The more edges the fainter, so that a dense part is no grey patch.
    faint = float(np.clip(800 / max(len(lines), 1), 0.12, 0.8))
    drawn = LineCollection(lines, colors="#777777", linewidths=0.4, alpha=faint, zorder=1)
    panel.add_collection(drawn)
    colours = [CLASSES[c % len(CLASSES)] for c in y[kept]]
    size = 9 if len(kept) > 1200 else 14
    panel.scatter(place[:, 0], place[:, 1], s=size, c=colours, linewidths=0, zorder=2)
    panel.autoscale_view()


def _degrees(panel: Axes, degree: np.ndarray) -> None:
    """Draw how many nodes have at least so many neighbours, both axes logarithmic."""
    # Nodes without neighbours have no place on a logarithmic axis.
    values, counts = np.unique(degree[degree > 0], return_counts=True)
    at_least = counts[::-1].cumsum()[::-1]
    panel.set(xlabel="degree", ylabel="nodes with at least it")
    # A logarithmic axis needs a value.
    if not values.size:
        return
    panel.plot(values, at_least, marker="o", markersize=3, linewidth=1, color=CLASSES[0])
    panel.set(xscale="log", yscale="log")
    log_axis(panel.xaxis)
    log_axis(panel.yaxis)


def _sizes(panel: Axes, sizes: np.ndarray, classes: list[str]) -> None:
    rows = np.arange(len(classes))
    panel.barh(rows, sizes, color=[CLASSES[c % len(CLASSES)] for c in rows])
    panel.set_yticks(rows, classes, fontsize=7, parse_math=False)
    # Bars begin at the bottom, but class 0 is to be on top.
    panel.invert_yaxis()
    panel.grid(False, axis="y")
    panel.set_xlabel("nodes")
