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

from hsac import config, layout, parts
from hsac.data import build_variant, fetch, load_variant, write_variant
from hsac.errors import InputError
from hsac.files import canonical, write_rows
from hsac.ops.device import choose_device
from hsac.ops.timings import read_rows, shape, sizes
from hsac.train.run import Prepared, failure, train_seeds

STEPS = 10
PERIOD = (
    3  # steps between outer steps while the clock runs, so that a few steps see several of them
)
Cell = dict[str, Any]
Row = dict[str, Any]


def chosen(settings: dict[str, Any], patterns: list[str] | None) -> list[tuple[Cell, list[int]]]:
    """A cell of each shape that the settings train, with the seeds of its first bundle; of those
    that a pattern names: `digits`, `digits/sgd+hsac`, `*/sgd+*`. Raises InputError for a pattern
    that names none.
    """
    cells = [
        cell for cell in config.trained_cells(settings) if not config.searched(cell)
    ]  # one of its points is
    names = {c["hash"]: (c["experiment"], f"{c['experiment']}/{c['method']}") for c in cells}
    for pattern in patterns or []:
        if not any(fnmatchcase(name, pattern) for pair in names.values() for name in pair):
            found = [experiment for experiment, _ in names.values()]
            raise InputError(
                f"--cells: found {pattern!r}; experiments {parts.nearest(pattern, set(found))}"
            )
    distinct: dict[tuple[str, int], tuple[Cell, list[int]]] = {}
    for cell in cells:
        if patterns is None or any(
            fnmatchcase(name, p) for name in names[cell["hash"]] for p in patterns
        ):
            seeds = next(
                iter(layout.blocks(config.cell_seeds(settings, cell), settings["bundle"]).values())
            )
            together = parts.part("model", cell["config"]["model"]["name"]).vmapped
            seeds = seeds if together else seeds[:1]
            distinct.setdefault((shape(cell), len(seeds)), (cell, seeds))
    return list(distinct.values())


def time_cells(
    settings: dict[str, Any],
    wanted: list[tuple[Cell, list[int]]],
    data: Path,
    mirror: Path | None,
    file: Path,
    track: Callable[[list[tuple[Cell, list[int]]]], Iterable[tuple[Cell, list[int]]]] = iter,
) -> list[str]:
    """Time the cells that the file has no row of from this kind of device, and add a row each as it
    is measured.

    Data and variants that are missing are made. Returns a line for each cell that could not be
    timed. Raises InputError for a file that holds no timings or a device that is not there.
    """
    device = choose_device(settings["device"])
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    failed = []
    for cell, seeds in track(wanted):
        key = (shape(cell), len(seeds), name)
        if any((row["shape"], row["together"], row["device"]) == key for row in read_rows(file)):
            continue
        try:
            variant = load_variant(
                _variant(settings["experiments"][cell["experiment"]], data, mirror)
            )
            row = measured(settings, cell, seeds, variant, data)
        except Exception as error:
            reason = str(error) if isinstance(error, InputError) else ": ".join(failure(error))
            failed.append(f"{cell['experiment']} {cell['method']}: not timed: {reason}")
            continue
        write_rows(file, [*read_rows(file), row])
    return failed


def _variant(experiment: dict[str, Any], data: Path, mirror: Path | None) -> Path:
    """The experiment's variant file, made if it is missing."""
    path = layout.variant_path(experiment)
    if not path.is_file():
        for manifest in layout.variant_inputs(experiment):
            if manifest.name == "manifest.json":
                fetch(manifest.parent.name, data, mirror)
        recipe = {key: value for key, value in experiment["variant"].items() if key != "name"}
        write_variant(
            build_variant(experiment["dataset"], experiment["variant"]["name"], recipe, data), path
        )
    return path


class _Clock:
    """When steps begin and end, in seconds: of a GPU's wall clock, waiting for it; of a CPU's time
    spent in this process, so that what else the machine does is not counted.
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


def measured(
    settings: dict[str, Any], cell: Cell, seeds: list[int], variant: dict[str, Any], data: Path
) -> Row:
    """The row of a cell: STEPS steps with two evaluations, by the training loop itself.

    A step's seconds are the median of steps after the first; a rule that moves every `period` steps
    moves every third here, and the steps on which it does count by their share in training.
    """
    clock = _Clock(choose_device(settings["device"]))
    seen: dict[str, float] = {"share": 0.0}

    def watch(made: Prepared) -> Prepared:
        rule: Any = made.curvature_rule
        seen["steps_per_epoch"] = made.task.steps_per_epoch
        if hasattr(rule, "period"):
            seen["share"] = (1 - rule.warm_up) / rule.period
            rule = replace(rule, period=PERIOD, warm_up=0.0)
        plan = replace(made.plan, epochs=1, evaluations=2)
        return replace(
            made, task=_Task(made.task, clock), curvature_rule=_Rule(rule, clock), plan=plan
        )

    started = clock.now()
    record, weights = train_seeds(
        settings | {"time_limit": None}, cell, seeds, variant, data, watch
    )[0]
    whole, threads, share = clock.now() - started, record["threads"], seen["share"]
    steps = [end - begin for begin, end in zip(clock.begun, clock.ended, strict=True)]
    outer = [seconds for i, seconds in enumerate(steps) if share and (i + 1) % PERIOD == 0]
    plain = [
        seconds for i, seconds in enumerate(steps) if i and not (share and (i + 1) % PERIOD == 0)
    ]
    step = median(plain) + share * max(0.0, median(outer) - median(plain) if outer else 0.0)
    evaluation = clock.begun[STEPS // 2] - clock.ended[STEPS // 2 - 1]
    tried = record["tried"]  # a searching rule's run is so many trainings
    once = max(0.0, whole - sum(steps) - 2 * tried * evaluation)
    workers = threads if clock.device.type == "cpu" else 1
    log = record["outer"]
    return {
        "experiment": cell["experiment"],
        "method": cell["method"],
        "shape": shape(cell),
        "together": len(seeds),
        "device": record["device"],
        "threads": threads,
        "steps_per_epoch": tried * seen["steps_per_epoch"],
        "seconds_once": _short(once / workers),
        "seconds_step": _short(step / workers),
        "seconds_evaluation": _short(tried * evaluation / workers),
        "bytes_once": sizes(record, weights.nbytes)[0],
        "bytes_step": _short(share * len(canonical(log)) / len(log["step"])) if log else 0.0,
        "cores": os.cpu_count(),
        "torch": record["versions"]["torch"],
        "python": record["versions"]["python"],
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")
