"""`hsac stale` names what the present code and configuration would compute again, nothing else."""

import shutil
import subprocess
import sys

import pytest
from finished_runs import SECONDS, finish
from studies import CONFIG, changed, smoke, smoke_keys, unchecked

from hsac.files import read_json, write_json
from hsac.ops import stale
from hsac.study import fingerprint, resolve
from hsac.study.graph import Graph, variant_path

NOTHING = ["nothing to recompute"]


@pytest.fixture
def keys():
    """The smoke scale, where one method of the classification solves with cg."""
    keys = smoke_keys()
    keys["rules"]["curvature"]["hsac_cg"] = {"rule": "hsac", "solver": {"name": "cg"}}
    keys["experiments"]["digits"]["methods"].append("sgd+hsac_cg")
    return keys


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An editor of a copy of the package, fingerprinted in place of the installed one."""
    root = tmp_path / "hsac"
    shutil.copytree(fingerprint.ROOT, root, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "ROOT", root)
    fingerprint._read.cache_clear()

    def edit(file, old, new):
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new, 1))
        fingerprint._read.cache_clear()

    yield edit
    fingerprint._read.cache_clear()


@pytest.fixture
def graph(keys, package, tmp_path, monkeypatch):
    """The work of a study that is all done: records, weights, indexes, theory's files."""
    monkeypatch.setenv("HSAC_DATA", str(tmp_path / "data"))
    graph = Graph(unchecked(keys), tmp_path / "results")
    for experiment in graph.study.experiments.values():
        write_json(variant_path(experiment), {"hash": "variant"})
    features = [job.output for job in graph.jobs if job.rule == "features"]
    for path in (*graph.theory_files, *features):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for cell in [*graph.trained, *graph.derived]:
        finish(graph, cell)
    return graph


def cells_of(runs):
    return {(run.experiment, run.method) for run in runs}


def test_finished_work_is_not_stale(graph):
    assert list(stale.report(graph)) == NOTHING


@pytest.mark.parametrize(
    "file",
    ["data/download.py", "data/store.py", "ops/gpu_lease.py", "ops/runner.py", "study/record.py"],
)
def test_plumbing_makes_nothing_stale(graph, package, file):
    """A changed retry of a download, say, or another lease of a GPU."""
    package(file, "\n\n\n", "\n\nCHANGED = 1\n\n\n")
    assert list(stale.report(graph)) == NOTHING


@pytest.mark.parametrize(
    "file", ["losses/cross_entropy.py", "train/loop.py", "train/tasks/metrics.py", "ball/maps.py"]
)
def test_computing_makes_every_run_stale(graph, package, file):
    package(file, "\n\n\n", "\n\nCHANGED = 1\n\n\n")
    trained = [*graph.trained, *graph.derived]
    assert cells_of(stale.stale_runs(graph)) == {(cell.experiment, cell.method) for cell in trained}


def test_comments_and_docstrings_are_no_edits(graph, package):
    package("hypergradient/solvers/cg.py", '"""', '"""In other words. ')
    package("hypergradient/solvers/neumann.py", "\nfrom hsac", "\n# a remark\nfrom hsac")
    package("train/loop.py", "\n\n\n", "\n\n\n\n")
    assert list(stale.report(graph)) == NOTHING


def test_a_solver_names_its_runs(graph, package):
    """An edit to a solver names exactly the runs that used it."""
    package("hypergradient/solvers/cg.py", "return ", "return 1 and ")
    runs = stale.stale_runs(graph)
    found = [(run.experiment, run.method, run.seed) for run in runs]
    assert found == [("digits", "sgd+hsac_cg", seed) for seed in (0, 1)]
    assert {run.reason for run in runs} == {"code changed"}
    assert [run.seconds for run in runs] == [SECONDS] * 2
    assert list(stale.report(graph)) == [
        "digits sgd+hsac_cg seeds 0 1: code changed; about 60 s",
        "2 runs, about 60 s one after another; 0 theory files",
    ]


def test_a_model_names_what_follows(graph, package):
    """An edit to a model names its runs and the theory that stands on them."""
    package("models/hgcn.py", "return ", "return 1 and ")
    runs = stale.stale_runs(graph)
    methods = graph.study.experiments["disease"].methods
    assert cells_of(runs) == {("disease", method) for method in methods}
    landscape = graph.theory_file("landscape", "disease")
    assert stale.stale_theory(graph, runs) == {landscape: "its runs change"}
    package("models/mlp.py", "return ", "return 1 and ")
    found = stale.stale_theory(graph, stale.stale_runs(graph))
    assert graph.theory_file("informed", "digits") in found
    assert found[graph.theory_file("hypergradient", "glyphs_noisy")] == "its runs change"


def test_a_grid_follows_its_candidates(graph, package):
    """The fingerprints are the workflow's, whose rule `select` has their indexes for inputs."""
    package("rules/curvature/fixed.py", "return ", "return 1 and ")
    named = cells_of(stale.stale_runs(graph))
    assert ("digits", "sgd+grid") in named
    assert ("digits", "sgd+fixed@1") in named  # only the grid looks at it
    assert {method.split("+")[1].split("@")[0] for _, method in named} == {"fixed", "grid"}


def test_a_hyperparameter_names_its_cell(graph, keys):
    other = changed(keys, "rules", "curvature", "learned", value={"lr": 0.5})
    runs = stale.stale_runs(Graph(unchecked(other), graph.results))
    assert {(run.method, run.reason) for run in runs} == {("sgd+learned", "configuration changed")}
    # those of the method with its former hyperparameter
    assert {run.seconds for run in runs} == {SECONDS}


def test_only_a_new_seed_is_run(graph):
    more = graph.study.model_copy(update={"seeds": [0, 1, 2]})
    runs = stale.stale_runs(Graph(more, graph.results))
    assert {(run.seed, run.reason) for run in runs} == {(2, "never run")}
    assert len(runs) == len(graph.trained) + 1


def test_unlike_work_has_unknown_time(keys, tmp_path, monkeypatch):
    """Where nothing like it has run, and no file of timings is, its length is not known."""
    monkeypatch.setenv("HSAC_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    lines = list(stale.report(Graph(unchecked(keys), tmp_path)))
    assert lines[0] == "digits sgd+euclidean seeds 0 1: never run; unknown length"
    assert f"{tmp_path}/theory/coverage.csv: missing" in lines


def test_without_theory_none_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("HSAC_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    experiments = {"disease": smoke_keys("experiments", "disease")}
    graph = Graph(smoke({"theory": None, "frozen": None, "experiments": experiments}), tmp_path)
    assert stale.stale_theory(graph, stale.stale_runs(graph)) == {}
    assert list(stale.report(graph))[-1].endswith("; 0 theory files")


@pytest.fixture
def one(graph):
    """The record of one run."""
    return graph.folder(resolve.cell(graph.study, "disease", "adam+hsac")) / "seed1.json"


def reasons(graph):
    return [(run.method, run.seed, run.reason) for run in stale.stale_runs(graph)]


def test_edited_records_are_named(graph, one):
    one.write_text(one.read_text().replace("30.0", "29.0"))
    (found,) = reasons(graph)
    assert found[:2] == ("adam+hsac", 1)
    assert found[2].startswith("record edited")


@pytest.mark.parametrize(
    "spoil", [lambda w: w.unlink(), lambda w: w.write_bytes(w.read_bytes()[:-1])]
)
def test_lost_weights_are_named(graph, one, spoil):
    spoil(one.with_suffix(".npy"))
    assert reasons(graph) == [("adam+hsac", 1, "weights missing or edited")]


def test_cut_records_are_named(graph, one):
    one.write_text(one.read_text()[:40])
    assert reasons(graph) == [("adam+hsac", 1, "record cut short")]


def test_failed_runs_say_why(graph):
    cell = resolve.cell(graph.study, "disease", "adam+hsac")
    reason = "stopped after step 3 of 40"
    finish(graph, cell, status="timeout", reason=reason, weights=None)
    found = reasons(graph)
    assert len(found) == 2
    assert f"timeout: {reason}" in found[0][2]


def test_another_variant_names_its_runs(graph):
    path = graph.variant("disease")
    write_json(path, read_json(path) | {"hash": "another"})
    found = {(run.experiment, run.reason) for run in stale.stale_runs(graph)}
    assert found == {("disease", "variant changed")}


def test_it_answers_without_torch():
    heavy = "{'torch', 'datasets'}"
    script = f"import sys, hsac.cli, hsac.ops.stale; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_command(tmp_path):
    (tmp_path / "config").symlink_to(CONFIG)
    command = [sys.executable, "-m", "hsac", "stale", "--scale", "smoke"]
    command += ["--override", '{"seeds":[3]}']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "disease adam+hsac seeds 3: never run; " in done.stdout
