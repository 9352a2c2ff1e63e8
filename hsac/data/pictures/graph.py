"""The drawing of a graph beside its degrees and classes, with its shape in numbers."""

from typing import Any

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D

from hsac.data.catalogue import Arrays
from hsac.data.pictures.hyperbolicity import components, distances, hyperbolicity
from hsac.data.variants._parts import generator
from hsac.report.figures.style import CLASSES, grid, log_axis

DRAWN, BRANCHES = 500, 6


def draw(name: str, arrays: Arrays) -> tuple[Figure, str, dict[str, Any]]:
    """The graph, its degrees and the sizes of its classes. Returns figure, caption and numbers.

    A tree is drawn whole, node 0 in the middle; of another graph a part: from the node with the
    most neighbours, breadth first, at most ``BRANCHES`` new neighbours of each node, ``DRAWN``
    nodes, with all edges between them.
    """
    edge, y, nodes = arrays["edge"], arrays["y"], len(arrays["y"])
    shape = numbers(arrays)
    classes = (
        [str(word) for word in arrays["classes"]]
        if "classes" in arrays
        else [f"class {c}" for c in range(y.max() + 1)]
    )
    tree = shape["tree"]
    kept = np.arange(nodes) if tree else sampled(edge, nodes)
    place = radial(edge, nodes) if tree else spread(edge, kept)
    title = (
        f"{name}: {nodes:,} nodes, {edge.shape[1]:,} edges, {arrays['x'].shape[1]:,} features,"
        f" {delta(shape)}"
    )
    figure, axes = grid(2, 3, 3.7, 3.2, title)
    panels = _panels(axes)
    _drawing(panels[0], edge, y, kept, place)
    whole = (
        "the whole tree, node 0 in the middle"
        if tree
        else f"{len(kept):,} nodes around the best connected one"
    )
    panels[0].set_title(whole)
    _degrees(panels[1], np.bincount(edge.ravel(), minlength=nodes))
    _sizes(panels[2], np.bincount(y, minlength=len(classes)), classes)
    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=5, color=CLASSES[c], label=word)
        for c, word in enumerate(classes)
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(classes), 4), frameon=False
    )
    caption = f"{name}: {whole}; degrees and class sizes of all nodes. {described(shape)}"
    return figure, caption, shape


def numbers(arrays: Arrays) -> dict[str, Any]:
    """The shape of a graph: components, degrees, homophily (edges that join one class),
    hyperbolicity.
    """
    edge, y = arrays["edge"], arrays["y"]
    nodes = len(y)
    degree = np.bincount(edge.ravel(), minlength=nodes)
    parts = components(edge, nodes)
    found = hyperbolicity(edge, nodes)
    return {
        "nodes": nodes,
        "edges": edge.shape[1],
        "components": len(parts),
        "largest_component": len(parts[0]),
        "tree": len(parts) == 1 and edge.shape[1] == nodes - 1,
        "mean_degree": float(degree.mean()),
        "largest_degree": int(degree.max()),
        "homophily": float((y[edge[0]] == y[edge[1]]).mean()),
        "class_sizes": np.bincount(y).tolist(),
        "delta": found.largest,
        "delta_mean": found.mean,
        "delta_relative": found.relative,
        "delta_exact": found.exact,
        "diameter": found.diameter,
    }


def described(shape: dict[str, Any]) -> str:
    """The shape of a graph in sentences."""
    parts = (
        f"{shape['components']:,} connected components, the largest with"
        f" {shape['largest_component']:,} nodes"
    )
    looked = (
        "all quadruples"
        if shape["delta_exact"]
        else "the largest of 200,000 sampled quadruples, a lower bound"
    )
    if shape["tree"]:
        looked = "as for every tree"
    return (
        f"{'Connected' if shape['components'] == 1 else parts}; {100 * shape['homophily']:.0f} % of"
        f" edges join nodes of one class. Gromov's {delta(shape)} by the four-point condition"
        f" ({looked}); its mean is {shape['delta_mean']:.2f}, and 2δ over the largest distance"
        f" seen, {shape['diameter']}, is {shape['delta_relative']:.2f}."
    )


def delta(shape: dict[str, Any]) -> str:
    """δ as an equation: a lower bound unless every quadruple was looked at, or the graph is a tree."""
    return f"δ {'=' if shape['delta_exact'] or shape['tree'] else '≥'} {shape['delta']:g}"


def radial(edge: np.ndarray, nodes: int) -> np.ndarray:
    """Places (nodes, 2) of a tree's nodes: the radius is the depth below node 0, leaves have equal
    angles in the order of a depth-first walk, an inner node lies in the middle of its outermost
    leaves.
    """
    near: list[list[int]] = [[] for _ in range(nodes)]
    for a, b in edge.T.tolist():
        near[a].append(b)
        near[b].append(a)
    depth, order, parent, stack = np.zeros(nodes), [], np.zeros(nodes, int), [0]
    while stack:
        node = stack.pop()
        order.append(node)
        for child in reversed(near[node]):
            if child != parent[node] or (node == 0 and child != 0):
                parent[child], depth[child] = node, depth[node] + 1
                stack.append(child)
    low, high = np.full(nodes, np.inf), np.full(nodes, -np.inf)
    leaves = [node for node in order if node != 0 and len(near[node]) == 1]
    low[leaves] = high[leaves] = np.arange(len(leaves)) / max(len(leaves), 1)
    for node in reversed(order[1:]):
        up = parent[node]
        low[up], high[up] = min(low[up], low[node]), max(high[up], high[node])
    angle = np.pi * (low + high) if leaves else np.zeros(nodes)
    return np.stack([depth * np.cos(angle), depth * np.sin(angle)], axis=1)


def sampled(edge: np.ndarray, nodes: int) -> np.ndarray:
    """The part of a graph that is drawn: nodes, ascending."""
    near: dict[int, list[int]] = {}
    for a, b in edge.T.tolist():
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    stream = generator(0, "graph drawing")
    start = int(np.bincount(edge.ravel(), minlength=nodes).argmax())
    seen, queue = {start}, [start]
    for node in queue:
        fresh = [
            other for other in stream.permutation(sorted(near[node])).tolist() if other not in seen
        ]
        for other in fresh[: min(BRANCHES, DRAWN - len(seen))]:
            seen.add(other)
            queue.append(other)
    return np.array(sorted(seen))


def spread(edge: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Places (kept, 2) of a connected part: springs from a start where distance on paper follows
    that in the graph.
    """
    inside = np.isin(edge, kept).all(axis=0)
    graph = nx.Graph()
    graph.add_nodes_from(range(len(kept)))
    graph.add_edges_from(np.searchsorted(kept, edge[:, inside]).T.tolist())
    local = np.searchsorted(kept, edge[:, inside])
    start = _scaled(distances(local, len(kept), np.arange(len(kept))))
    placed = nx.spring_layout(
        graph, pos=dict(enumerate(start)), k=2.5 / np.sqrt(len(kept)), iterations=150, seed=0
    )
    return np.array([placed[node] for node in range(len(kept))])


def _scaled(distance: np.ndarray) -> np.ndarray:
    """Classical scaling of distances (n, n) to the plane, (n, 2), within the unit square."""
    squared = distance**2
    centred = squared - squared.mean(axis=0) - squared.mean(axis=1)[:, None] + squared.mean()
    values, vectors = np.linalg.eigh(-centred / 2)
    found = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 0))
    return found / np.abs(found).max()


def _panels(axes: np.ndarray) -> tuple[Axes, Axes, Axes]:
    """The four left panels as one, and the two on the right."""
    spec: GridSpec = axes[0, 0].get_gridspec()
    figure = axes[0, 0].figure
    for panel in axes[:, :2].ravel():
        panel.remove()
    large = figure.add_subplot(spec[:, :2])
    large.set_axis_off()
    large.set_aspect("equal")
    return large, axes[0, 2], axes[1, 2]


def _drawing(
    panel: Axes, edge: np.ndarray, y: np.ndarray, kept: np.ndarray, place: np.ndarray
) -> None:
    inside = np.isin(edge, kept).all(axis=0)
    lines = place[np.searchsorted(kept, edge[:, inside])].transpose(1, 0, 2)
    faint = float(
        np.clip(800 / max(lines.shape[0], 1), 0.12, 0.8)
    )  # so that a dense part is no grey patch
    panel.add_collection(
        LineCollection(list(lines), colors="#777777", linewidths=0.4, alpha=faint, zorder=1)
    )
    colours = [CLASSES[c % len(CLASSES)] for c in y[kept]]
    size = 9 if len(kept) > 1200 else 14
    panel.scatter(place[:, 0], place[:, 1], s=size, c=colours, linewidths=0, zorder=2)
    panel.autoscale_view()


def _degrees(panel: Axes, degree: np.ndarray) -> None:
    """How many nodes have at least so many neighbours, both axes logarithmic."""
    values, counts = np.unique(degree[degree > 0], return_counts=True)
    panel.plot(
        values, counts[::-1].cumsum()[::-1], marker="o", markersize=3, linewidth=1, color=CLASSES[0]
    )
    panel.set(xscale="log", yscale="log", xlabel="degree", ylabel="nodes with at least it")
    log_axis(panel.xaxis)
    log_axis(panel.yaxis)


def _sizes(panel: Axes, sizes: np.ndarray, classes: list[str]) -> None:
    rows = np.arange(len(classes))
    panel.barh(rows, sizes, color=[CLASSES[c % len(CLASSES)] for c in rows])
    panel.set_yticks(rows, classes, fontsize=7, parse_math=False)
    panel.invert_yaxis()
    panel.grid(False, axis="y")
    panel.set_xlabel("nodes")
