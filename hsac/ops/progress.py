"""Show how many runs are done and the time left, while a workflow runs."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from hsac.study import load
from hsac.study.graph import Graph

INTERVAL_S = 1.0


def expected(graph: Graph) -> list[Path]:
    """Return the record of every run that is trained.

    Args:
        graph: the work of a study.
    """
    return [run.record for run in graph.runs()]


def watch(scale: str, override: Mapping[str, object], process: int) -> None:
    """Draw a progress bar on standard error, nothing where that is no terminal.

    Args:
        scale: the name of the scale.
        override: top-level keys from the command line.
        process: the process to watch: the bar ends with it, or when no run is missing.
    """
    records = expected(Graph(load.load(scale, override)))
    waiting = {path for path in records if not path.exists()}
    done = len(records) - len(waiting)
    # `disable=None`: tqdm itself looks whether standard error is a terminal
    bar = tqdm(total=len(records), initial=done, unit="run", desc=f"hsac {scale}", disable=None)
    with bar:
        while waiting and _alive(process):
            time.sleep(INTERVAL_S)
            there = {path for path in waiting if path.exists()}
            waiting -= there
            bar.update(len(there))
            bar.refresh()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 is not sent; it only asks whether it could be
    except OSError:
        return False
    return True
