"""Timings of cells, taken from a few steps of each: the rows that `hsac.ops.timings` reads."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median
from typing import Any

import torch

from hsac import parts
from hsac.data import build_variant, fetch, load_variant, write_variant
from hsac.data.stored_variant import StoredVariant
from hsac.errors import InputError
from hsac.files import canonical, write_rows
from hsac.ops.device import choose_device
from hsac.ops.runner import failure, train_seeds
from hsac.ops.timings import Row, read_rows, shape, sizes
from hsac.study.cell import Cell
from hsac.study.graph import Graph, variant_inputs, variant_path
from hsac.study.models import Experiment, Study
from hsac.train.loop import Prepared

STEPS = 10
# Steps between outer steps while the clock runs, so that a few steps see several of them.
PERIOD = 3
Wanted = list[tuple[Cell, list[int]]]  # cells, each with the seeds of a bundle


def chosen(graph: Graph, patterns: list[str] | None) -> Wanted:
    """Choose a cell of each shape that a study trains.

    Args:
        graph: The work of a study.
        patterns: Which cells to choose from: `digits`, `digits/sgd+hsac`, `*/sgd+*`. None is all.

    Returns:
        The cells, each with the seeds of its first bundle.

    Raises:
        InputError: A pattern names no cell.
    """
    # A searched cell itself is never trained; one of its points is.
    cells = [cell for cell in graph.trained if not cell.searched]
    names = {c.hash: (c.experiment, f"{c.experiment}/{c.method}") for c in cells}
    for pattern in patterns or []:
        if not any(_named(pair, [pattern]) for pair in names.values()):
            found = {experiment for experiment, _ in names.values()}
            raise InputError(
                f"--cells: found {pattern!r}; experiments {parts.nearest(pattern, found)}"
            )
    distinct: dict[tuple[str, int], tuple[Cell, list[int]]] = {}
    for cell in cells:
        if patterns is None or _named(names[cell.hash], patterns):
            seeds = _together(graph, cell)
            distinct.setdefault((shape(cell.config.dump()), len(seeds)), (cell, seeds))
    return list(distinct.values())


def _named(names: Iterable[str], patterns: Iterable[str]) -> bool:
    """Return whether a pattern matches one of the names."""
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _together(graph: Graph, cell: Cell) -> list[int]:
    """Return the seeds of the first bundle of a cell that are trained as one program."""
    seeds = list(graph.own_bundles(cell)[0].seeds)
    return seeds if parts.part("model", cell.config.model.name).vmapped else seeds[:1]


def time_cells(
    study: Study,
    wanted: Wanted,
    data: Path,
    mirror: Path | None,
    file: Path,
    track: Callable[[Wanted], Iterable[tuple[Cell, list[int]]]] = iter,
) -> list[str]:
    """Time the cells that the file has no row of from this kind of device.

    A row is added as each is measured. Data and variants that are missing are made.

    Args:
        study: The study.
        wanted: What `chosen` gave.
        data: The data folder.
        mirror: A folder of files to take instead of downloading them.
        file: The file of timings.
        track: Watches the cells as they are taken.

    Returns:
        A line for each cell that could not be timed.

    Raises:
        InputError: The file holds no timings, or the device is not there.
    """
    device = choose_device(study.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    failed = []
    for cell, seeds in track(wanted):
        key = (shape(cell.config.dump()), len(seeds), name)
        # The file is read each time, since rows are added along the way.
        if any((row["shape"], row["together"], row["device"]) == key for row in read_rows(file)):
            continue
        try:
            path = _variant(study.experiments[cell.experiment], data, mirror)
            row = measured(study, cell, seeds, load_variant(path), data)
        # One cell that fails must not keep the others from being timed.
        except Exception as error:
            reason = str(error) if isinstance(error, InputError) else ": ".join(failure(error))
            failed.append(f"{cell.experiment} {cell.method}: not timed: {reason}")
            continue
        write_rows(file, [*read_rows(file), row])
    return failed


def _variant(experiment: Experiment, data: Path, mirror: Path | None) -> Path:
    """Return the experiment's variant file, made if it is missing."""
    path = variant_path(experiment)
    if not path.is_file():
        for manifest in variant_inputs(experiment):
            if manifest.name == "manifest.json":
                fetch(manifest.parent.name, data, mirror)
        variant = experiment.variant
        made = build_variant(experiment.dataset, variant.name, variant.made_by(), data)
        write_variant(made, path)
    return path


class _Clock:
    """When steps begin and end, in seconds.

    Of a GPU it is the wall clock, waiting for it. Of a CPU it is the time spent in this process, so
    that what else the machine does is not counted.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.begun: list[float] = []
        self.ended: list[float] = []

    def now(self) -> float:
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def begin(self) -> None:
        self.begun.append(self.now())

    def end(self) -> None:
        self.ended.append(self.now())


class _Task:
    """A task whose epoch has STEPS steps; each begins with a batch."""

    steps_per_epoch = STEPS

    def __init__(self, task: Any, clock: _Clock) -> None:
        self.task, self.clock = task, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def batch(self, stream: str, times: int = 1) -> Any:
        if stream == "batches":
            self.clock.begin()
        return self.task.batch(stream, times)


class _Rule:
    """A curvature rule; each step ends with its update."""

    def __init__(self, rule: Any, clock: _Clock) -> None:
        self.rule, self.clock = rule, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rule, name)

    def update(self, *given: Any) -> Any:
        found = self.rule.update(*given)
        self.clock.end()
        return found


class _Watch:
    """Puts the clock into what was prepared, and makes its training short.

    Attributes:
        clock: The clock.
        share: The share of steps of a whole training on which the curvature rule moves.
        steps_per_epoch: Steps of an epoch of a whole training.
        trainings: How many times what is trained here a run is.
    """

    def __init__(self, clock: _Clock) -> None:
        self.clock, self.share, self.steps_per_epoch = clock, 0.0, 0
        self.trainings = 1.0

    def __call__(self, made: Prepared) -> Prepared:
        rule: Any = made.curvature_rule
        self.steps_per_epoch = made.task.steps_per_epoch
        if hasattr(rule, "period"):
            self.share = (1 - rule.warm_up) / rule.period
            # Without a warm-up, so that `step` knows by their numbers which steps are outer ones.
            rule = replace(rule, period=PERIOD, warm_up=0.0)
        if getattr(rule, "halves", False):
            # Trainings side by side would mix their steps on the clock, so one is timed.
            self.trainings = rule.trainings
            rule = replace(rule, starts=rule.starts[:1])
        return replace(
            made,
            task=_Task(made.task, self.clock),
            curvature_rule=_Rule(rule, self.clock),
            schedule=replace(made.schedule, epochs=1, evaluations=2),
        )

    def step(self) -> float:
        """Seconds of a step of a whole training."""
        pairs = zip(self.clock.begun, self.clock.ended, strict=True)
        steps = [end - begin for begin, end in pairs]
        outer, plain = [], []
        for number, seconds in enumerate(steps, 1):
            if self.share and number % PERIOD == 0:
                outer.append(seconds)
            elif number > 1:  # the first step also warms up
                plain.append(seconds)
        step = median(plain)
        return step + self.share * max(0.0, median(outer) - step if outer else 0.0)


def measured(study: Study, cell: Cell, seeds: list[int], variant: StoredVariant, data: Path) -> Row:
    """Time a cell: STEPS steps with two evaluations, by the training loop itself.

    A step's seconds are the median of steps after the first. A rule that moves every `period` steps
    moves every third here, and the steps on which it does count by their share in training. Of a
    rule that halves one training is timed, and counted as often as its run has whole ones.

    Args:
        study: The study.
        cell: The cell.
        seeds: The seeds that are trained together.
        variant: The variant.
        data: The data folder.

    Returns:
        The cell's row for the file of timings.
    """
    clock = _Clock(choose_device(study.device))
    watch = _Watch(clock)
    started = clock.now()
    # Cells too slow for the limit are to be timed as well.
    unlimited = study.model_copy(update={"time_limit": None})
    record, weights = train_seeds(unlimited, cell, seeds, variant, data, watch)[0]
    whole, threads, share = clock.now() - started, record["threads"], watch.share
    in_steps = sum(end - begin for begin, end in zip(clock.begun, clock.ended, strict=True))
    # The first of the two evaluations lies between the two middle steps.
    evaluation = clock.begun[STEPS // 2] - clock.ended[STEPS // 2 - 1]
    tried = record["tried"]  # a searching rule has trained so many times here
    # Never below 0, which noise could make of a difference of times.
    once = max(0.0, whole - in_steps - 2 * tried * evaluation)
    # On a CPU the clock adds up over threads.
    workers = threads if clock.device.type == "cpu" else 1
    log = record["outer"]
    trainings = tried * watch.trainings
    return {
        "experiment": cell.experiment,
        "method": cell.method,
        "shape": shape(cell.config.dump()),
        "together": len(seeds),
        "device": record["device"],
        "threads": threads,
        "steps_per_epoch": round(trainings * watch.steps_per_epoch),
        "seconds_once": _short(watch.trainings * once / workers),
        "seconds_step": _short(watch.step() / workers),
        "seconds_evaluation": _short(trainings * evaluation / workers),
        "bytes_once": sizes(record, weights.nbytes)[0],
        "bytes_step": _short(share * len(canonical(log)) / len(log["step"])) if log else 0.0,
        "cores": os.cpu_count(),
        "torch": record["versions"]["torch"],
        "python": record["versions"]["python"],
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")
