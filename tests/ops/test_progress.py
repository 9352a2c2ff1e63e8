"""The progress bar counts records and ends with the workflow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from studies import CONFIG, smoke

from hsac.ops import progress
from hsac.study.graph import Graph

DIGITS = yaml.safe_load((CONFIG / "smoke.yaml").read_text())["experiments"]["digits"]
DIGITS = {key: one for key, one in DIGITS.items() if key not in ("informed", "hypergradient")}
RULE = """
from dataclasses import dataclass


@dataclass(frozen=True)
class Mine:
    geometry = "hyperbolic"
    needs_gradient = False

    def init(self, theta):
        return {}

    def update(self, theta, state, step):
        return theta, state, {}
"""


def finished_process():
    """Return the id of a process that has ended."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return gone.pid


@pytest.fixture(autouse=True)
def unhandled(monkeypatch):
    """The bar takes SIGTERM for itself, which is the tests' own here."""
    monkeypatch.setattr(progress.signal, "signal", lambda *_: None)


def touch(runs):
    for run in runs:
        run.record.parent.mkdir(parents=True, exist_ok=True)
        run.record.touch()


def test_every_run_counts_once(tmp_path):
    """A grid's runs are no trainings, and do not count."""
    graph = Graph(smoke(), tmp_path)
    runs = list(graph.runs())
    assert progress.count_done(graph) == (0, 34)
    assert len({run.record for run in runs}) == len(runs) == 2 * len(graph.trained)
    assert not any("+grid" in str(run.record) for run in runs)
    touch(runs[:5])
    assert progress.count_done(graph) == (5, 34)
    touch(runs)
    assert progress.count_done(graph) == (34, 34)


def test_silent_without_a_terminal(capfd, monkeypatch):
    """It ends with the process that it watches."""
    monkeypatch.chdir(CONFIG.parent)
    progress.watch("smoke", {}, finished_process())
    assert capfd.readouterr() == ("", "")


def test_it_ends_with_the_runs(tmp_path, monkeypatch):
    """When no record is missing there is nothing to wait for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").symlink_to(CONFIG)
    touch(Graph(smoke()).runs())
    monkeypatch.setattr(progress, "INTERVAL_S", 1e9)
    progress.watch("smoke", {}, os.getpid())


def test_parts_of_plugins_are_known(tmp_path, monkeypatch, capfd):
    """A scale whose method is a plugin's has a bar, too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    for name in ("config", "smoke", "variants"):
        (tmp_path / f"config/{name}.yaml").write_bytes((CONFIG / f"{name}.yaml").read_bytes())
    rule = Path("mine/rules/curvature/mine.py")
    rule.parent.mkdir(parents=True)
    rule.write_text(RULE)
    override = {
        "plugins": ["mine"],
        "theory": None,
        "rules": {"weights": {"sgd": {"lr": 0.05}}, "curvature": {"mine": {}}},
        "experiments": {"digits": {**DIGITS, "methods": ["sgd+mine"], "reference": "sgd+mine"}},
    }
    progress.watch("smoke", override, finished_process())
    assert capfd.readouterr() == ("", "")
