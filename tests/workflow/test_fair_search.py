"""Fairness, from the stored records of a scale that searches, run through the workflow."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from hsac import cli, config, layout
from hsac.data import load_variant
from hsac.files import file_sha256
from hsac.ops import stale
from hsac.report.why import beside_commands, find
from hsac.train.run import prepare

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent
METHODS = ["sgd+fixed@0.3", "sgd+fixed_searched", "sgd+hsac"]
TINY = {"epochs": 1, "batch": 64, "weight_decay": 5e-4, "schedule": "cosine", "evaluations": 1}


def snakemake(folder, *arguments):
    command = [
        sys.executable,
        "-m",
        "snakemake",
        *arguments,
        "--cores",
        "2",
        "--config",
        "scale=tiny",
    ]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The workflow's files in a folder of their own, with a scale that searches, run up to its
    tables.
    """
    folder = tmp_path_factory.mktemp("project")
    for name in ("Snakefile", "workflow", "config", "profiles", "environment.yml"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    smoke = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    digits = smoke["experiments"]["digits"] | {"training": TINY, "methods": METHODS, "rules": {}}
    digits.pop("informed")
    tiny = {
        "seeds": [0, 1],
        "search": {"points": 3, "seeds": [100, 101]},
        "experiments": {"digits": digits},
    }
    tiny["theory"] = smoke["theory"] | {"studies": {}, "measured": []}
    (folder / "config/tiny.yaml").write_text(yaml.safe_dump(tiny))
    snakemake(folder, "results/tiny/provenance")
    return folder


@pytest.fixture
def inside(project, monkeypatch):
    """Settings and results of the project, which is the working directory."""
    monkeypatch.chdir(project)
    return config.load("tiny"), Path("results/tiny")


def read(paths):
    return [json.loads(Path(path).read_text()) for path in paths]


def stored(results):
    """Method -> records of its points, and of its own runs, by what lies in the results folder
    alone.
    """
    found = {}
    for method in METHODS:
        records = read((results / "runs/digits" / method).rglob("seed*.json"))
        own = [record for record in records if "tuning" in record]
        found[method] = [record for record in records if "tuning" not in record], own
    return found


def test_every_method_tried_as_many_points_on_seeds_that_it_is_not_judged_by(inside):
    for points, own in stored(inside[1]).values():
        assert {record["tried"] for record in own} == {3}
        assert len({record["config_hash"] for record in points}) == 3
        assert sorted(record["seed"] for record in points) == [100] * 3 + [101] * 3
        assert sorted(record["seed"] for record in own) == [0, 1]


def test_methods_of_one_weight_rule_tried_the_same_weight_parameters(inside):
    tried = [
        sorted({json.dumps(record["config"]["weights"]) for record in points})
        for points, _ in stored(inside[1]).values()
    ]
    assert len(tried[0]) == 3
    assert tried[0] == tried[1] == tried[2]


def test_validation_alone_chose_and_a_test_accuracy_that_was_tampered_with_does_not(
    inside, tmp_path
):
    settings, results = inside
    for method, (points, own) in stored(results).items():
        scores = {}
        for record in points:
            scores.setdefault(record["config_hash"], []).append(
                record["metrics"]["selected"]["validation_accuracy"]
            )
        best = max(sum(values) / len(values) for values in scores.values())
        (chosen,) = {record["config_hash"] for record in own}
        assert sum(scores[chosen]) / len(scores[chosen]) == best
        cell = config.cell(settings, "digits", method)
        indexes = []
        shutil.copytree(results / "runs/digits" / method, tmp_path / "runs/digits" / method)
        for index in layout.point_bundles(settings, results, cell):
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
        given = [
            "--settings",
            str(results / "settings.json"),
            "--experiment",
            "digits",
            "--method",
            method,
        ]
        output = tmp_path / f"{method}.json"
        assert (
            cli.main(["job", "tune", *given, "--candidates", *indexes, "--output", str(output)])
            == 0
        )
        assert output.read_bytes() == layout.point_path(results, cell).read_bytes()


def test_all_methods_start_from_the_same_weights_and_see_the_same_batches(inside):
    settings, _ = inside
    variant = load_variant(layout.variant_path(settings["experiments"]["digits"]))
    made = [
        prepare(
            settings,
            config.cell(settings, "digits", method, point),
            [0, 1],
            variant,
            layout.data_root(),
        )
        for method in METHODS
        for point in (0, 1)
    ]
    for other in made[1:]:
        assert torch.equal(other.w, made[0].w)
    batches = [[one.task.batch("batches") for _ in range(3)] for one in made]
    for other in batches[1:]:
        for mine, theirs in zip(batches[0], other, strict=True):
            assert all(
                torch.equal(a, b)
                for a, b in zip(mine, theirs, strict=True)
                if isinstance(a, torch.Tensor)
            )


def test_the_table_says_what_was_tried_chosen_and_paid(inside):
    table = pd.read_csv(inside[1] / "tables/digits.csv").set_index("method")
    assert (table["points_tried"] == 3).all()
    for method, (points, own) in stored(inside[1]).items():
        assert table.loc[method, "chosen"] == own[0]["chosen"]
        assert table.loc[method, "search_gradients"] == sum(
            record["gradients"] for record in points
        )
        assert table.loc[method, "gradients"] == own[0]["gradients"]
    shown = (inside[1] / "tables/digits.md").read_text()
    assert all(heading in shown for heading in ("Points tried", "Chosen", "Search gradients"))
    assert "Peak memory (MiB)" in (inside[1] / "cost/cost.md").read_text()


def test_a_second_run_does_nothing(inside):
    assert "Nothing to be done" in snakemake(Path(), "results/tiny/tables", "--dry-run")
    assert list(stale.report(*inside)) == ["nothing to recompute"]


def test_why_shows_the_search_and_the_plan_counts_it(inside, tmp_path, capsys):
    assert cli.main(["why", "digits", "sgd+hsac", "Chosen", "--scale", "tiny"]) == 0
    said = capsys.readouterr().out
    assert "of 3 (3 different)" in said
    assert "hsac job tune" in said
    assert "--candidate 2" in said
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


def test_a_run_at_the_chosen_point_is_verified(inside, capsys):
    assert cli.main(["verify", "--scale", "tiny", "--sample", "100%"]) == 0
    assert "24 bitwise" in capsys.readouterr().out


def test_a_choice_that_was_edited_is_refused(inside, tmp_path, capsys):
    settings, results = inside
    shutil.copytree(results, tmp_path / "results")
    cell = config.cell(settings, "digits", "sgd+hsac")
    path = layout.point_path(tmp_path / "results", cell)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"chosen": (content["chosen"] + 1) % 3}))
    index = layout.index_path(tmp_path / "results", cell, 0)
    given = [
        "--settings",
        str(results / "settings.json"),
        "--experiment",
        "digits",
        "--method",
        "sgd+hsac",
    ]
    given += [
        "--variant",
        str(layout.variant_path(settings["experiments"]["digits"])),
        "--index",
        str(index),
    ]
    assert cli.main(["job", "train", *given, "--seeds", "0", "1", "--point", str(path)]) == 0
    capsys.readouterr()
    assert cli.main(["job", "gather", *given[:2], "--results", str(tmp_path / "results")]) == 2
    assert "the runs of the search choose" in capsys.readouterr().err
