"""Runs done of all and time left, while a workflow runs."""

import os
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hsac import config, layout

INTERVAL_S = 1.0


def expected(settings: dict[str, Any], results: Path) -> list[Path]:
    """The records of all runs that are trained."""
    return [
        layout.index_path(results, cell, 0).parent / f"seed{seed}.json"
        for cell in config.trained_cells(settings)
        for seed in config.cell_seeds(settings, cell)
    ]


def watch(scale: str, override: dict[str, Any], process: int) -> None:
    """Draw a bar on standard error while `process` lives and runs are missing; silent where that is
    no terminal.
    """
    runs = expected(config.load(scale, override), layout.results_root(scale))
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
