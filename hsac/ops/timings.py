"""Look up how long runs take and how large they are.

Finished runs say it, else the rows that `hsac time` wrote. Cells without a recorded timing are
reported as unknown, never estimated. No torch here.
"""

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from hsac.documents import read_text
from hsac.errors import InputError
from hsac.files import canonical, digest, read_json
from hsac.study.cell import Cell
from hsac.study.load import FOLDER
from hsac.study.models import Training
from hsac.study.record import FINAL, is_chosen

FILE = FOLDER / "timings.csv"
# finished runs that speak for their cell: reading all of them takes longer than the plan may
SAMPLE = 5
CPU, GPU = "cpu", "gpu"
Row = dict[str, Any]  # of a file of timings, by column; or a run's record, by key
# Keys of `training` that say how many steps there are, or scale what one does.
LENGTH = ("epochs", "evaluations", "weight_decay", "schedule", "warmup_steps")


@dataclass(frozen=True)
class Timing:
    """A measurement of how long some seeds of a cell took as one program.

    Attributes:
        shape: the digest of what decides how long a step takes.
        together: how many seeds were trained.
        device: `cpu`, or a GPU's name.
        threads: threads of the CPU.
        steps_per_epoch: training steps an epoch.
        seconds_once: seconds of all seeds together that are neither steps nor evaluations.
        seconds_step: of a training step, outer steps in their share.
        seconds_evaluation: of an evaluation.
        bytes_once: bytes of one run's weights and record.
        bytes_step: of what grows with the steps.
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

    def seconds(self, training: Training) -> float:
        """Return the seconds of a run.

        Args:
            training: its length in epochs and evaluations.
        """
        steps = training.epochs * self.steps_per_epoch * self.seconds_step
        evaluations = training.evaluations * self.seconds_evaluation
        return (self.seconds_once + steps + evaluations) / self.together

    def bytes(self, training: Training) -> float:
        """Return the bytes of a run.

        Args:
            training: its length in epochs.
        """
        return self.bytes_once + training.epochs * self.steps_per_epoch * self.bytes_step


COLUMNS = ("experiment", "method", *(f.name for f in fields(Timing)), "cores", "torch", "python")
NUMBERS = {f.name: f.type for f in fields(Timing) if f.type in (int, float)}


@dataclass(frozen=True)
class Cost:
    """What one run takes.

    Attributes:
        seconds: how long it runs.
        threads: threads of the CPU that it keeps busy, 1 beside a GPU.
        bytes: what it leaves on disk.
        source: whose seconds these are.
    """

    seconds: float
    threads: float
    bytes: float
    source: str


def shape(config: Mapping[str, Any]) -> str:
    """Return the digest of what decides how long a training step of a cell takes.

    Left out are the length of training, the initial curvature and the bounds, the variant's name,
    draw and noise rate, and those parameters of model, loss and rules that are fractions: they say
    how far to go, not how often.

    Args:
        config: the cell's configuration, as records hold it.
    """
    kept = {key: value for key, value in config.items() if key not in ("setting", "search")}
    kept |= {key: _counts(config[key]) for key in ("model", "loss", "weights", "rule", "measure")}
    left_out = {
        "training": LENGTH,
        "variant": ("name", "draw", "rate"),
        "curvature": ("start", "bounds"),
    }
    for part, names in left_out.items():
        kept[part] = {key: value for key, value in config[part].items() if key not in names}
    return digest(kept)


def _counts(value: Any) -> Any:
    """Return the value without the fractions in it."""
    if isinstance(value, dict):
        return {key: _counts(inner) for key, inner in value.items() if not isinstance(inner, float)}
    if isinstance(value, list):
        return [_counts(inner) for inner in value if not isinstance(inner, float)]
    return value


def sizes(record: Row, weights: int) -> tuple[int, float]:
    """Return the bytes of a run.

    Args:
        record: its record.
        weights: bytes of its weights' file.

    Returns:
        `bytes_once` and `bytes_step` of `Timing`.
    """
    outer = len(canonical(record["outer"])) if record["outer"] else 0
    return len(canonical(record)) - outer + weights, outer / record["steps"]


class Timings:
    """Timings of finished runs (every scale's) and of a file, looked up by cell.

    Args:
        results: the folder of the scales' results.
        file: what `hsac time` wrote.
    """

    def __init__(self, results: Path, file: Path = FILE) -> None:
        """Remember where timings lie. Nothing is read before it is asked for."""
        self.results, self.file = results, file
        self._known: dict[str, list[Timing]] = {}
        self._costs: dict[tuple[str, int], dict[str, Cost]] = {}

    def costs(self, cell: Cell, together: int) -> dict[str, Cost]:
        """Return what a run of a cell takes, as far as it is recorded.

        The first of these that knows decides: finished runs of this very configuration; finished
        runs of its shape; the file's rows of its shape. Of several, those of as many seeds together
        count, if there are any.

        Args:
            cell: the cell.
            together: how many seeds are a bundle.

        Returns:
            The cost on a `cpu` and on a `gpu`; a kind that nothing is recorded of is left out.

        Raises:
            InputError: for a file that holds no timings.
        """
        if (key := (cell.hash, together)) in self._costs:
            return self._costs[key]
        found: dict[str, Cost] = {}
        for source, recorded in self._sources(cell):
            for kind in (kind for kind in (CPU, GPU) if kind not in found):
                known = [timing for timing in recorded() if timing.kind == kind]
                # How long a run takes depends on how many are trained with it.
                known = [timing for timing in known if timing.together == together] or known
                if known:
                    found[kind] = _mean(known, cell.config.training, source)
        self._costs[key] = found
        return found

    def _sources(self, cell: Cell) -> Iterator[tuple[str, Callable[[], list[Timing]]]]:
        """Yield what may know a cell's timings, the best first, and how to ask it."""
        yield "finished runs", lambda: self._timings(cell.hash)
        like = shape(cell.config.dump())
        yield "finished runs", lambda: self._by_shape.get(like, [])
        yield self.file.as_posix(), lambda: self._rows.get(like, [])

    def seconds(self, cell: Cell, together: int) -> float | None:
        """Return the seconds that a run of a cell is likely to take.

        Args:
            cell: the cell.
            together: how many seeds are a bundle.

        Returns:
            Those on a CPU where they are recorded, else those on a GPU, None without either.
        """
        costs = self.costs(cell, together)
        return next((costs[kind].seconds for kind in (CPU, GPU) if kind in costs), None)

    @cached_property
    def _folders(self) -> dict[str, list[Path]]:
        """Find the folders of finished runs by the digest of their configuration."""
        found: dict[str, list[Path]] = {}
        for folder in sorted(filter(Path.is_dir, self.results.glob("*/runs/*/*/*"))):
            found.setdefault(folder.name, []).append(folder)
        return found

    def _timings(self, configuration: str) -> list[Timing]:
        if configuration not in self._known:
            folders = self._folders.get(configuration, [])
            self._known[configuration] = [one for folder in folders for one in _of_runs(folder)]
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


def read_rows(file: Path) -> list[Row]:
    """Read a file of timings.

    Args:
        file: the file; one that is not there has no rows.

    Returns:
        The rows by column, numbers as numbers.

    Raises:
        InputError: names the file and the line for anything else than the columns and numbers that
            `hsac time` writes.
    """
    if not file.is_file():
        return []
    reader = csv.DictReader(io.StringIO(read_text(file)))
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise InputError(
            f"{file}: found the columns {reader.fieldnames}; allowed are {', '.join(COLUMNS)}"
        )
    rows: list[Row] = []
    for row in reader:
        try:
            rows.append(row | {name: kind(row[name]) for name, kind in NUMBERS.items()})
        except (TypeError, ValueError):
            raise InputError(
                f"{file}, line {reader.line_num}: found {row}; allowed is a row of `hsac time`"
            ) from None
    return rows


def _of_runs(folder: Path) -> Iterator[Timing]:
    """Yield timings of the first few trained runs in a cell's folder."""
    names = sorted(entry.name for entry in os.scandir(folder) if entry.name.startswith("seed"))
    for path in [folder / name for name in names if name.endswith(".json")][:SAMPLE]:
        try:
            record = read_json(path)
            if record["status"] in FINAL and not is_chosen(record):
                yield _of_run(record, path.with_suffix(".npy").stat().st_size)
        # what is cut short or failed says nothing
        except (InputError, KeyError, TypeError, OSError, ZeroDivisionError):
            continue


def _of_run(record: Row, weights: int) -> Timing:
    together, steps = len(record["together"]), record["steps"]
    once, step = sizes(record, weights)
    return Timing(
        shape=shape(record["config"]),
        together=together,
        device=record["device"],
        threads=record["threads"],
        steps_per_epoch=steps // record["config"]["training"]["epochs"],
        # A record has one time for everything, so all of it counts as steps.
        seconds_once=0.0,
        # A record's seconds are a run's share of the program that trained it.
        seconds_step=record["seconds"] * together / steps,
        seconds_evaluation=0.0,
        bytes_once=once,
        bytes_step=step,
    )


def _mean(timings: list[Timing], training: Training, source: str) -> Cost:
    devices = ", ".join(sorted({timing.device for timing in timings}))
    return Cost(
        seconds=fmean(timing.seconds(training) for timing in timings),
        threads=fmean(timing.threads if timing.kind == CPU else 1 for timing in timings),
        bytes=fmean(timing.bytes(training) for timing in timings),
        source=f"{devices} ({source})",
    )
