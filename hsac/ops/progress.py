"""Show how many runs are done and the time left, while a workflow runs."""

import os
import time
from collections.abc import Mapping

from tqdm import tqdm

from hsac.study import load
from hsac.study.graph import Graph

INTERVAL_S = 1.0


def watch(scale: str, override: Mapping[str, object], process: int) -> None:
    """Draw a progress bar on standard error, nothing where that is no terminal.

    Args:
        scale: the name of the scale.
        override: top-level keys from the command line.
        process: the process to watch: the bar ends with it, or when no run is missing.
    """
    runs = [run.record for run in Graph(load.load(scale, override)).runs()]
    waiting = {path for path in runs if not path.exists()}
    with tqdm(
        total=len(runs),
        initial=len(runs) - len(waiting),
        unit="run",
        desc=f"hsac {scale}",
        disable=None,
    ) as bar:
        while waiting and _alive(process):
            time.sleep(INTERVAL_S)
            done = {path for path in waiting if path.exists()}
            waiting -= done
            bar.update(len(done))
            bar.refresh()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True
