"""A folder's lock ends with its process, and Snakemake's own are removed only where it is safe."""

import os
import platform
import time

import pytest

from hsac.errors import InputError
from hsac.ops import workflow_lock


@pytest.fixture
def folder(tmp_path):
    """Snakemake's folder as a killed run leaves it."""
    folder = tmp_path / ".snakemake"
    (folder / "locks").mkdir(parents=True)
    (folder / "locks/0.output.lock").write_text("results/a\n")
    (folder / "workflow.lock").write_text(f"{platform.node()} 123456")
    return folder


def marks(folder):
    return sorted(path.name for path in (folder / "locks").iterdir())


def holder(folder):
    """A process that holds the lock until it is killed, half a minute at most."""
    ready = os.pipe()
    process = os.fork()
    if process == 0:
        lock = workflow_lock.hold(folder)
        os.write(ready[1], b".")
        time.sleep(30)
        os._exit(lock is None)
    os.read(ready[0], 1)
    return process


def test_locks_of_killed_run_are_removed(folder):
    workflow_lock.clear(folder)
    assert marks(folder) == []
    workflow_lock.hold(folder).close()


def test_marks_of_another_machine_stay(folder):
    (folder / "workflow.lock").write_text("elsewhere 7")
    workflow_lock.clear(folder)
    workflow_lock.clear(folder)
    assert marks(folder) == ["0.output.lock"]


def test_marks_that_nobody_signed_stay(folder):
    (folder / "workflow.lock").unlink()
    workflow_lock.clear(folder)
    workflow_lock.clear(folder)
    assert marks(folder) == ["0.output.lock"]


def test_second_workflow_is_refused(folder):
    """With the first one's process in the line, until that is killed."""
    process = holder(folder)
    with pytest.raises(
        InputError, match=rf"found another workflow at work here \(process {process} on "
    ) as caught:
        workflow_lock.hold(folder)
    assert "\n" not in str(caught.value)
    os.kill(process, 9)
    os.waitpid(process, 0)
    workflow_lock.hold(folder).close()


def test_new_folder_is_signed(tmp_path):
    """Before Snakemake locks it."""
    workflow_lock.clear(tmp_path / ".snakemake")
    (tmp_path / ".snakemake/locks").mkdir()
    (tmp_path / ".snakemake/locks/0.input.lock").touch()
    workflow_lock.clear(tmp_path / ".snakemake")
    assert marks(tmp_path / ".snakemake") == []


def test_without_flock_snakemakes_locks_stay(folder, monkeypatch):
    def refused(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refused)
    workflow_lock.clear(folder)
    assert marks(folder) == ["0.output.lock"]
    assert workflow_lock.hold(folder) is None
