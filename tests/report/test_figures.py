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
    loss_landscape,
    poincare_embedding,
    rule_graph,
    sharpness_trajectories,
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
    runs, trajectories = results / "runs.parquet", results / "trajectories.parquet"
    write_figures(runs, trajectories, DOT, ORDER, REFERENCES, tmp_path)
    expected = {f"{name}.{kind}" for name in CAPTIONS for kind in ("png", "pdf")}
    assert {p.name for p in tmp_path.iterdir()} == expected
    assert all(p.stat().st_size > 5000 for p in tmp_path.iterdir())


def test_figures_say_what_is_missing(results, tmp_path):
    """Without rows every figure is drawn and says why it is empty."""
    empty = [tmp_path / f"{name}.parquet" for name in ("runs", "trajectories")]
    for path in empty:
        pd.read_parquet(results / path.name).iloc[:0].to_parquet(path)
    write_figures(*empty, "", {}, {}, tmp_path)
    trajectories = pd.read_parquet(results / "trajectories.parquet")
    runs = pd.read_parquet(results / "runs.parquet").query("experiment == 'glyphs_long_tailed'")
    figure = poincare_embedding.draw(runs, trajectories, results, ORDER, REFERENCES)
    assert "No model with a two-dimensional ball" in texts(figure)


def test_long_names_stay_in_picture(results):
    long = {e: f"{e}_with_eight_channels_at_a_fixed_temperature"[:34] for e in ORDER}
    tables = [pd.read_parquet(results / f"{name}.parquet") for name in ("runs", "trajectories")]
    runs, trajectories = (table.replace({"experiment": long}) for table in tables)
    order = {long[e]: methods for e, methods in ORDER.items()}
    references = {long[e]: reference for e, reference in REFERENCES.items()}
    first = accuracy_by_method.draw(runs, order, references)
    for figure in (first, curvature_trajectories.draw(runs, trajectories, order)):
        figure.draw_without_rendering()
        for panel in figure.axes:
            place = panel.title.get_window_extent()
            assert 0 <= place.x0 <= place.x1 <= figure.bbox.width, panel.get_title()


def test_saved_bytes_repeat_without_date(tmp_path):
    for name in ("a", "b"):
        style.save(rule_graph.draw(DOT), tmp_path / name)
    for kind in ("png", "pdf"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert b"CreationDate" not in (tmp_path / "a.pdf").read_bytes()


def test_rules_stand_left_of_users():
    """The rule graph reads dot text, and each rule stands left of those that use it."""
    graph = rule_graph.parse(DOT)
    assert dict(graph.nodes(data="label")) == {"0": "all", "1": "gather", "2": "train"}
    assert set(graph.edges) == {("1", "0"), ("2", "0"), ("2", "1")}
    column = {node: k for k, layer in enumerate(rule_graph.layers(graph)) for node in layer}
    assert all(column[a] < column[b] for a, b in graph.edges)
    assert column["2>0>1"] == 1
    assert {"all", "gather", "train"} <= set(texts(rule_graph.draw(DOT)).split())


def test_cyclic_and_empty_graphs_are_drawn():
    assert "No rule graph" in texts(rule_graph.draw(""))
    cyclic = '0[label = "a"]\n1[label = "b"]\n0 -> 1\n1 -> 0'
    assert not nx.is_directed_acyclic_graph(rule_graph.parse(cyclic))
    assert "No rule graph" in texts(rule_graph.draw(cyclic))


def test_embedding_lies_in_unit_disk(results):
    runs = pd.read_parquet(results / "runs.parquet")
    trajectories = pd.read_parquet(results / "trajectories.parquet")
    figure = poincare_embedding.draw(runs, trajectories, results, ORDER, REFERENCES)
    offsets = [axes.collections[0].get_offsets() for axes in figure.axes if axes.collections]
    titles = [axes.get_title() for axes in figure.axes if axes.collections]
    shown = ("fixed@0.3", "learned", "drift_up", "drift_down", "hsac")
    assert [title.split("\n")[0] for title in titles] == [f"digits: sgd+{rule}" for rule in shown]
    assert len(offsets) == len(titles)
    assert all(((points**2).sum(axis=1) < 1).all() for points in offsets)


@pytest.fixture
def renamed(results):
    """Runs and trajectories of digits whose rules have names that no list can know."""
    names = {"hsac": "signed", "learned": "drift_slow", "drift_up": "pac_bayes", "grid": "search"}
    tables = []
    for name in ("runs", "trajectories"):
        table = pd.read_parquet(results / f"{name}.parquet").query("experiment == 'digits'")
        for old, new in names.items():
            table["method"] = table["method"].str.replace(f"+{old}", f"+{new}")
        tables.append(table)
    return tables


def legend(figure: Figure) -> dict[str, str]:
    """Colours by label."""
    lines = figure.legends[0].get_lines()
    return {line.get_label(): line.get_color() for line in lines}


def test_moving_is_what_moved(renamed, results):
    """A rule is drawn because its curvature moved in the records, whatever it is called."""
    runs, trajectories = renamed
    order = {"digits": sorted(set(runs["method"]))}
    moved = {f"sgd+{rule}" for rule in ("signed", "drift_slow", "pac_bayes", "drift_down")}
    moved |= {"sam+signed", "sam+drift_slow"}
    curvatures = legend(curvature_trajectories.draw(runs, trajectories, order))
    assert set(curvatures) == moved
    # A search's curvature is constant in the training that it chose.
    references = {"digits": "sgd+fixed@0.3"}
    sharpness = legend(sharpness_trajectories.draw(runs, trajectories, order, references))
    still = {"sgd+euclidean", "sgd+fixed@0.3", "sam+fixed@0.3"}
    assert set(sharpness) == moved | still
    slices = loss_landscape.draw(runs, trajectories, results, order, references)
    assert set(legend(slices)) == {m for m in moved if m.startswith("sgd")} | {"sgd+fixed@0.3"}
    for colours in (curvatures, sharpness):
        by_rule = {label.split("+")[1]: colour for label, colour in colours.items()}
        # One colour a rule, and none for two rules.
        assert len(set(by_rule.values())) == len(by_rule) == len(set(colours.values()))


def test_still_curvature_is_said(renamed):
    runs, trajectories = renamed
    still = trajectories[trajectories["method"].str.contains("fixed|euclidean|search")]
    drawn = curvature_trajectories.draw(runs, still, {})
    assert "No run with a moving curvature" in texts(drawn)


def test_weight_rules_look_different():
    """A rule that no list knows looks like none of the plain ones, nor like sam."""
    for weight in ("asam", "lion"):
        assert style.line(f"{weight}+hsac") not in ("-", "--")
        assert style.marker(f"{weight}+hsac") not in "os"
        assert style.face(f"{weight}+hsac") == "white"


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


def test_report_imports_no_torch():
    for path in Path(style.__file__).parents[1].rglob("*.py"):
        text = path.read_text()
        assert "import torch" not in text, path
        assert "from torch" not in text, path
