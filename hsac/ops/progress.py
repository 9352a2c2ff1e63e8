"""How far a scale's runs are, once or while a workflow runs."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hsac import config, layout

INTERVAL_S = 1.0


def expected(settings: dict[str, Any], results: Path) -> list[Path]:
    """List the records of all runs that are trained.

    Args:
        settings: The settings of the scale.
        results: Its results folder.

    Returns:
        A path for each run, whether it is there or not.
    """
    return [
        layout.index_path(results, cell, 0).parent / f"seed{seed}.json"
        for cell in config.trained_cells(settings)
        for seed in config.cell_seeds(settings, cell)
    ]


def count_done(settings: dict[str, Any], results: Path) -> tuple[int, int]:
    """Count the runs that are done.

    Args:
        settings: The settings of the scale.
        results: Its results folder.

    Returns:
        The runs whose record is there, and all.
    """
    runs = expected(settings, results)
    return sum(path.exists() for path in runs), len(runs)


def watch(scale: str, override: dict[str, Any], process: int) -> None:
    """Draw a bar on standard error while a process lives and runs are missing.

    It is silent where standard error is no terminal. SIGTERM ends it with its line complete.

    Args:
        scale: The scale.
        override: Top-level keys of the configuration to replace.
        process: The number of the process.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    runs = expected(config.load(scale, override), layout.results_root(scale))
    waiting = {path for path in runs if not path.exists()}
    with tqdm(
        total=len(runs),
        initial=len(runs) - len(waiting),
        unit="run",
        desc=f"hsac {scale}",
        disable=None,
    ) as bar:
        while waiting and _is_alive(process):
            time.sleep(INTERVAL_S)
            done = {path for path in waiting if path.exists()}
            waiting -= done
            bar.update(len(done))
            bar.refresh()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True
