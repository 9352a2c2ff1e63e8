"""The suite's own cells, at the sizes of its configuration, on data that need no download."""

import atexit
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from hsac.data import build_variant, fetch, write_variant
from hsac.files import write_json
from hsac.study import load, resolve
from hsac.study.models import Study
from hsac.train.inputs import load_inputs
from hsac.train.loop import Trainer
from hsac.train.seeds import normals
from hsac.train.setup import prepare

ROOT = Path(__file__).parent.parent
SEEDS = tuple(range(10))  # a bundle of the default scale


@cache
def folder() -> Path:
    """Make a folder for data and runs, which is deleted when the process ends.

    Returns:
        The folder, the same at each call.
    """
    path = Path(tempfile.mkdtemp(prefix="hsac-benchmarks-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@cache
def study(scale: str) -> Study:
    """Load the study of a scale.

    Args:
        scale: name of the scale.

    Returns:
        The study.
    """
    return load.load(scale, folder=ROOT / "config")


@cache
def variant(scale: str, experiment: str) -> tuple[dict[str, Any], Path]:
    """Build the variant of an experiment, and fetch its data if need be.

    Args:
        scale: name of the scale.
        experiment: name of the experiment.

    Returns:
        The variant, and the file that it is in.
    """
    given = study(scale).experiments[experiment]
    fetch(given.dataset, folder() / "data")
    recipe = given.variant.made_by()
    made = build_variant(given.dataset, given.variant.name, recipe, folder() / "data")
    path = folder() / f"{scale}-{experiment}.json"
    write_variant(made, path)
    return json.loads(path.read_text(encoding="utf-8")), path


def training(
    scale: str, experiment: str, method: str, seeds: tuple[int, ...], device: torch.device
) -> Trainer:
    """Prepare the training of a cell.

    Args:
        scale: name of the scale.
        experiment: name of the experiment.
        method: name of the method.
        seeds: seeds that train together.
        device: where they train.

    Returns:
        The training before its first step.
    """
    cell = resolve.cell(study(scale), experiment, method)
    inputs = load_inputs(str(device), cell, variant(scale, experiment)[0], folder() / "data")
    made = prepare(inputs, seeds)
    return Trainer(made, normals(seeds, made.w))


MODULE = ("-m", "hsac")


def trained(
    scale: str,
    experiment: str,
    method: str,
    seeds: tuple[int, ...],
    device: torch.device,
    program: tuple[str, ...] = MODULE,
) -> dict[str, float]:
    """Train a cell's seeds in a process of its own, by the workflow's command.

    Args:
        scale: name of the scale.
        experiment: name of the experiment.
        method: name of the method.
        seeds: seeds that train together.
        device: where they train.
        program: What Python runs, the command line of hsac.

    Returns:
        Seconds: `wall` and `cpu` of the whole process, `training` of what its records say.
    """
    _, stored = variant(scale, experiment)
    place = Path(tempfile.mkdtemp(dir=folder()))
    write_json(place / "settings.json", study(scale).dump() | {"device": str(device)})
    command = [
        "job",
        "train",
        "--settings",
        "settings.json",
        "--experiment",
        experiment,
        "--method",
        method,
        "--variant",
    ]
    command += [str(stored), "--index", "block0.json", "--seeds", *map(str, seeds)]
    wall = run([sys.executable, *program, *command], place)
    seconds = [
        json.loads((place / f"seed{seed}.json").read_text(encoding="utf-8"))["seconds"]
        for seed in seeds
    ]
    return wall | {"training": sum(seconds)}


def run(command: list[str], place: Path) -> dict[str, float]:
    """Run a command in a folder.

    Args:
        command: program and arguments.
        place: the folder.

    Returns:
        Seconds: `wall`, and `cpu` of the command and its children.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    given = {
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "HSAC_DATA": str(folder() / "data"),
        "OMP_NUM_THREADS": "1",
    }
    begun, before = perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=place, env=os.environ | given, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": perf_counter() - begun, "cpu": cpu}
