"""What is not training: of a job, and until the first table."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import torch

from benchmarks.case import SLOWER, Case, Run, at_most
from benchmarks.cells import ROOT, SEEDS, folder, run, trained

JOBS = {"digits": "sgd+hsac", "disease": "adam+fixed@0.3", "glyphs_long_tailed": "sgd+fixed@0.3"}
TABLES = "results/smoke/tables"
PARTS = (
    "Snakefile",
    "workflow",
    "config",
    "profiles",
    "hsac",
    "environment.yml",
)  # what the workflow runs on


def cases(device: torch.device, tiny: bool) -> Iterator[Case]:
    """Jobs of the default scale against what their records count as training: less than 15 % of a
    job is anything else. And the whole workflow of the smoke scale from an empty folder to its
    first table.
    """
    for experiment, method in {"disease": "adam+fixed@0.3"}.items() if tiny else JOBS.items():
        yield Case(
            f"{experiment}, {method}, a job of the {'smoke' if tiny else 'default'} scale",
            "its training",
            partial(
                job,
                "smoke" if tiny else "default",
                experiment,
                method,
                SEEDS[:1] if tiny else SEEDS,
                device,
            ),
            at_most(1 / 0.85),
            tolerance=None,
            unit="wall s",
            repeats=1,
        )
    if not tiny and device.type == "cpu":
        yield Case(
            "first table of the smoke scale",
            f"its training on {os.cpu_count()} cores",
            partial(pair_of, first_table),
            SLOWER,
            tolerance=None,
            unit="wall s",
            repeats=1,
        )


def job(
    scale: str, experiment: str, method: str, seeds: tuple[int, ...], device: torch.device
) -> tuple[Run, Run]:
    """Seconds of the process and of the training in it."""

    def measured() -> tuple[float, float]:
        found = trained(scale, experiment, method, seeds, device)
        return found["wall"], found["training"]

    return pair_of(measured)


def pair_of(measured: Callable[[], tuple[float, float]]) -> tuple[Run, Run]:
    """Both numbers of one measurement."""
    once = cache(measured)
    return lambda: once()[0], lambda: once()[1]


def first_table() -> tuple[float, float]:
    """Seconds until the table, and those of the training on the way."""
    place = Path(tempfile.mkdtemp(dir=folder()))
    for name in PARTS:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, place / name)
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "all",
        "--config",
        "scale=smoke",
        "--",
        TABLES,
    ]
    wall = run(command, place)["wall"]
    records = [
        json.loads(path.read_text()) for path in place.glob("results/smoke/runs/**/seed*.json")
    ]
    return wall, sum(record["seconds"] for record in records) / (os.cpu_count() or 1)
