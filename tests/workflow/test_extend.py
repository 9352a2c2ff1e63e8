"""docs/extend.md as a reader uses it: its files in a folder, its configuration, the tables."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from hsac.files import file_sha256

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/extend.md").read_text()
FILES = dict(re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
SOURCES = {name: text for name, text in FILES.items() if name.endswith(".py")}
FOLDERS = (
    "rules/curvature",
    "rules/weights",
    "models",
    "models/heads",
    "losses",
    "data/sources",
    "data/noise",
    "metrics",
    "figures",
)
REPORTED = ("my_parts/metrics/worst_class.py", "my_parts/figures/worst_class.py")

pytestmark = pytest.mark.slow


def run(folder, *command):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {
        key: value for key, value in os.environ.items() if key not in ("HSAC_DATA", "HSAC_MIRROR")
    }
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**environment, "PATH": path}
    )


def snakemake(folder, *arguments):
    return run(
        folder,
        sys.executable,
        "-m",
        "snakemake",
        *arguments,
        "--cores",
        "2",
        "--config",
        "scale=mine",
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The workflow and the page's files, run once."""
    folder = tmp_path_factory.mktemp("extended")
    for name in ("Snakefile", "workflow", "config", "profiles", "environment.yml"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    done = snakemake(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "<html" in (folder / "results/mine/index.html").read_text()[:500]
    return folder


def test_each_kind_in_under_25_lines():
    """The page has a part of each kind in under 25 lines."""
    assert {str(Path(*Path(name).parts[1:-1])) for name in SOURCES} == set(FOLDERS)
    for name, text in SOURCES.items():
        lines = [
            line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")
        ]
        assert len(lines) < 25, name


@pytest.mark.parametrize(
    ("experiment", "methods"),
    [
        (
            "stripes",
            ["sgd+signed", "lion+fixed@0.3", "sgd+fixed@0.3+smoothed", "sgd+euclidean+cosine"],
        ),
        ("digits_mirrored", ["lion+signed+smoothed"]),
    ],
)
def test_methods_learned_something(project, experiment, methods):
    """Methods are in the tables and learned something."""
    table = pd.read_csv(project / f"results/mine/tables/{experiment}.csv").set_index("method")
    assert {"sgd+fixed@0.3", *methods} == set(table.index)
    assert table["n_ok"].eq(2).all()
    chance = {"stripes": 100 / 3, "digits_mirrored": 10}[experiment]
    assert table["test_accuracy_percent"].gt(1.5 * chance).all(), table["test_accuracy_percent"]
    moved = (
        table["curvature"]
        .drop([m for m in table.index if "euclidean" in m])
        .sub(0.3)
        .abs()
        .gt(1e-6)
    )
    assert moved.eq(["signed" in method for method in moved.index]).all()


def records(project):
    return [
        json.loads(path.read_text()) for path in (project / "results/mine/runs").rglob("seed*.json")
    ]


def test_records_name_files_of_their_parts(project):
    """Records name exactly the files of their parts."""
    uses = {
        "my_parts/rules/curvature/signed.py": lambda r: r["curvature_rule"] == "signed",
        "my_parts/rules/weights/lion.py": lambda r: r["weight_rule"] == "lion",
        "my_parts/models/shallow.py": lambda r: r["model"] == "shallow",
        "my_parts/models/heads/cosine.py": lambda r: "cosine" in r["method"],
        "my_parts/losses/smoothed.py": lambda r: "smoothed" in r["method"],
        "my_parts/data/sources/stripes.py": lambda r: r["dataset"] == "stripes",
        "my_parts/data/noise/mirrored.py": lambda r: r["variant"] == "mirrored",
    }
    assert {*uses, *REPORTED} == set(SOURCES)
    found = records(project)
    assert len(found) == 14
    for record in found:
        assert record["plugins"] == {
            name: file_sha256(project / name) for name, uses_it in uses.items() if uses_it(record)
        }
    for name, uses_it in uses.items():
        assert any(map(uses_it, found)), name


def test_metric_is_a_column_everywhere(project):
    """The tables, the page and `hsac why` show it, and its numbers are those of the runs."""
    results = project / "results/mine"
    runs = pd.read_parquet(results / "runs.parquet")
    accuracy = 100 * runs["selected_test_accuracy"]
    assert runs["worst_class"].between(0, accuracy).all()
    assert runs["worst_class"].gt(0).any()
    for experiment, of in runs.groupby("experiment"):
        table = pd.read_csv(results / f"tables/{experiment}.csv").set_index("method")
        means = of.groupby("method")["worst_class"].mean()
        assert table["worst_class"].to_dict() == pytest.approx(means.to_dict())
        assert "Worst class (%)" in (results / f"tables/{experiment}.md").read_text()
    assert "Worst class (%)" in (results / "index.html").read_text()
    arguments = ("why", "stripes", "sgd+signed", "Worst class", "--scale", "mine")
    done = run(project, sys.executable, "-m", "hsac", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "my_parts/metrics/worst_class.py" in done.stdout
    assert "the same, from what is listed" in done.stdout


def test_figure_is_drawn_and_shown(project):
    results = project / "results/mine"
    assert (results / "figures/worst_class.png").stat().st_size > 10_000
    assert (results / "figures/worst_class.pdf").is_file()
    caption = "Accuracy on the worst class against accuracy on all of them, a point a run."
    assert caption in (results / "index.html").read_text()


def test_edited_metric_gathers_again(project):
    """Nothing is trained for it."""
    path = project / "my_parts/metrics/worst_class.py"
    text = path.read_text()
    path.write_text(text.replace("* min(", "* max("))
    try:
        said = snakemake(project, "--dry-run").stdout
    finally:
        path.write_text(text)
    assert "params have changed since last execution:\n        gather\n" in said
    assert "train" not in said


def test_labels_corrupted_by_the_kind(project):
    """Labels were corrupted by the kind."""
    variant = json.loads(
        next((project / "data/variants/digits").glob("mirrored-*.json")).read_text()
    )
    assert "counted from the other end" in variant["words"]
    assert 0.2 < variant["counts"]["wrong_share"] < 0.31


def test_list_shows_them(project):
    done = run(project, sys.executable, "-m", "hsac", "list", "--scale", "mine")
    assert done.returncode == 0, done.stderr
    for name in SOURCES:
        assert any(
            line.strip().startswith(Path(name).stem) and f"[{name}]" in line
            for line in done.stdout.splitlines()
        )


def test_a_second_run_does_nothing(project):
    assert "Nothing to be done" in snakemake(project, "--dry-run").stdout


@pytest.mark.parametrize(
    ("name", "old", "new", "methods"),
    [
        (
            "rules/curvature/signed.py",
            "self.rate * step",
            "-self.rate * step",
            {"sgd+signed", "lion+signed+smoothed"},
        ),
        (
            "losses/smoothed.py",
            "logs.mean",
            "2 * logs.mean",
            {"sgd+fixed@0.3+smoothed", "lion+signed+smoothed"},
        ),
        (
            "data/noise/mirrored.py",
            "- 1 - given",
            "- 1 - 1 * given",
            {"sgd+fixed@0.3", "lion+signed+smoothed"},
        ),
        ("rules/weights/lion.py", '"""Sign', '"""The sign', set()),
        ("metrics/worst_class.py", "* min(", "* max(", set()),
    ],
)
def test_stale_sees_an_edit(project, name, old, new, methods):
    path = project / "my_parts" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    try:
        done = run(project, sys.executable, "-m", "hsac", "stale", "--scale", "mine")
    finally:
        path.write_text(text)
    assert done.returncode == 0, done.stderr
    named = {
        line.split()[1]
        for line in done.stdout.splitlines()
        if line.endswith("code changed") or "code changed;" in line
    }
    assert named == methods


def test_why_names_the_plugin(project):
    arguments = ("why", "stripes", "sgd+signed", "test_accuracy_percent", "--scale", "mine")
    done = run(project, sys.executable, "-m", "hsac", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    sha256 = file_sha256(project / "my_parts/rules/curvature/signed.py")
    assert f"my_parts/rules/curvature/signed.py, SHA-256 {sha256}, unchanged" in done.stdout


def test_broken_plugin_stops_with_one_line(project):
    """A broken plugin stops the workflow with one line."""
    path = project / "my_parts/rules/curvature/signed.py"
    text = path.read_text()
    path.write_text(text.replace("class Signed", "class Sign"))
    try:
        done = snakemake(project, "--dry-run")
    finally:
        path.write_text(text)
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if "profile" not in line]
    assert said == [
        "hsac: my_parts/rules/curvature/signed.py: found class Sign; allowed is class Signed, named"
        " after the file"
    ]
