"""Pictures of data show what they say, and the shape of a graph is what its definition says."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsac.cli import main
from hsac.data import load_images
from hsac.errors import InputError
from hsac.report.pictures import confusion, graph, sheet, write_picture
from hsac.report.pictures.hyperbolicity import components, hyperbolicity


def edges(drawn: nx.Graph) -> tuple[np.ndarray, int]:
    named = nx.convert_node_labels_to_integers(drawn, ordering="sorted")
    pairs = sorted(tuple(sorted(pair)) for pair in named.edges)
    return np.array(pairs, dtype=np.int64).reshape(-1, 2).T, named.number_of_nodes()


def slow_delta(drawn: nx.Graph) -> float:
    """Compute δ from its definition, over all quadruples.

    It is half the gap of the two largest of the three sums of opposite distances.
    """
    part = drawn.subgraph(max(nx.connected_components(drawn), key=len))
    d = dict(nx.all_pairs_shortest_path_length(part))
    gaps = [0.0]
    for w, x, y, z in itertools.combinations(part.nodes, 4):
        sums = sorted([d[w][x] + d[y][z], d[w][y] + d[x][z], d[w][z] + d[x][y]])
        gaps.append((sums[2] - sums[1]) / 2)
    return max(gaps)


@pytest.mark.parametrize(
    ("drawn", "delta"),
    [
        (nx.balanced_tree(2, 4), 0),
        (nx.complete_graph(7), 0),
        (nx.cycle_graph(8), 2),
        (nx.cycle_graph(4), 1),
        (nx.grid_2d_graph(5, 5), 4),
        (nx.cycle_graph(5), 0.5),
    ],
)
def test_hyperbolicity_of_known_graphs(drawn: nx.Graph, delta: float) -> None:
    found = hyperbolicity(*edges(drawn))
    assert found.largest == delta
    assert found.exact
    assert found.diameter == nx.diameter(drawn)
    assert found.relative == 2 * delta / nx.diameter(drawn)


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 12), st.floats(0.15, 0.6), st.integers(0, 1000))
def test_hyperbolicity_is_that_of_the_definition(nodes: int, density: float, seed: int) -> None:
    drawn = nx.gnp_random_graph(nodes, density, seed=seed)
    sizes = sorted((len(part) for part in nx.connected_components(drawn)), reverse=True)
    if len(sizes) > 1 and sizes[0] == sizes[1]:
        return  # which part is the largest is not defined
    assert hyperbolicity(*edges(drawn)).largest == slow_delta(drawn)


def test_sample_is_a_lower_bound() -> None:
    """A sample is a lower bound and always the same."""
    drawn = edges(nx.grid_2d_graph(30, 40))
    found = hyperbolicity(*drawn)
    assert not found.exact
    assert 15 < found.largest <= 29
    assert found == hyperbolicity(*drawn)


def test_components_are_ordered_by_size() -> None:
    drawn = nx.disjoint_union_all([nx.path_graph(2), nx.cycle_graph(5), nx.empty_graph(1)])
    assert [part.tolist() for part in components(*edges(drawn))] == [[2, 3, 4, 5, 6], [0, 1], [7]]


def test_tree_is_laid_out_by_depth() -> None:
    """A tree is laid out by depth, without overlap."""
    tree = nx.balanced_tree(3, 4)
    place = graph.place_tree(*edges(tree))
    depth = nx.shortest_path_length(tree, 0)
    np.testing.assert_allclose(
        np.hypot(*place.T), [depth[node] for node in range(len(place))], atol=1e-9
    )
    assert len(np.unique(place.round(6), axis=0)) == len(place)


def test_path_and_node_can_be_drawn() -> None:
    """A path and a single node can be drawn."""
    assert np.hypot(*graph.place_tree(*edges(nx.path_graph(4))).T).tolist() == pytest.approx(
        [0, 1, 2, 3]
    )
    assert graph.place_tree(np.empty((2, 0), np.int64), 1).tolist() == [[0, 0]]


def test_drawn_part_is_connected() -> None:
    """The drawn part is connected and holds the node with the most neighbours."""
    drawn = nx.barabasi_albert_graph(3000, 2, seed=1)
    kept = graph.drawn_part(*edges(drawn))
    assert len(kept) == graph.DRAWN
    assert nx.is_connected(drawn.subgraph(kept.tolist()))
    assert max(drawn.degree, key=lambda pair: pair[1])[0] in kept


def test_a_large_graph_is_described() -> None:
    drawn = nx.disjoint_union(nx.barabasi_albert_graph(600, 2, seed=1), nx.path_graph(3))
    edge, nodes = edges(drawn)
    arrays = {"x": np.zeros((nodes, 2), np.float32), "edge": edge, "y": np.arange(nodes) % 2}
    figure, caption, numbers = graph.draw("made", arrays)
    assert numbers["components"] == 2
    assert numbers["largest_component"] == 600
    assert numbers["homophily"] == pytest.approx(
        (arrays["y"][edge[0]] == arrays["y"][edge[1]]).mean()
    )
    assert not numbers["tree"]
    assert f"δ ≥ {numbers['delta']:g}" in caption
    assert "made: 603 nodes" in figure._suptitle.get_text()


@pytest.mark.parametrize("edge", [np.empty((2, 0), np.int64), np.array([[3], [3]])])
def test_graph_without_edges_is_drawn(edge: np.ndarray, tmp_path: Path) -> None:
    """No number is NaN, and the degrees have an empty panel."""
    arrays = {"x": np.zeros((9, 2), np.float32), "edge": edge, "y": np.arange(9) % 2}
    figure, caption, numbers = graph.draw("dust", arrays)
    figure.savefig(tmp_path / "dust.png")
    assert numbers["components"] == 9
    assert numbers["homophily"] == (1.0 if edge.size else None)
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    assert "9 nodes, which no edge joins" in caption
    assert ("no edges. Gromov" in caption) == (not edge.size)


def test_lone_nodes_keep_apart() -> None:
    place = graph.place_lone(graph.DRAWN)
    gaps = np.linalg.norm(place[:, None] - place, axis=2) + np.eye(len(place)) * 9
    assert gaps.min() > 0.9


def test_set_without_training_part_is_drawn() -> None:
    """The sheet shows the first part that there is."""
    arrays = {
        "image": np.random.default_rng(0).integers(0, 256, (12, 4, 4), dtype=np.uint8),
        "label": np.arange(12) % 3,
        "split": np.repeat([1, 2], 6).astype(np.int8),
        "classes": np.array(["a", "b", "c"]),
    }
    _, caption, numbers = sheet.draw("late", arrays)
    assert [len(rows) for rows in numbers["rows"]] == [2, 2, 2]
    assert "one a row (validation part)" in caption


def test_sheet_rows_hold_their_class(data_folder: Path) -> None:
    """Rows of a sheet hold the class that they name."""
    images = load_images("digits", data_folder)
    arrays = {name: getattr(images, name) for name in ("image", "label", "split", "group")}
    figure, caption, numbers = sheet.draw("digits", {**arrays, "classes": np.array(images.classes)})
    assert numbers["classes"] == list("0123456789")
    for digit, rows in enumerate(numbers["rows"]):
        assert len(set(rows)) == sheet.COLUMNS
        assert set(images.label[rows]) == {digit}
        assert set(images.split[rows]) == {0}
    assert "all classes" in caption
    (panel,) = figure.axes
    assert [text.get_text() for text in panel.get_yticklabels()] == list("0123456789")
    shown = panel.get_images()[0].get_array()
    np.testing.assert_array_equal(shown[:8, :8], images.image[numbers["rows"][0][0]])


def test_few_shot_sheet_names_the_parts() -> None:
    """A sheet of a few-shot set names the parts."""
    label = np.repeat(np.arange(30), 2)
    arrays = {
        "image": np.random.default_rng(0).integers(0, 256, (60, 20, 20, 3), dtype=np.uint8),
        "label": label,
        "split": np.repeat([0, 1, 2], 20).astype(np.int8),
        "classes": np.array([f"under_score {i}" for i in range(29)] + ["Ω"]),
    }
    figure, caption, numbers = sheet.draw("birds", arrays)
    words = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(words) == sheet.ROWS
    assert words[0] == "under score 0 (train)"
    assert words[4] == "under score 10 (validation)"
    assert words[-1] == "U+03A9 Ω (test)"
    assert "12 of 30 classes" in caption
    assert [len(rows) for rows in numbers["rows"]] == [2] * 12


def test_who_calls_what_what() -> None:
    official = np.repeat(np.arange(4), 25)
    given = official.copy()
    given[:5] = 1
    _, caption, numbers = confusion.draw("people", {"clean_label": official, "noisy_label": given})
    assert numbers == {"differ": {"noisy_label": 0.05}}
    assert "people" in caption


def test_labels_beyond_the_official_are_drawn() -> None:
    """People name a class that no row is of, and a coarse column has no official one."""
    official = np.arange(8) % 2
    columns = {"coarse_label": official, "wild_label": official * 3}
    _, _, numbers = confusion.draw("wild", {"clean_label": official, **columns})
    assert numbers == {"differ": {"coarse_label": 0.0, "wild_label": 0.5}}


def test_pictures_are_always_the_same(data_folder: Path, tmp_path: Path) -> None:
    """A picture is written with its caption and is always the same."""
    for folder in ("one", "two"):
        write_picture("disease", data_folder, tmp_path / folder / "disease.png")
    for ending in ("png", "pdf", "json"):
        one, two = (
            (tmp_path / folder / f"disease.{ending}").read_bytes() for folder in ("one", "two")
        )
        assert one == two
    said = json.loads((tmp_path / "one" / "disease.json").read_text())
    assert said["verified"] == "yes"
    assert said["numbers"]["delta"] == 0
    assert "the whole tree" in said["caption"]


def test_what_cannot_be_drawn_is_named(data_folder: Path, tmp_path: Path) -> None:
    """What cannot be drawn is named in one line."""
    with pytest.raises(InputError, match=r"--picture: found .*digits\.jpg"):
        write_picture("digits", data_folder, tmp_path / "digits.jpg")
    with pytest.raises(InputError, match="fetch dataset cora"):
        write_picture("cora", tmp_path, tmp_path / "cora.png")


def test_the_command_draws(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("HSAC_DATA", str(data_folder))
    assert main(["data", "info", "digits", "--picture", str(tmp_path / "digits.png")]) == 0
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")
    assert "citation" in capsys.readouterr().out


def test_pictures_need_no_torch() -> None:
    code = (
        "import sys, hsac.report.pictures; print([m for m in ('torch', 'datasets') if m in"
        " sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
