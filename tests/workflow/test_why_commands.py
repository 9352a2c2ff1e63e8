"""The commands that `hsac why` prints, run as printed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hsac import cli
from hsac.report.answer import find
from hsac.report.recompute import beside_commands, in_place_commands

ROOT = Path(__file__).parent.parent.parent
TINY = {"epochs": 1, "batch": 64, "weight_decay": 5e-4, "schedule": "cosine", "evaluations": 1}
CELLS = {
    "a mean": (("digits", "sgd+fixed@0.3", "test_accuracy_percent"), {"sgd+fixed@0.3"}, set()),
    "a grid": (
        ("digits", "sgd+grid", "test_accuracy_percent"),
        {"sgd+fixed@0.3", "sgd+fixed@1"},
        set(),
    ),
    "a certificate": (
        ("certificates", "digits / sgd+fixed@0.3 / start weights", "bound_percent"),
        {"sgd+fixed@0.3"},
        {"sgd+fixed@0.3"},
    ),
    "a study": (("coverage", "50 / 0.05 / certificate", "coverage"), set(), set()),
}


def shell(folder: Path, lines: list[str]) -> str:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    command = ["bash", "-e", "-c", "\n".join(lines)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workflow's files in a folder of their own, with a tiny scale, run once up to its tables."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("Snakefile", "workflow", "config", "profiles", "environment.yml"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    smoke = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    digits = smoke["experiments"]["digits"] | {
        "training": TINY,
        "methods": ["sgd+fixed@0.3", "sgd+grid", "sgd+learned"],
    }
    digits.pop("informed")
    theory = smoke["theory"] | {
        "studies": {"coverage": {"samples": 20, "points": [50], "draws": 100}}
    }
    tiny = {"seeds": [0, 1], "experiments": {"digits": digits}, "theory": theory}
    (folder / "config/tiny.yaml").write_text(yaml.safe_dump(tiny))
    shell(
        folder, ["snakemake results/tiny/provenance --cores 2 --config scale=tiny 'seeds=[0,1,2]'"]
    )
    return folder


def times(folder: Path, pattern: str) -> dict[str, int]:
    """Method -> time of the newest of its files."""
    found: dict[str, int] = {}
    for path in folder.glob(pattern):
        method = path.parts[path.parts.index("digits") + 1]
        found[method] = max(found.get(method, 0), path.stat().st_mtime_ns)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "trained", "measured"), CELLS.values(), ids=CELLS)
def test_the_commands_compute_this_cell_and_nothing_else(
    project, monkeypatch, asked, trained, measured
):
    monkeypatch.chdir(project)
    answer = find(Path("results/tiny"), *asked)
    kept = {
        item[1] for cell in answer.cells for item in answer.sidecar.cells[cell].measured if measured
    }
    rows = {
        path: path.stat().st_mtime_ns
        for path in project.glob("results/tiny/theory/landscape/digits/*.json")
    }
    weights = times(project / "results/tiny/runs", "digits/*/*/*.npy")
    value = answer.stated

    assert (
        shell(project, beside_commands(answer)) == "" or not trained
    )  # diff is silent: the same weights
    assert times(project / "results/tiny/runs", "digits/*/*/*.npy") == weights

    shell(project, in_place_commands(answer))
    after = times(project / "results/tiny/runs", "digits/*/*/*.npy")
    assert {method for method in weights if after[method] != weights[method]} == trained
    remade = {p for p, time in rows.items() if p.stat().st_mtime_ns != time}
    assert remade == {project / "results/tiny" / item for item in kept}
    assert find(Path("results/tiny"), *asked).stated == value
    assert cli.main(["why", *asked, "--scale", "tiny"]) == 0
