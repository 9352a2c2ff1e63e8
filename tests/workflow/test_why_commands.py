"""The commands that `hsac why` prints, run as printed."""

import subprocess
from pathlib import Path

import pytest
from copied import TINY, copy_workflow, environment, smoke_scale

from hsac import cli
from hsac.report.answer import find
from hsac.report.recompute import beside_commands, in_place_commands

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
    """Run shell lines and return what they print."""
    variables = environment() | {"OMP_NUM_THREADS": "1"}
    command = ["bash", "-e", "-c", "\n".join(lines)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workflow's files in a folder of their own, with a tiny scale, run up to its tables."""
    smoke = smoke_scale()
    digits = smoke["experiments"]["digits"] | {
        "training": TINY,
        "methods": ["sgd+fixed@0.3", "sgd+grid", "sgd+learned"],
    }
    digits.pop("informed")
    studies = {"coverage": {"samples": 20, "points": [50], "draws": 100}}
    theory = smoke["theory"] | {"studies": studies}
    tiny = {"seeds": [0, 1], "experiments": {"digits": digits}, "theory": theory}
    folder = copy_workflow(tmp_path_factory.mktemp("project"), tiny)
    target = "results/tiny/provenance"
    shell(folder, [f"snakemake {target} --cores 2 --config scale=tiny 'seeds=[0,1,2]'"])
    return folder


def times(folder: Path, pattern: str) -> dict[str, int]:
    """Return the time of the newest file of each method."""
    found: dict[str, int] = {}
    for path in folder.glob(pattern):
        method = path.parts[path.parts.index("digits") + 1]
        found[method] = max(found.get(method, 0), path.stat().st_mtime_ns)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "trained", "measured"), CELLS.values(), ids=CELLS)
def test_commands_compute_this_cell_alone(project, monkeypatch, asked, trained, measured):
    monkeypatch.chdir(project)
    answer = find(Path("results/tiny"), *asked)
    cells = [answer.sidecar.cells[cell] for cell in answer.cells if measured]
    kept = {item.file for cell in cells for item in cell.measured}
    rows = {
        path: path.stat().st_mtime_ns
        for path in project.glob("results/tiny/theory/landscape/digits/*.json")
    }
    weights = times(project / "results/tiny/runs", "digits/*/*/*.npy")
    value = answer.stated

    said = shell(project, beside_commands(answer))
    assert said == "" or not trained  # diff is silent: the same weights
    assert times(project / "results/tiny/runs", "digits/*/*/*.npy") == weights

    shell(project, in_place_commands(answer))
    after = times(project / "results/tiny/runs", "digits/*/*/*.npy")
    assert {method for method in weights if after[method] != weights[method]} == trained
    remade = {p for p, time in rows.items() if p.stat().st_mtime_ns != time}
    assert remade == {project / "results/tiny" / item for item in kept}
    assert find(Path("results/tiny"), *asked).stated == value
    assert cli.main(["why", *asked, "--scale", "tiny"]) == 0
