"""A Slurm of one node gives the bytes of a local run, whatever happens meanwhile."""

import time
from pathlib import Path

import pytest
from project import Project, few
from slurm import CannotStart, Slurm

# the user's own profile: this Slurm keeps no accounts, and the test is in a hurry
SITE = {
    "default-resources": {"slurm_partition": "work"},
    "group-components": ["data=20", "theory=20"],
    "cores": 2,
    "slurm-status-command": "squeue",
    "slurm-init-seconds-before-status-checks": 1,
    "seconds-between-status-checks": 1,
}


@pytest.fixture
def slurm(tmp_path_factory):
    try:
        running = Slurm(tmp_path_factory.mktemp("slurm"))
    except CannotStart as why:
        pytest.skip(f"no Slurm: {why}")
    yield running
    running.stop()


def submitted(project: Project) -> tuple[str, ...]:
    return "--profile", project.profile(SITE), "--workflow-profile", "profiles/slurm"


def same(one: Path, other: Path, *names: str) -> str:
    """Check that files and folders hold the same bytes, and name them."""
    for name in names:
        files = [one / name] if (one / name).is_file() else sorted((one / name).rglob("*.*"))
        assert files
        for file in files:
            assert file.read_bytes() == (other / file.relative_to(one)).read_bytes(), file
    return f"same bytes: {', '.join(names)}"


@pytest.mark.slow
def test_slurm_gives_the_local_results(slurm, tmp_path, capsys):
    """Of the smoke scale, byte for byte."""
    local, there = (Project(tmp_path / name, "smoke") for name in ("local", "there"))
    local.run("--cores", "2")
    start = time.monotonic()
    options = submitted(there)
    there.run(*options, environment=slurm.environment)
    seconds = time.monotonic() - start
    assert "Nothing to be done" in there.run(*options, "--dry-run", environment=slurm.environment)
    jobs = slurm.jobs()
    arrays = {job.partition("_")[0] for job in slurm.jobs(comment="rule_train") if "_" in job}
    # every training job is a task of an array
    assert len([job for job in jobs if "_" in job]) == 17
    assert set(slurm.states()) == {"COMPLETED"}
    equal = same(local.results, there.results, "runs.parquet", "trajectories.parquet", "tables")
    with capsys.disabled():
        counts = f"{len(jobs)} jobs, {len(arrays)} arrays, {seconds:.0f} s"
        print(f"\nSlurm, smoke scale: {counts}; {equal}")


@pytest.mark.slow
def test_faults_lose_nothing(slurm, tmp_path, capsys):
    content = few(["sgd+fixed@0.3", "sgd+learned"])
    local, there = (Project(tmp_path / name, "few", content) for name in ("local", "there"))
    target = "results/few/runs.parquet"
    local.run("--cores", "2", target)
    # a sixteenth of the memory: the first attempt of every training job is killed for it
    own = there.folder / "profiles/slurm/profile.yaml"
    own.write_text(own.read_text().replace("mem_mb: 8000", "mem_mb: 500"))
    options = submitted(there)
    process = there.start(*options, target, environment=slurm.environment)
    seen = []
    try:
        slurm.wait(lambda: slurm.jobs("running", "rule_train"), 300)
        killed = slurm.jobs("running", "rule_train")[0]
        slurm.run("scancel", killed)
        slurm.wait(lambda: "CANCELLED" in slurm.states(), 60)
        seen.append(f"scancel {killed}")
        slurm.run("scontrol", "update", "nodename=n1", "state=drain", "reason=test")
        slurm.wait(lambda: "DRAIN" in slurm.node() and not slurm.jobs("running"), 300)
        slurm.run("scontrol", "update", "nodename=n1", "state=resume")
        seen.append("node drained and returned")
        slurm.wait(lambda: slurm.jobs("running", "rule_train"), 300)
        slurm.restart_controller(5)
        seen.append("controller stopped and started again after 5 s")
        process.communicate(timeout=900)
    finally:
        process.kill()
    first = process.returncode
    if first:
        there.run(*options, target, environment=slurm.environment)
    said = there.run(*options, "--dry-run", target, environment=slurm.environment)
    assert "Nothing to be done" in said
    equal = same(local.results, there.results, "runs.parquet", "trajectories.parquet")
    states = slurm.states()
    states = ", ".join(f"{states.count(state)} {state.lower()}" for state in sorted(set(states)))
    with capsys.disabled():
        ended = f"the workflow ended with {first}"
        print(f"\nSlurm, faults: {'; '.join(seen)}; jobs {states}; {ended}; {equal}")


@pytest.mark.slow
def test_array_task_touches_own_output_alone(slurm, tmp_path):
    content = few(["sgd+fixed@0.3", "sgd+learned"]) | {"seeds": [0, 1, 2]}
    project = Project(tmp_path / "project", "few", content)
    options = submitted(project)
    process = project.start(*options, "results/few/runs.parquet", environment=slurm.environment)

    def tasks(state: str) -> list[str]:
        return [job for job in slurm.jobs(state, "rule_train") if "_" in job]

    def first_is_done() -> bool:
        return any(job.endswith("_1") for job in tasks("completed"))

    try:
        slurm.wait(lambda: first_is_done() and tasks("running"), 300)
        made = set(project.results.rglob("block*.json"))
        slurm.run("scancel", tasks("running")[-1])
        process.communicate(timeout=600)
    finally:
        process.kill()
    assert made
    assert process.returncode == 0
    assert slurm.states().count("CANCELLED") == 1
    assert set(slurm.states()) == {"CANCELLED", "COMPLETED"}
    # six runs, and one more for the one cancelled: none was trained twice for another's sake
    assert len(slurm.jobs(comment="rule_train")) == 7
