"""Every figure renders, with data and without, to the same bytes each time."""

from pathlib import Path

import networkx as nx
import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic_records import ORDER, REFERENCES

from hsac.report.figures import (
    CAPTIONS,
    accuracy_by_method,
    curvature_trajectories,
    poincare_embedding,
    rule_graph,
    style,
    write_figures,
)

DOT = """digraph snakemake_dag {
    graph[bgcolor=white, margin=0];
    node[shape=box, style=rounded, fontname=sans];
\t0[label = "all", color = "0.20 0.6 0.85", style="rounded"];
\t1[label = "gather", color = "0.20 0.6 0.85", style="rounded"];
\t2[label = "train", color = "0.20 0.6 0.85", style="rounded"];
\t1 -> 0
\t2 -> 0
\t2 -> 1
}"""


def texts(figure: Figure) -> str:
    return " ".join(artist.get_text() for axes in figure.axes for artist in axes.texts)


def test_all_figures_render(results, tmp_path):
    write_figures(
        results / "runs.parquet", results / "trajectories.parquet", DOT, ORDER, REFERENCES, tmp_path
    )
    assert {p.name for p in tmp_path.iterdir()} == {
        f"{name}.{kind}" for name in CAPTIONS for kind in ("png", "pdf")
    }
    assert all(p.stat().st_size > 5000 for p in tmp_path.iterdir())


def test_figures_say_when_there_is_nothing_to_draw(results, tmp_path):
    for name in ("runs", "trajectories"):
        pd.read_parquet(results / f"{name}.parquet").iloc[:0].to_parquet(
            tmp_path / f"{name}.parquet"
        )
    write_figures(
        tmp_path / "runs.parquet", tmp_path / "trajectories.parquet", "", {}, {}, tmp_path
    )
    runs = pd.read_parquet(results / "runs.parquet").query("experiment == 'glyphs_long_tailed'")
    assert "No model with a two-dimensional ball" in texts(
        poincare_embedding.draw(runs, results, ORDER, REFERENCES)
    )


def test_long_names_stay_within_the_picture(results):
    long = {e: f"{e}_with_eight_channels_at_a_fixed_temperature"[:34] for e in ORDER}
    runs, trajectories = (
        pd.read_parquet(results / f"{name}.parquet").replace({"experiment": long})
        for name in ("runs", "trajectories")
    )
    order, references = ({long[e]: of for e, of in given.items()} for given in (ORDER, REFERENCES))
    for figure in (
        accuracy_by_method.draw(runs, order, references),
        curvature_trajectories.draw(runs, trajectories, order),
    ):
        figure.draw_without_rendering()
        for panel in figure.axes:
            place = panel.title.get_window_extent()
            assert 0 <= place.x0 <= place.x1 <= figure.bbox.width, panel.get_title()


def test_saved_bytes_are_the_same_twice_and_carry_no_date(tmp_path):
    for name in ("a", "b"):
        style.save(rule_graph.draw(DOT), tmp_path / name)
    for kind in ("png", "pdf"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert b"CreationDate" not in (tmp_path / "a.pdf").read_bytes()


def test_rule_graph_reads_dot_and_stands_each_rule_left_of_its_users():
    graph = rule_graph.parse(DOT)
    assert dict(graph.nodes(data="label")) == {"0": "all", "1": "gather", "2": "train"}
    assert set(graph.edges) == {("1", "0"), ("2", "0"), ("2", "1")}
    column = {node: k for k, layer in enumerate(rule_graph.layers(graph)) for node in layer}
    assert all(column[a] < column[b] for a, b in graph.edges)
    assert column["2>0>1"] == 1
    assert {"all", "gather", "train"} <= set(texts(rule_graph.draw(DOT)).split())


def test_a_cyclic_or_empty_graph_does_not_fail():
    assert "No rule graph" in texts(rule_graph.draw(""))
    assert not nx.is_directed_acyclic_graph(
        rule_graph.parse('0[label = "a"]\n1[label = "b"]\n0 -> 1\n1 -> 0')
    )


def test_embedding_lies_in_the_unit_disk(results):
    runs = pd.read_parquet(results / "runs.parquet")
    figure = poincare_embedding.draw(runs, results, ORDER, REFERENCES)
    offsets = [axes.collections[0].get_offsets() for axes in figure.axes if axes.collections]
    assert len(offsets) == 3
    assert all(((points**2).sum(axis=1) < 1).all() for points in offsets)


@pytest.mark.parametrize(
    ("method", "rule"),
    [
        ("sgd+fixed@0.3", "fixed"),
        ("sam+hsac", "hsac"),
        ("adam+euclidean", "euclidean"),
        ("sam+hsac+focal", "hsac"),
    ],
)
def test_style_follows_the_rules(method, rule):
    assert style.colour(method) == style.COLOURS[rule]
    assert style.line(method) == ("--" if method.startswith("sam") else "-")


def test_report_floor_does_not_import_torch():
    sources = (Path(style.__file__).parents[1]).rglob("*.py")
    assert not [
        p for p in sources if "import torch" in p.read_text() or "from torch" in p.read_text()
    ]
