"""Show how many runs of a scale are done, once or while a workflow runs."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from hsac import plugins
from hsac.study import load
from hsac.study.graph import Graph

INTERVAL_S = 1.0


def count_done(graph: Graph) -> tuple[int, int]:
    """Count the runs that are done.

    Args:
        graph: The work of a study.

    Returns:
        The runs whose record is there, and all that are trained.
    """
    there = [run.record.exists() for run in graph.runs()]
    return sum(there), len(there)


def watch(scale: str, override: Mapping[str, Any], process: int) -> None:
    """Draw a bar on standard error while a process lives and runs are missing.

    It is silent where standard error is no terminal. SIGTERM ends it with its line complete.

    Args:
        scale: The scale.
        override: Top-level keys of the configuration to replace.
        process: The number of the process.
    """
    # An exception leaves the `with` below, which completes the line. The default action would not.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    study = load.load(scale, override)
    with plugins.using(study.plugins):
        runs = [run.record for run in Graph(study).runs()]
    waiting = {path for path in runs if not path.exists()}
    with tqdm(
        total=len(runs),
        initial=len(runs) - len(waiting),
        unit="run",
        desc=f"hsac {scale}",
        # To tqdm None means: silent where standard error is no terminal.
        disable=None,
    ) as bar:
        while waiting and _is_alive(process):
            time.sleep(INTERVAL_S)
            there = {path for path in waiting if path.exists()}
            waiting -= there
            bar.update(len(there))
            bar.refresh()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 is not sent; it only asks whether it could be
    except OSError:
        return False
    return True
