"""Fairness, from the stored records of a scale that searches, run through the workflow."""

import json
import shlex
import shutil
import subprocess
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
import torch
from copied import TINY, copy_workflow, smoke_scale, snakemake

from hsac import cli
from hsac.data import load_variant
from hsac.files import file_sha256
from hsac.ops import stale
from hsac.report.answer import find
from hsac.report.recompute import beside_commands
from hsac.study import load, resolve
from hsac.study.graph import Graph, data_root
from hsac.train.inputs import load_inputs
from hsac.train.setup import prepare

pytestmark = pytest.mark.slow
METHODS = ["sgd+fixed@0.3", "sgd+fixed_searched", "sgd+hsac"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The workflow's files with a scale that searches, run up to its tables."""
    smoke = smoke_scale()
    digits = smoke["experiments"]["digits"] | {"training": TINY, "methods": METHODS, "rules": {}}
    digits.pop("informed")
    tiny = {
        "seeds": [0, 1],
        "search": {"points": 3, "seeds": [100, 101]},
        "experiments": {"digits": digits},
        "theory": smoke["theory"] | {"studies": {}, "measured": []},
    }
    folder = copy_workflow(tmp_path_factory.mktemp("project"), tiny)
    done = snakemake(folder, "results/tiny/provenance")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def inside(project, monkeypatch):
    """The work of the project, which is the working directory."""
    monkeypatch.chdir(project)
    return Graph(load.load("tiny"))


def read(paths):
    return [json.loads(Path(path).read_text()) for path in paths]


def asked(results, method):
    """Return the options that name a method of digits."""
    settings = str(results / "settings.json")
    return ["--settings", settings, "--experiment", "digits", "--method", method]


def stored(results):
    """Return the records of each method's points, and of its own runs, as they lie on the disk."""
    found = {}
    for method in METHODS:
        records = read((results / "runs/digits" / method).rglob("seed*.json"))
        own = [record for record in records if "tuning" in record]
        found[method] = [record for record in records if "tuning" not in record], own
    return found


def test_every_method_tried_equally_much(inside):
    """As many points each, on seeds that it is not judged by."""
    for points, own in stored(inside.results).values():
        assert {record["tried"] for record in own} == {3}
        assert len({record["config_hash"] for record in points}) == 3
        assert sorted(record["seed"] for record in points) == [100] * 3 + [101] * 3
        assert sorted(record["seed"] for record in own) == [0, 1]


def test_weight_parameters_tried_are_shared(inside):
    """Methods of one weight rule tried the same ones."""
    tried = [
        sorted({json.dumps(record["config"]["weights"]) for record in points})
        for points, _ in stored(inside.results).values()
    ]
    assert len(tried[0]) == 3
    assert tried[0] == tried[1] == tried[2]


def test_selection_ignores_test_accuracy(inside, tmp_path):
    """Validation alone chose: the choice stays when test accuracies are tampered with."""
    results = inside.results
    for method, (points, own) in stored(results).items():
        scores = {}
        for record in points:
            score = record["metrics"]["selected"]["validation_accuracy"]
            scores.setdefault(record["config_hash"], []).append(score)
        best = max(sum(values) / len(values) for values in scores.values())
        (chosen,) = {record["config_hash"] for record in own}
        assert sum(scores[chosen]) / len(scores[chosen]) == best
        cell = resolve.cell(inside.study, "digits", method)
        indexes = []
        shutil.copytree(results / "runs/digits" / method, tmp_path / "runs/digits" / method)
        for index in [bundle.index for bundle in inside.trial_bundles(cell)]:
            copy = tmp_path / index.parent.relative_to(results)
            for path in [copy / run["path"] for run in json.loads(index.read_text())["runs"]]:
                record = json.loads(path.read_text())
                for metrics in record["metrics"].values():
                    metrics["test_accuracy"] = 0.0 if record["config_hash"] == chosen else 1.0
                path.write_text(json.dumps(record))
            listed = json.loads((copy / index.name).read_text())
            for run in listed["runs"]:
                run["sha256"] = file_sha256(copy / run["path"])
            (copy / index.name).write_text(json.dumps(listed))
            indexes.append(str(copy / index.name))
        output = tmp_path / f"{method}.json"
        command = ["job", "tune", *asked(results, method), "--output", str(output)]
        assert cli.main([*command, "--candidates", *indexes]) == 0
        assert output.read_bytes() == inside.point_file(cell).read_bytes()


def test_weights_and_batches_are_shared(inside):
    """All methods start from the same weights and see the same batches."""
    study, variant = inside.study, load_variant(inside.variant("digits"))
    made = []
    for method, point in product(METHODS, (0, 1)):
        cell = resolve.cell(study, "digits", method, point)
        made.append(prepare(load_inputs(study.device, cell, variant, data_root()), [0, 1]))
    for other in made[1:]:
        assert torch.equal(other.w, made[0].w)
    batches = [[one.task.batch("batches") for _ in range(3)] for one in made]
    for other in batches[1:]:
        for mine, theirs in zip(batches[0], other, strict=True):
            for a, b in zip(mine, theirs, strict=True):
                assert not isinstance(a, torch.Tensor) or torch.equal(a, b)


def test_table_shows_the_search(inside):
    """It says what was tried, chosen and paid."""
    table = pd.read_csv(inside.results / "tables/digits.csv").set_index("method")
    assert (table["points_tried"] == 3).all()
    for method, (points, own) in stored(inside.results).items():
        assert table.loc[method, "chosen"] == own[0]["chosen"]
        assert table.loc[method, "search_gradients"] == sum(
            record["gradients"] for record in points
        )
        assert table.loc[method, "gradients"] == own[0]["gradients"]
    shown = (inside.results / "tables/digits.md").read_text()
    assert all(heading in shown for heading in ("Points tried", "Chosen", "Search gradients"))
    assert "Peak memory (MiB)" in (inside.results / "cost/cost.md").read_text()


def test_second_run_does_nothing(inside):
    done = snakemake(Path(), "results/tiny/tables", "--dry-run")
    assert "Nothing to be done" in done.stdout
    assert list(stale.report(inside)) == ["nothing to recompute"]


def test_why_and_plan_know_the_search(inside, tmp_path, capsys):
    """`hsac why` shows its points and commands, `hsac plan` counts its jobs."""
    assert cli.main(["why", "digits", "sgd+hsac", "Chosen", "--scale", "tiny"]) == 0
    said = capsys.readouterr().out
    assert "of 3 (3 different)" in said
    assert "hsac job tune" in said
    assert "--trial 2" in said
    lines = beside_commands(find(Path("results/tiny"), "digits", "sgd+fixed@0.3", "Chosen"))
    for line in [line.replace('"$scratch"', str(tmp_path)) for line in lines]:
        command, *given = shlex.split(line)
        if command == "hsac":
            assert cli.main(given) == 0
        elif command == "diff":  # silent: the same weights
            assert subprocess.run([command, *given], capture_output=True, text=True).stdout == ""
    assert sum(line.startswith("diff") for line in lines) == 4
    capsys.readouterr()
    assert cli.main(["plan", "--scale", "tiny"]) == 0
    assert "tune 3 (0 left)" in capsys.readouterr().out


def test_runs_at_chosen_points_are_verified(inside, capsys):
    assert cli.main(["verify", "--scale", "tiny", "--sample", "100%"]) == 0
    assert "24 bitwise" in capsys.readouterr().out


def test_edited_choice_is_refused(inside, tmp_path, capsys):
    results = inside.results
    shutil.copytree(results, tmp_path / "results")
    copy = Graph(inside.study, tmp_path / "results")
    cell = resolve.cell(inside.study, "digits", "sgd+hsac")
    path = copy.point_file(cell)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"chosen": (content["chosen"] + 1) % 3}))
    (bundle,) = copy.own_bundles(cell)
    given = asked(results, "sgd+hsac")
    variant = str(inside.variant("digits"))
    command = ["job", "train", *given, "--variant", variant, "--index", str(bundle.index)]
    assert cli.main([*command, "--seeds", "0", "1", "--point", str(path)]) == 0
    capsys.readouterr()
    assert cli.main(["job", "gather", *given[:2], "--results", str(tmp_path / "results")]) == 2
    assert "the runs of the search choose" in capsys.readouterr().err
