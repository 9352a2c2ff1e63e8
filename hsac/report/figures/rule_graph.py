"""The workflow's rule graph from the dot text that ``snakemake --rulegraph`` prints."""

import re
from itertools import pairwise

import networkx as nx
from matplotlib.figure import Figure

from hsac.report.figures import style

TITLE = "The workflow's rules (arrows implied by longer ways are left out)"
NODE = re.compile(r'^\s*"?(\w+)"?\s*\[.*?label\s*=\s*"([^"]*)"', re.MULTILINE)
SWEEPS = 24
BOX = {
    "boxstyle": "round,pad=0.45",
    "facecolor": "#eaf2f9",
    "edgecolor": style.COLOURS["fixed"],
}
ARROW = {"color": "#666666", "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
EDGE = re.compile(r'^\s*"?(\w+)"?\s*->\s*"?(\w+)"?', re.MULTILINE)


def parse(dot: str) -> nx.DiGraph:
    """Read a graph from a dot text.

    Args:
        dot: The text.

    Returns:
        The graph. Nodes are numbered as in the text and carry ``label``. An edge leads from a rule
        to one that uses what it makes.
    """
    graph = nx.DiGraph()
    for key, label in NODE.findall(dot):
        # Dot writes a new line as a backslash and n.
        graph.add_node(key, label=label.replace("\\n", "\n"))
    for a, b in EDGE.findall(dot):
        # A rule whose jobs feed one another has an arrow to itself.
        if a in graph and b in graph and a != b:
            graph.add_edge(a, b)
    return graph


def layers(graph: nx.DiGraph) -> list[list[str]]:
    """Arrange the nodes of an acyclic graph in layers.

    A rule stands one layer left of the first that uses it. Edges across several layers get a
    stand-in node (``from>to>layer``) in each, so that they bend round boxes. Sweeps of medians
    untangle (Sugiyama et al. 1981).

    Args:
        graph: The graph.

    Returns:
        The layers from left to right, each from top to bottom, stand-ins included.
    """
    column = _columns(graph)
    full = nx.Graph()
    full.add_nodes_from(sorted(graph))
    for a, b in sorted(graph.edges):
        chain = way(a, b, column)
        full.add_edges_from(pairwise(chain))
        column |= {node: column[a] + k for k, node in enumerate(chain) if node not in column}
    count = 1 + max(column.values())
    result = [sorted(node for node in full if column[node] == k) for k in range(count)]
    _untangle(result, full, column)
    return result


def _columns(graph: nx.DiGraph) -> dict[str, int]:
    """Return the layer of each node, counted from the left."""
    depth: dict[str, int] = {}
    # Of the many topological orders always the same.
    for node in reversed(list(nx.lexicographical_topological_sort(graph))):
        depth[node] = 1 + max((depth[after] for after in graph.successors(node)), default=-1)
    last = max(depth.values())
    return {node: last - d for node, d in depth.items()}


def _untangle(stacks: list[list[str]], full: nx.Graph, column: dict[str, int]) -> None:
    """Sort each layer by where its neighbours lie, sweeping to and fro."""
    place: dict[str, float] = {}
    for stack in stacks:
        place |= _centred(stack)
    for sweep in range(SWEEPS):
        ahead = sweep % 2 == 0
        sequence = range(len(stacks)) if ahead else range(len(stacks) - 1, -1, -1)
        for k in sequence:
            side = k - 1 if ahead else k + 1
            pull = {}
            for node in stacks[k]:
                near = [place[other] for other in full.neighbors(node) if column[other] == side]
                pull[node] = sum(near) / len(near) if near else place[node]
            stacks[k] = [node for _, node in sorted((pull[node], node) for node in stacks[k])]
            place |= _centred(stacks[k])


def _centred(stack: list[str]) -> dict[str, float]:
    """Return the places of a layer's nodes, from top to bottom round 0."""
    return {node: i - (len(stack) - 1) / 2 for i, node in enumerate(stack)}


def way(a: str, b: str, column: dict[str, int]) -> list[str]:
    """List the nodes that an edge runs through, stand-ins included.

    Args:
        a: The rule that it starts from.
        b: The rule that it leads to.
        column: The layer of each rule.

    Returns:
        The nodes from left to right.
    """
    return [a, *(f"{a}>{b}>{k}" for k in range(column[a] + 1, column[b])), b]


def draw(dot: str) -> Figure:
    """Draw rules as boxes in layers from left to right, with arrows to those that use them.

    Args:
        dot: What ``snakemake --rulegraph`` prints.

    Returns:
        The figure.
    """
    graph = parse(dot)
    if not graph or not nx.is_directed_acyclic_graph(graph):
        return style.nothing(TITLE, "No rule graph was given.")
    # Arrows that longer ways imply would cover the others.
    reduced = nx.transitive_reduction(graph)
    stacks = layers(reduced)
    column = {node: k for k, stack in enumerate(stacks) for node in stack}
    place = {}
    for k, stack in enumerate(stacks):
        for node, down in _centred(stack).items():
            place[node] = (float(k), -down)
    tall = max(map(len, stacks))
    widest = max(len(text) for _, label in graph.nodes(data="label") for text in label.split("\n"))
    width = max(1.0, 0.085 * widest + 0.55) * len(stacks)
    figure, panels = style.grid(1, 1, width, max(0.5 * tall, 1.5), TITLE)
    axes = panels[0, 0]
    axes.set_axis_off()
    axes.set_xlim(-0.5, len(stacks) - 0.5)
    axes.set_ylim(-tall / 2, tall / 2)
    boxes = {}
    for node, label in graph.nodes(data="label"):
        boxes[node] = axes.annotate(
            label, place[node], ha="center", va="center", zorder=3, bbox=BOX
        )
    for a, b in sorted(reduced.edges):
        for start, end in pairwise(way(a, b, column)):
            # Between stand-ins a line goes on, so only its last piece has a head.
            head = {"arrowstyle": "-|>" if end == b else "-"}
            patches = {"patchA": boxes.get(start), "patchB": boxes.get(end)}
            arrow = {**ARROW, **head, **patches}
            axes.annotate("", place[end], place[start], zorder=2, arrowprops=arrow)
    return figure
