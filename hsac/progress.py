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
        for seed in config.seeds(settings, cell["experiment"])
    ]


def watch(scale: str, override: dict[str, Any], process: int) -> None:
    """Draw a bar on standard error while `process` lives and runs are missing; silent where that is no terminal."""
    waiting = set(expected(config.load(scale, override), layout.results_root(scale)))
    with tqdm(total=len(waiting), unit="run", desc=f"hsac {scale}", disable=None, smoothing=0.05) as bar:
        while waiting and _alive(process):
            done = {path for path in waiting if path.exists()}
            waiting -= done
            bar.update(len(done))
            if bar.n == len(done):
                bar.reset(len(waiting) + len(done))  # what earlier calls finished says nothing about the pace
                bar.initial = bar.n = len(done)
            bar.refresh()
            time.sleep(INTERVAL_S)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True
