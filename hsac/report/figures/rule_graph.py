"""The workflow's rule graph from the dot text that ``snakemake --rulegraph`` prints."""

import re
from itertools import pairwise

import networkx as nx
from matplotlib.figure import Figure

from hsac.report.figures import style

TITLE = "The workflow's rules (arrows implied by longer ways are left out)"
NODE = re.compile(r'^\s*"?(\w+)"?\s*\[.*?label\s*=\s*"([^"]*)"', re.MULTILINE)
EDGE = re.compile(r'^\s*"?(\w+)"?\s*->\s*"?(\w+)"?', re.MULTILINE)


def parse(dot: str) -> nx.DiGraph:
    """The graph of a dot text: nodes are numbered as in it and carry ``label``; an edge leads to
    what uses it.
    """
    graph = nx.DiGraph()
    for key, label in NODE.findall(dot):
        graph.add_node(key, label=label.replace("\\n", "\n"))
    graph.add_edges_from(
        (a, b) for a, b in EDGE.findall(dot) if a in graph and b in graph and a != b
    )
    return graph


def layers(graph: nx.DiGraph) -> list[list[str]]:
    """Layers of an acyclic graph, left to right, each from top to bottom.

    A rule stands one layer left of the first that uses it. Edges across several layers get a
    stand-in node (``from>to>layer``) in each, so that they bend round boxes; sweeps of medians
    untangle (Sugiyama et al. 1981).
    """
    depth: dict[str, int] = {}
    for node in reversed(list(nx.lexicographical_topological_sort(graph))):
        depth[node] = 1 + max((depth[after] for after in graph.successors(node)), default=-1)
    last = max(depth.values())
    column = {node: last - d for node, d in depth.items()}
    full = nx.Graph()
    full.add_nodes_from(sorted(graph))
    for a, b in sorted(graph.edges):
        chain = way(a, b, column)
        full.add_edges_from(pairwise(chain))
        column |= {node: column[a] + k for k, node in enumerate(chain) if node not in column}
    result = [sorted(node for node in full if column[node] == k) for k in range(last + 1)]
    place = {node: i - (len(layer) - 1) / 2 for layer in result for i, node in enumerate(layer)}
    for sweep in range(24):
        sequence = range(last + 1) if sweep % 2 == 0 else range(last, -1, -1)
        for k in sequence:
            side = k - 1 if sweep % 2 == 0 else k + 1
            pull = {}
            for node in result[k]:
                near = [place[other] for other in full.neighbors(node) if column[other] == side]
                pull[node] = sum(near) / len(near) if near else place[node]
            result[k].sort(key=lambda node: (pull[node], node))
            place |= {node: i - (len(result[k]) - 1) / 2 for i, node in enumerate(result[k])}
    return result


def way(a: str, b: str, column: dict[str, int]) -> list[str]:
    """The nodes an edge runs through, stand-ins included."""
    return [a, *(f"{a}>{b}>{k}" for k in range(column[a] + 1, column[b])), b]


def draw(dot: str) -> Figure:
    """Boxes with rule names in layers from left to right and arrows from a rule to those that use
    what it makes.
    """
    graph = parse(dot)
    if not graph or not nx.is_directed_acyclic_graph(graph):
        return style.nothing(TITLE, "No rule graph was given.")
    reduced = nx.transitive_reduction(graph)
    stacks = layers(reduced)
    column = {node: k for k, stack in enumerate(stacks) for node in stack}
    place = {
        node: (float(k), (len(s) - 1) / 2 - i)
        for k, s in enumerate(stacks)
        for i, node in enumerate(s)
    }
    tall = max(map(len, stacks))
    widest = max(len(text) for _, label in graph.nodes(data="label") for text in label.split("\n"))
    figure, panels = style.grid(
        1, 1, max(1.0, 0.085 * widest + 0.55) * len(stacks), max(0.5 * tall, 1.5), TITLE
    )
    axes = panels[0, 0]
    axes.set_axis_off()
    axes.set_xlim(-0.5, len(stacks) - 0.5)
    axes.set_ylim(-tall / 2, tall / 2)
    boxes = {}
    for node, label in graph.nodes(data="label"):
        boxes[node] = axes.annotate(
            label,
            place[node],
            ha="center",
            va="center",
            zorder=3,
            bbox={
                "boxstyle": "round,pad=0.45",
                "facecolor": "#eaf2f9",
                "edgecolor": style.COLOURS["fixed"],
            },
        )
    for a, b in sorted(reduced.edges):
        chain = way(a, b, column)
        for start, end in pairwise(chain):
            axes.annotate(
                "",
                place[end],
                place[start],
                zorder=2,
                arrowprops={
                    "arrowstyle": "-|>" if end == b else "-",
                    "color": "#666666",
                    "linewidth": 0.9,
                    "shrinkA": 0,
                    "shrinkB": 0,
                    "patchA": boxes.get(start),
                    "patchB": boxes.get(end),
                },
            )
    return figure
