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
# What the workflow needs of the repository.
PARTS = ("Snakefile", "workflow", "config", "profiles", "hsac", "environment.yml")


def cases(device: torch.device, tiny: bool) -> Iterator[Case]:
    """Yield jobs against the training in them, and a whole workflow until its first table.

    Jobs are of the default scale; less than 15 % of one is to be anything but training. The
    workflow is that of the smoke scale, from an empty folder.
    """
    scale, seeds = ("smoke", SEEDS[:1]) if tiny else ("default", SEEDS)
    jobs = {"disease": "adam+fixed@0.3"} if tiny else JOBS
    for experiment, method in jobs.items():
        yield Case(
            f"{experiment}, {method}, a job of the {scale} scale",
            "its training",
            partial(job, scale, experiment, method, seeds, device),
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
    """Build the seconds of a process and of the training in it."""

    def measured() -> tuple[float, float]:
        found = trained(scale, experiment, method, seeds, device)
        return found["wall"], found["training"]

    return pair_of(measured)


def pair_of(measured: Callable[[], tuple[float, float]]) -> tuple[Run, Run]:
    """Build two functions from one measurement, which is made once."""
    once = cache(measured)
    return lambda: once()[0], lambda: once()[1]


def first_table() -> tuple[float, float]:
    """Measure the seconds until the first table, and those of the training on the way."""
    place = Path(tempfile.mkdtemp(dir=folder()))
    for name in PARTS:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, place / name)
    snakemake = [sys.executable, "-m", "snakemake", "--cores", "all"]
    wall = run([*snakemake, "--config", "scale=smoke", "--", TABLES], place)["wall"]
    paths = place.glob("results/smoke/runs/**/seed*.json")
    training = sum(json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in paths)
    return wall, training / (os.cpu_count() or 1)
