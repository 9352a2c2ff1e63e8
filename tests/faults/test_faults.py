"""Kill the workflow, fill its disk, start it twice: a plain re-run ends with the same bytes."""

import shutil
from pathlib import Path

import harness
import pytest
import yaml

SMOKE = yaml.safe_load((harness.ROOT / "config/smoke.yaml").read_text())
TRAINING = {"epochs": 2, "batch": 64, "weight_decay": 5e-4, "schedule": "cosine", "evaluations": 2}
METHODS = ["sgd+fixed@0.3", "sgd+hsac"]
DIGITS = SMOKE["experiments"]["digits"] | {"training": TRAINING, "methods": METHODS}
del DIGITS["informed"], DIGITS["rules"]
THEORY = SMOKE["theory"] | {"studies": {}, "measured": []}
TINY = yaml.safe_dump({"seeds": [0, 1, 2], "theory": THEORY, "experiments": {"digits": DIGITS}})
# Figures and page take most of the time and are no job's input.
TARGETS = ("results/tiny/tables", "results/tiny/claims.json")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "project"
    project = harness.Project.copy(folder, "tiny", TINY, TARGETS)
    status, said = project.run()
    assert status == 0, said
    return project


@pytest.fixture(scope="module")
def undisturbed(whole):
    content = whole.content()
    needed = {"runs.parquet", "trajectories.parquet", "claims.json", "tables/digits.csv"}
    assert needed <= content.keys()
    return content


@pytest.fixture
def new(tmp_path):
    return harness.Project.copy(tmp_path / "project", "tiny", TINY, TARGETS)


@pytest.fixture
def finished(whole, tmp_path):
    shutil.copytree(whole.folder, tmp_path / "project")
    return harness.Project(tmp_path / "project", "tiny", TARGETS)


@pytest.mark.parametrize(("how", "count"), [("group", 4), ("worker", 3), ("main", 2)])
def test_killed_run_resumes_the_same(undisturbed, tmp_path, how, count):
    def make():
        return harness.Project.copy(tmp_path / "project", "tiny", TINY, TARGETS)

    row = harness.kills(make, undisturbed, how, count, mean=8.0, seed=0)
    assert (row.tried, row.lost, row.differing) == (count, 0, 0)


def test_second_workflow_is_refused(new, undisturbed):
    """One line says why."""
    row = harness.two_at_once(new, undisturbed)
    assert "found another workflow at work here (process " in row.said
    assert row.said.endswith("(status 2)")
    assert (row.lost, row.differing) == (0, 0)


@pytest.mark.parametrize("pattern", ["results/*/runs/*/*/*/seed*.json", "data/variants/*/*.json"])
def test_truncated_file_is_made_again(finished, undisturbed, pattern):
    """The error line names it before that."""
    name = min(finished.folder.glob(pattern)).name
    row = harness.truncated(finished, undisturbed, pattern)
    assert name.split(".")[0] in row.said
    assert (row.lost, row.differing) == (0, 0)


@pytest.mark.parametrize("days", [400, -400])
def test_jump_of_the_clock_loses_nothing(finished, undisturbed, days):
    row = harness.clock(finished, undisturbed, days)
    assert (row.lost, row.differing) == (0, 0)


@pytest.mark.parametrize(
    ("fault", "words"), [("full_disk", "No space left"), ("read_only", "cannot be written")]
)
def test_unwritable_disk_is_named(new, undisturbed, tmp_path, fault, words):
    if not harness.can_mount(tmp_path / "probe"):
        pytest.skip("a small file system can be mounted by root alone")
    row = getattr(harness, fault)(new, undisturbed)
    assert words in row.said
    assert (row.lost, row.differing) == (0, 0)


def test_differing_bytes_are_counted():
    assert harness.differing({"a": b"xyz", "b": b"1"}, {"a": b"xYz!", "c": b"22"}) == 1 + 1 + 1 + 2


def test_changed_and_missing_records_count(tmp_path):
    """Both count as lost."""
    folder = tmp_path / "project/results/tiny/runs/e/m/h"
    folder.mkdir(parents=True)
    row, project = harness.Row("x"), harness.Project(tmp_path / "project", "tiny")
    for seed in range(3):
        (folder / f"seed{seed}.json").write_text("1")
    row.look(project)
    (folder / "seed0.json").write_text("2")
    Path(folder / "seed1.json").unlink()
    (folder / "seed3.json").write_text("1")
    row.look(project)
    assert row.lost == 2
