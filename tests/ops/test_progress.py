"""The progress bar counts records and ends with the workflow."""

import subprocess
import sys
from pathlib import Path

from hsac import config
from hsac.ops import progress

CONFIG = Path(__file__).parents[2] / "config"


def test_every_trained_run_is_expected_once(tmp_path):
    settings = config.load("smoke", folder=CONFIG)
    paths = progress.expected(settings, tmp_path)
    assert len(paths) == len(set(paths)) == 2 * len(config.trained_cells(settings))
    assert not any("+grid" in str(path) for path in paths)


def test_bar_ends_with_the_process(capfd):
    """And is silent without a terminal."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    progress.watch("smoke", {}, gone.pid)
    assert capfd.readouterr() == ("", "")


def test_done_are_those_with_records(tmp_path):
    settings = config.load("smoke", folder=CONFIG)
    paths = progress.expected(settings, tmp_path)
    assert progress.count_done(settings, tmp_path) == (0, len(paths))
    for path in paths[:3]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert progress.count_done(settings, tmp_path) == (3, len(paths))
