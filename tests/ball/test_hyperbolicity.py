"""Gromov's δ against its definition over all quadruples, and where it is known."""

import itertools
import math

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hsac.ball.hyperbolicity import four_point, relative_hyperbolicity
from hsac.report.pictures.hyperbolicity import hyperbolicity

F64 = torch.float64


def over_quadruples(distance):
    """½ of the largest gap between the two larger of three sums, over all sets of four points."""
    d = distance.tolist()
    largest = 0.0
    for x, y, z, w in itertools.product(range(len(d)), repeat=4):
        sums = sorted((d[x][y] + d[z][w], d[x][z] + d[y][w], d[x][w] + d[y][z]))
        largest = max(largest, (sums[2] - sums[1]) / 2)
    return largest


def graph_distance(graph):
    return torch.as_tensor(networkx.floyd_warshall_numpy(graph), dtype=F64)


@given(st.integers(0, 10**6), st.integers(4, 8), st.integers(1, 3))
def test_delta_is_the_four_point_definition(seed, points, dimension) -> None:
    """Gromov's δ is the four-point definition."""
    x = torch.randn(points, dimension, generator=torch.Generator().manual_seed(seed), dtype=F64)
    distance = torch.cdist(x, x)
    assert float(four_point(distance)) == pytest.approx(over_quadruples(distance), abs=1e-12)


@pytest.mark.parametrize(
    "graph", [networkx.balanced_tree(2, 4), networkx.path_graph(9), networkx.star_graph(7)]
)
def test_a_tree_has_delta_0(graph) -> None:
    assert float(four_point(graph_distance(graph))) == 0


@pytest.mark.parametrize(("n", "delta"), [(4, 1.0), (5, 0.5), (8, 2.0), (12, 3.0)])
def test_cycles_have_their_published_delta(n, delta) -> None:
    """The cycle of 4k vertices has δ = k, and C5 has 1/2."""
    assert float(four_point(graph_distance(networkx.cycle_graph(n)))) == delta


def test_circle_and_sphere() -> None:
    """The circle and the sphere.

    Four points a quarter turn apart: chords 2 and √2, arcs π and π/2.
    """
    angle = torch.arange(16, dtype=F64) * math.pi / 8
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    sphere = torch.cat([torch.eye(3, dtype=F64), -torch.eye(3, dtype=F64)])
    for points in (circle, sphere):
        chord = torch.cdist(points, points)
        assert float(relative_hyperbolicity(chord)) == pytest.approx(2 - math.sqrt(2), abs=1e-12)
        arc = 2 * (chord / 2).clamp(max=1).asin()
        assert float(relative_hyperbolicity(arc)) == pytest.approx(1, abs=1e-7)


@given(st.integers(0, 10**6), st.floats(0.05, 0.6))
def test_delta_agrees_with_pictures_of_graphs(seed, density) -> None:
    """It agrees with the δ of the pictures of graphs.

    Whose δ goes through all quadruples of a small graph's largest component.
    """
    graph = networkx.gnp_random_graph(20, density, seed=seed)
    part = graph.subgraph(
        max(networkx.connected_components(graph), key=lambda nodes: (len(nodes), -min(nodes)))
    )
    pictured = hyperbolicity(np.array(list(graph.edges), dtype=np.int64).reshape(-1, 2).T, 20)
    assert pictured.exact
    distance = graph_distance(part)
    assert float(four_point(distance)) == pictured.largest
    assert float(relative_hyperbolicity(distance)) == pytest.approx(pictured.relative, abs=1e-15)


def test_batch_is_its_parts_any_unit() -> None:
    """A batch is its parts and the unit does not matter."""
    x = torch.randn(3, 7, 2, generator=torch.Generator().manual_seed(1), dtype=F64)
    distance = torch.cdist(x, x)
    together = relative_hyperbolicity(distance)
    assert together.tolist() == [float(relative_hyperbolicity(one)) for one in distance]
    torch.testing.assert_close(relative_hyperbolicity(1e3 * distance), together)
    assert float(relative_hyperbolicity(torch.zeros(5, 5))) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_distances_are_differenced_in_float32(dtype: torch.dtype) -> None:
    """Their sums are exact there, and rounded in half precision."""
    points = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    distance = torch.cdist(points, points).to(dtype)
    assert four_point(distance).double() == four_point(distance.double())
