"""The manifest tells an artefact that was changed from one that the workflow left."""

import pytest

from hsac.errors import InputError
from hsac.ops import doctor, manifest
from hsac.study import load
from hsac.study.graph import Graph

FOLDERS = ("tables", "cost", "provenance", "figures")


@pytest.fixture
def graph(tmp_path):
    """The work of the smoke scale, with a file for each artefact and a manifest."""
    graph = Graph(load.load("smoke"), tmp_path / "results/smoke")
    for job in graph.artefacts:
        for path in (job.output, *job.beside):
            file = path / "a.csv" if path.name in FOLDERS else path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{file.name}")
    manifest.write(graph)
    return graph


def test_manifest_lists_every_file(graph):
    files = {path for path in graph.results.rglob("*") if path.is_file()}
    listed = [path for made in manifest.artefacts(graph).values() for path in made]
    assert len(listed) == len(set(listed))
    assert {*listed, manifest.path(graph)} == files
    assert manifest.differing(graph) == {}


def test_manifest_has_the_same_bytes(graph):
    before = manifest.path(graph).read_bytes()
    manifest.write(graph)
    assert manifest.path(graph).read_bytes() == before


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("claims.json", "claims.json"),
        ("measured.parquet", "runs.parquet"),
        ("data/digits.pdf", "data/digits.png"),
        ("tables/a.csv", "tables"),
        ("tables/new.csv", "tables"),
        ("theory/lipschitz.csv", "theory/lipschitz.csv"),
    ],
)
def test_changed_file_names_its_output(graph, name, output):
    """Also one beside the output of its job, and one that was added to a folder."""
    path = graph.results / name
    path.write_text("other")
    assert manifest.differing(graph) == {graph.results / output: [path]}


def test_lost_file_of_a_folder_differs(graph):
    path = graph.results / "tables/a.csv"
    path.unlink()
    assert manifest.differing(graph) == {path.parent: [path]}


def test_foreign_names_touch_nothing(graph, tmp_path):
    """A manifest is data: only outputs of jobs are ever found to differ."""
    outside = tmp_path / "outside"
    outside.write_text("")
    manifest.path(graph).write_text('{"../../outside": "0", "runs/a.json": "0"}')
    assert manifest.differing(graph) == {}


@pytest.mark.parametrize("content", ["[]", "", "{"])
def test_damaged_manifest_is_named(graph, content):
    manifest.path(graph).write_text(content)
    with pytest.raises(InputError, match=r"manifest\.json"):
        manifest.differing(graph)


def test_doctor_names_what_differs(graph, tmp_path):
    at = doctor.Place("smoke", graph, graph.results, tmp_path)
    assert [one.fix for one in doctor.artefacts(at)] == [None]
    (graph.results / "claims.json").write_text("[]")
    found, _ = doctor.artefacts(at)
    assert "claims.json" in found.text
    assert found.fix == "snakemake --config scale=smoke"
