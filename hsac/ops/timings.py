"""How long runs take and how large they are: read from finished runs, else from the rows that `hsac
time` wrote.

Nothing is guessed: what neither knows, nobody knows. No torch here.
"""

import csv
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from hsac import config
from hsac.errors import InputError
from hsac.files import canonical, digest, read_json
from hsac.study.record import FINAL

FILE = config.FOLDER / "timings.csv"
SAMPLE = (
    5  # finished runs that speak for their cell: reading all of them takes longer than the plan may
)
CPU, GPU = "cpu", "gpu"
LENGTH = ("epochs", "evaluations", "weight_decay", "schedule", "warmup_steps")


@dataclass(frozen=True)
class Timing:
    """What training `together` seeds of a `shape` as one program took on a `device` (cpu, or a
    GPU's name).

    Seconds are those of all seeds together: `seconds_step` of a training step, outer steps in their
    share; `seconds_evaluation` of an evaluation; `seconds_once` of all the rest. Bytes are those of
    one run's weights and record: `bytes_once`, and `bytes_step` for what grows with the steps.
    """

    shape: str
    together: int
    device: str
    threads: int
    steps_per_epoch: int
    seconds_once: float
    seconds_step: float
    seconds_evaluation: float
    bytes_once: int
    bytes_step: float

    @property
    def kind(self) -> str:
        """`cpu` or `gpu`."""
        return CPU if self.device == CPU else GPU

    def seconds(self, training: dict[str, Any]) -> float:
        """Seconds a run with so many epochs and evaluations."""
        steps = training["epochs"] * self.steps_per_epoch * self.seconds_step
        return (
            self.seconds_once + steps + training["evaluations"] * self.seconds_evaluation
        ) / self.together

    def bytes(self, training: dict[str, Any]) -> float:
        """Bytes of a run with so many epochs."""
        return self.bytes_once + training["epochs"] * self.steps_per_epoch * self.bytes_step


COLUMNS = ("experiment", "method", *(f.name for f in fields(Timing)), "cores", "torch", "python")
NUMBERS = {f.name: f.type for f in fields(Timing) if f.type in (int, float)}


@dataclass(frozen=True)
class Cost:
    """What one run takes: seconds, the threads that it keeps busy (1 beside a GPU), bytes it
    leaves; `source` says whose seconds.
    """

    seconds: float
    threads: float
    bytes: float
    source: str


def shape(cell: dict[str, Any]) -> str:
    """Digest of what decides how long a training step of a cell takes.

    Left out are the length of training, the curvature's start and bounds, the variant's name, draw
    and noise rate, and those parameters of model, loss and rules that are fractions: they say how
    far to go, not how often.
    """
    given = cell["config"]
    kept = {key: value for key, value in given.items() if key not in ("setting", "search")}
    kept |= {key: _counts(given[key]) for key in ("model", "loss", "weights", "rule", "measure")}
    left_out = {
        "training": LENGTH,
        "variant": ("name", "draw", "rate"),
        "curvature": ("start", "bounds"),
    }
    kept |= {
        part: {k: v for k, v in given[part].items() if k not in names}
        for part, names in left_out.items()
    }
    return digest(kept)


def _counts(value: Any) -> Any:
    """The value without the fractions in it."""
    if isinstance(value, dict):
        return {key: _counts(inner) for key, inner in value.items() if not isinstance(inner, float)}
    return (
        [_counts(inner) for inner in value if not isinstance(inner, float)]
        if isinstance(value, list)
        else value
    )


def sizes(record: dict[str, Any], weights: int) -> tuple[int, float]:
    """`bytes_once` and `bytes_step` of a run, from its record and the bytes of its weights' file."""
    outer = len(canonical(record["outer"])) if record["outer"] else 0
    return len(canonical(record)) - outer + weights, outer / record["steps"]


class Timings:
    """Timings of the finished runs below a folder of results (every scale's) and of a file, looked
    up by cell.
    """

    def __init__(self, results: Path, file: Path = FILE) -> None:
        self.results, self.file = results, file
        self._known: dict[str, list[Timing]] = {}
        self._costs: dict[tuple[str, int], dict[str, Cost]] = {}

    def costs(self, cell: dict[str, Any], together: int) -> dict[str, Cost]:
        """What a run of the cell takes on a `cpu` and on a `gpu`, as far as recorded; `together`
        seeds are a bundle.

        By the first of these that knows: finished runs of this very configuration; finished runs of
        its shape; the file's rows of its shape. Of several, those of as many seeds together count,
        if there are any. Raises InputError for a file that holds no timings.
        """
        if (key := (cell["hash"], together)) in self._costs:
            return self._costs[key]
        steps: tuple[tuple[str, Callable[[], list[Timing]]], ...] = (
            ("finished runs", lambda: self._timings(cell["hash"])),
            ("finished runs", lambda: self._by_shape.get(shape(cell), [])),
            (self.file.as_posix(), lambda: self._rows.get(shape(cell), [])),
        )
        found: dict[str, Cost] = {}
        for source, recorded in steps:
            for kind in (kind for kind in (CPU, GPU) if kind not in found):
                known = [timing for timing in recorded() if timing.kind == kind]
                known = [timing for timing in known if timing.together == together] or known
                if known:
                    found[kind] = _mean(known, cell["config"]["training"], source)
        self._costs[key] = found
        return found

    def seconds(self, cell: dict[str, Any], together: int) -> float | None:
        """Seconds a run of the cell is likely to take: on a CPU where that is recorded, else on a
        GPU.
        """
        costs = self.costs(cell, together)
        return next((costs[kind].seconds for kind in (CPU, GPU) if kind in costs), None)

    @cached_property
    def _folders(self) -> dict[str, list[Path]]:
        """Folders of finished runs by the digest of their configuration."""
        found: dict[str, list[Path]] = {}
        for folder in sorted(filter(Path.is_dir, self.results.glob("*/runs/*/*/*"))):
            found.setdefault(folder.name, []).append(folder)
        return found

    def _timings(self, configuration: str) -> list[Timing]:
        """Timings of finished runs of a configuration."""
        if configuration not in self._known:
            folders = self._folders.get(configuration, [])
            self._known[configuration] = [
                timing for folder in folders for timing in _of_runs(folder)
            ]
        return self._known[configuration]

    @cached_property
    def _by_shape(self) -> dict[str, list[Timing]]:
        found: dict[str, list[Timing]] = {}
        for configuration in self._folders:
            for timing in self._timings(configuration):
                found.setdefault(timing.shape, []).append(timing)
        return found

    @cached_property
    def _rows(self) -> dict[str, list[Timing]]:
        found: dict[str, list[Timing]] = {}
        for row in read_rows(self.file):
            timing = Timing(**{f.name: row[f.name] for f in fields(Timing)})
            found.setdefault(timing.shape, []).append(timing)
        return found


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a file of timings, numbers as numbers; none where there is no file. Raises
    InputError naming the file and the line for anything else than the columns and numbers that
    `hsac time` writes.
    """
    if not file.is_file():
        return []
    with open(file, newline="") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise InputError(
                f"{file}: found the columns {reader.fieldnames}; allowed are {', '.join(COLUMNS)}"
            )
        rows: list[dict[str, Any]] = []
        for row in reader:
            try:
                rows.append(row | {name: kind(row[name]) for name, kind in NUMBERS.items()})
            except (TypeError, ValueError):
                raise InputError(
                    f"{file}, line {reader.line_num}: found {row}; allowed is a row of `hsac time`"
                ) from None
        return rows


def _of_runs(folder: Path) -> Iterator[Timing]:
    """Timings of the first few trained runs in a cell's folder; what is cut short, or failed, says
    nothing.
    """
    names = sorted(entry.name for entry in os.scandir(folder) if entry.name.startswith("seed"))
    for path in [folder / name for name in names if name.endswith(".json")][:SAMPLE]:
        try:
            record = read_json(path)
            if record["status"] not in FINAL or (
                record["chosen"] is not None and "tuning" not in record
            ):
                continue
            together, steps = len(record["together"]), record["steps"]
            once, step = sizes(record, path.with_suffix(".npy").stat().st_size)
            yield Timing(
                shape=shape(record),
                together=together,
                device=record["device"],
                threads=record["threads"],
                steps_per_epoch=steps // record["config"]["training"]["epochs"],
                seconds_once=0.0,
                seconds_step=record["seconds"] * together / steps,
                seconds_evaluation=0.0,
                bytes_once=once,
                bytes_step=step,
            )
        except (InputError, KeyError, TypeError, OSError, ZeroDivisionError):
            continue


def _mean(timings: list[Timing], training: dict[str, Any], source: str) -> Cost:
    return Cost(
        seconds=fmean(timing.seconds(training) for timing in timings),
        threads=fmean(timing.threads if timing.kind == CPU else 1 for timing in timings),
        bytes=fmean(timing.bytes(training) for timing in timings),
        source=f"{', '.join(sorted({timing.device for timing in timings}))} ({source})",
    )
