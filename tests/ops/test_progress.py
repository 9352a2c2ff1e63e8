"""The progress bar counts records and ends with the workflow."""

import subprocess
import sys

from studies import CONFIG, smoke

from hsac.ops import progress
from hsac.study.graph import Graph


def finished_process():
    """Return the id of a process that has ended."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return gone.pid


def test_every_run_is_expected_once():
    paths = [run.record for run in Graph(smoke()).runs()]
    trained = Graph(smoke()).trained
    assert len(paths) == len(set(paths)) == 2 * len(trained)
    assert not any("+grid" in str(path) for path in paths)


def test_silent_without_a_terminal(capfd, monkeypatch):
    """It ends with the process that it watches."""
    monkeypatch.chdir(CONFIG.parent)
    progress.watch("smoke", {}, finished_process())
    assert capfd.readouterr() == ("", "")


def test_it_ends_with_the_runs(tmp_path, monkeypatch):
    """When no record is missing there is nothing to wait for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").symlink_to(CONFIG)
    for path in [run.record for run in Graph(smoke()).runs()]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(progress, "INTERVAL_S", 1e9)
    progress.watch("smoke", {}, 1)


def test_done_are_those_with_records(tmp_path):
    graph = Graph(smoke(), tmp_path)
    paths = [run.record for run in graph.runs()]
    assert progress.count_done(graph) == (0, len(paths))
    for path in paths[:3]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert progress.count_done(graph) == (3, len(paths))
