"""`hsac stale` names what the present code and configuration would compute again, and nothing else."""

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from finished_runs import SECONDS, finish

from hsac import config, layout
from hsac.files import read_json, write_json
from hsac.ops import stale
from hsac.study import fingerprint

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture
def settings():
    """The smoke scale, where one method of the classification solves with cg."""
    settings = config.load("smoke", folder=CONFIG)
    settings["rules"]["curvature"]["hsac_cg"] = {"rule": "hsac", "solver": {"name": "cg"}}
    settings["experiments"]["digits"]["methods"].append("sgd+hsac_cg")
    return settings


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package whose files are fingerprinted in place of the installed ones; returns
    an editor.
    """
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
def results(settings, package, tmp_path, monkeypatch):
    """A results folder where every run of the settings is finished: records, weights, indexes,
    theory's files.
    """
    monkeypatch.setenv("HSAC_DATA", str(tmp_path / "data"))
    results = tmp_path / "results"
    for experiment in settings["experiments"].values():
        write_json(layout.variant_path(experiment), {"hash": "variant"})
    for path in layout.theory_paths(settings, results):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for cell in config.trained_cells(settings) + [
        c for c in config.cells(settings) if config.derived(c)
    ]:
        finish(settings, results, cell)
    return results


def cells_of(runs):
    return {(run.experiment, run.method) for run in runs}


def test_nothing_is_stale_after_all_has_run(settings, results):
    assert list(stale.report(settings, results)) == ["nothing to recompute"]


@pytest.mark.parametrize(
    "file",
    ["data/download.py", "data/store.py", "ops/gpu_lease.py", "ops/runner.py", "study/record.py"],
)
def test_plumbing_makes_nothing_stale(settings, results, package, file):
    """A changed retry of a download, say, or another lease of a GPU."""
    package(file, "\n\n\n", "\n\nCHANGED = 1\n\n\n")
    assert list(stale.report(settings, results)) == ["nothing to recompute"]


@pytest.mark.parametrize(
    "file", ["losses/cross_entropy.py", "train/loop.py", "train/tasks/metrics.py", "ball/maps.py"]
)
def test_computing_makes_every_run_stale(settings, results, package, file):
    package(file, "\n\n\n", "\n\nCHANGED = 1\n\n\n")
    found = cells_of(stale.stale_runs(settings, results))
    trained = [*config.trained_cells(settings), *filter(config.derived, config.cells(settings))]
    assert found == {(cell["experiment"], cell["method"]) for cell in trained}


def test_an_edit_to_a_comment_or_a_docstring_is_none(settings, results, package):
    package("hypergradient/solvers/cg.py", '"""', '"""In other words. ')
    package("hypergradient/solvers/neumann.py", "\nfrom hsac", "\n# a remark\nfrom hsac")
    package("train/loop.py", "\n\n\n", "\n\n\n\n")
    assert list(stale.report(settings, results)) == ["nothing to recompute"]


def test_an_edit_to_a_solver_names_exactly_the_runs_that_used_it(settings, results, package):
    package("hypergradient/solvers/cg.py", "return ", "return 1 and ")
    runs = stale.stale_runs(settings, results)
    assert [(run.experiment, run.method, run.seed) for run in runs] == [
        ("digits", "sgd+hsac_cg", s) for s in (0, 1)
    ]
    assert {run.reason for run in runs} == {"code changed"}
    assert [run.seconds for run in runs] == [SECONDS] * 2
    assert list(stale.report(settings, results)) == [
        "digits sgd+hsac_cg seeds 0 1: code changed; about 60 s",
        "2 runs, about 60 s one after another; 0 theory files",
    ]


def test_an_edit_to_a_model_names_its_runs_and_what_stands_on_them(settings, results, package):
    package("models/hgcn.py", "return ", "return 1 and ")
    runs = stale.stale_runs(settings, results)
    assert cells_of(runs) == {
        ("disease", method) for method in settings["experiments"]["disease"]["methods"]
    }
    assert stale.stale_theory(settings, results, runs) == {
        layout.landscape_path(results, "disease"): "its runs change"
    }
    package("models/mlp.py", "return ", "return 1 and ")
    found = stale.stale_theory(settings, results, stale.stale_runs(settings, results))
    assert layout.informed_path(results, "digits") in found
    assert found.get(layout.hypergradient_path(results, "glyphs_noisy")) == "its runs change"


def test_the_fingerprints_are_the_workflows(settings, results, package):
    """A grid follows its candidates, as the workflow's rule `select` has their indexes for inputs."""
    package("rules/curvature/fixed.py", "return ", "return 1 and ")
    named = cells_of(stale.stale_runs(settings, results))
    assert ("digits", "sgd+grid") in named
    assert ("digits", "sgd+fixed@1") in named  # only the grid looks at it
    assert {method.split("+")[1].split("@")[0] for _, method in named} == {"fixed", "grid"}


def test_a_changed_hyperparameter_names_its_cell(settings, results):
    changed = copy.deepcopy(settings)
    changed["rules"]["curvature"]["learned"] = {"lr": 0.5}
    runs = stale.stale_runs(changed, results)
    assert {(run.method, run.reason) for run in runs} == {("sgd+learned", "configuration changed")}
    assert {run.seconds for run in runs} == {
        SECONDS
    }  # of the method with its former hyperparameter


def test_a_new_seed_is_all_that_is_run(settings, results):
    runs = stale.stale_runs(settings | {"seeds": [0, 1, 2]}, results)
    assert {(run.seed, run.reason) for run in runs} == {(2, "never run")}
    assert len(runs) == len(config.trained_cells(settings)) + 1


def test_time_is_unknown_where_nothing_like_it_has_run(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("HSAC_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # where no file of timings is
    lines = list(stale.report(settings, tmp_path))
    assert lines[0] == "digits sgd+euclidean seeds 0 1: never run; unknown length"
    assert f"{tmp_path}/theory/coverage.csv: missing" in lines


@pytest.fixture
def one(settings, results):
    """The record of one run."""
    return (
        layout.index_path(results, config.cell(settings, "disease", "adam+hsac"), 0).parent
        / "seed1.json"
    )


def reasons(settings, results):
    return [(run.method, run.seed, run.reason) for run in stale.stale_runs(settings, results)]


def test_a_record_edited_by_hand_is_named(settings, results, one):
    one.write_text(one.read_text().replace("30.0", "29.0"))
    (found,) = reasons(settings, results)
    assert found[:2] == ("adam+hsac", 1)
    assert found[2].startswith("record edited")


@pytest.mark.parametrize(
    "spoil", [lambda w: w.unlink(), lambda w: w.write_bytes(w.read_bytes()[:-1])]
)
def test_lost_weights_are_named(settings, results, one, spoil):
    spoil(one.with_suffix(".npy"))
    assert reasons(settings, results) == [("adam+hsac", 1, "weights missing or edited")]


def test_a_record_cut_short_is_named(settings, results, one):
    one.write_text(one.read_text()[:40])
    assert reasons(settings, results) == [("adam+hsac", 1, "record cut short")]


def test_a_run_that_failed_is_named_with_its_reason(settings, results):
    cell = config.cell(settings, "disease", "adam+hsac")
    finish(
        settings, results, cell, status="timeout", reason="stopped after step 3 of 40", weights=None
    )
    found = reasons(settings, results)
    assert len(found) == 2
    assert "timeout: stopped after step 3 of 40" in found[0][2]


def test_another_variant_names_the_runs_cut_from_it(settings, results):
    path = layout.variant_path(settings["experiments"]["disease"])
    write_json(path, read_json(path) | {"hash": "another"})
    assert {(run.experiment, run.reason) for run in stale.stale_runs(settings, results)} == {
        ("disease", "variant changed")
    }


def test_it_answers_without_torch():
    script = (
        "import sys, hsac.cli, hsac.ops.stale; assert not {'torch', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_command(tmp_path, monkeypatch):
    (tmp_path / "config").symlink_to(CONFIG)
    done = subprocess.run(
        [sys.executable, "-m", "hsac", "stale", "--scale", "smoke", "--override", '{"seeds":[3]}'],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "disease adam+hsac seeds 3: never run; " in done.stdout
