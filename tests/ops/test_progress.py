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


def test_it_ends_with_the_process_and_is_silent_without_a_terminal(capfd):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    progress.watch("smoke", {}, gone.pid)
    assert capfd.readouterr() == ("", "")
