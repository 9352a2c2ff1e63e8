"""Gather run records into tables: of runs, of trajectory points, and of what runs cost the machine.

Records are read, checked and written a chunk at a time, so memory does not grow with their number.
"""

import json
import math
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hsac import parts
from hsac.errors import InputError
from hsac.files import JsonObject, atomic, workflow_of
from hsac.report.columns import METRICS, SELECTIONS, Record, measure, plugin_metrics
from hsac.study.record import check_record, read_index, read_record, read_records

LOGGED = ("sharpness", "train_nll", "validation_accuracy", "test_accuracy")
SEARCHED = ("different", "gradients", "products")  # of a record's tuning
TIMING = ("seconds", "search_seconds", "peak_memory_mib")
KEYS = ("experiment", "method", "seed")  # of a run, in every gathered table
CHUNK = 500  # records that are one row group of a table

T = TypeVar("T")

_TEXT, _WHOLE, _REAL = pa.string(), pa.int64(), pa.float64()
_TYPES = {"step": _WHOLE}  # of metrics that are not real numbers
RUN_SCHEMA = pa.schema(
    [(name, _TEXT) for name in ("experiment", "setting", "dataset", "variant", "model", "method")]
    + [(name, _TEXT) for name in ("weight_rule", "curvature_rule", "loss")]
    + [("start", _REAL), ("seed", _WHOLE)]
    + [("status", _TEXT), ("reason", _TEXT), ("tried", _WHOLE), ("chosen", _TEXT)]
    + [(f"search_{name}", _WHOLE) for name in SEARCHED]
    + [("gradients", _WHOLE), ("products", _WHOLE), ("dropped_solves", _REAL), ("steps", _WHOLE)]
    + [("held_out_batches", _WHOLE), ("meta_batches", _WHOLE)]
    + [("curvature", _REAL), ("curvatures", _TEXT), ("sharpness", _REAL)]
    + [(f"{kind}_{name}", _TYPES.get(name, _REAL)) for kind in SELECTIONS for name in METRICS]
    + [("test_right", _TEXT), ("test_answers", _WHOLE)]
    + [(name, _TEXT) for name in ("config_hash", "code", "variant_hash", "record")]
)
MEASURED_SCHEMA = pa.schema(
    [("experiment", _TEXT), ("method", _TEXT), ("seed", _WHOLE)]
    + [(name, _REAL) for name in TIMING]
    + [("host", _TEXT), ("device", _TEXT)]
)
TRAJECTORY_SCHEMA = pa.schema(
    [("experiment", _TEXT), ("method", _TEXT), ("seed", _WHOLE), ("step", _WHOLE)]
    + [(name, _REAL) for name in LOGGED]
    + [("layer", _TEXT), ("curvature", _REAL)]
)
TABLES = {
    "runs.parquet": RUN_SCHEMA,
    "trajectories.parquet": TRAJECTORY_SCHEMA,
    "measured.parquet": MEASURED_SCHEMA,
}


def run_schema() -> pa.Schema:
    """Return the columns of ``runs.parquet``.

    Returns:
        `RUN_SCHEMA`, and a column for each metric of the plugin folders in use.

    Raises:
        InputError: Such a metric has the name of another column.
    """
    schema = RUN_SCHEMA
    for name in plugin_metrics():
        if name in schema.names:
            path = parts.file("metric", name)
            raise InputError(
                f"{path}: found the name {name!r}, which a column has; allowed is its own"
            )
        schema = schema.append(pa.field(name, _REAL))
    return schema


def geometric_mean(values: Sequence[float | None]) -> float | None:
    """Compute the geometric mean of curvatures.

    Args:
        values: Curvatures c >= 0.

    Returns:
        The mean: 0 when any is 0 (Euclidean), None when any is missing or there is none.
    """
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    # A Euclidean layer has c = 0, which has no log.
    return 0.0 if min(known) == 0 else math.exp(math.fsum(map(math.log, known)) / len(known))


def run_row(record: Record, path: str) -> dict[str, object]:
    """Make the row of ``runs.parquet`` of one record.

    Args:
        record: The run's record.
        path: Where it lies, relative to the results folder.

    Returns:
        Column -> value.

    Raises:
        InputError: A plugin's metric failed.
    """
    final = record["curvature"]["final"]
    row: dict[str, object] = {n: record[n] for n in RUN_SCHEMA.names if n in record}
    row |= {"curvature": geometric_mean(final), "record": path}
    row["curvatures"] = json.dumps(dict(zip(record["curvature"]["names"], final, strict=True)))
    dropped = (record["outer"] or {}).get("fallback")  # outer steps that left the implicit term out
    row["dropped_solves"] = math.fsum(dropped) / len(dropped) if dropped else None
    for kind in SELECTIONS:
        metrics = (record["metrics"] or {}).get(kind) or {}
        # A run that did not finish has no metrics. Its row has their columns nevertheless.
        row |= {f"{kind}_{name}": metrics.get(name) for name in METRICS}
    row |= {f"search_{name}": (record.get("tuning") or {}).get(name) for name in SEARCHED}
    selected = (record["metrics"] or {}).get("selected") or {}
    right = selected.get("test_right")
    row["test_right"] = None if right is None else orjson.dumps(right).decode()
    row["test_answers"] = selected.get("test_answers")
    return row | measure(record)


def measured_row(record: Record) -> dict[str, object]:
    """Make the row of ``measured.parquet`` of one record.

    Args:
        record: The run's record.

    Returns:
        Column -> value, which another execution of the same run measures otherwise.
    """
    row: dict[str, object] = {n: record[n] for n in MEASURED_SCHEMA.names if n in record}
    return row | {"search_seconds": (record.get("tuning") or {}).get("seconds")}


def trajectory_columns(record: Record) -> dict[str, list[Any]]:
    """Make the rows of ``trajectories.parquet`` of one record.

    Args:
        record: The run's record.

    Returns:
        Column -> values, one a logged step and layer. A model without curvature has one a step,
        with layer "".
    """
    trajectory, names = record["trajectory"], record["curvature"]["names"]
    layers, steps = names or [""], len(trajectory["step"])
    columns = {name: [record[name]] * (steps * len(layers)) for name in KEYS}
    for name in ("step", *LOGGED):
        columns[name] = [value for value in trajectory[name] for _ in layers]
    # Step by step and in it layer by layer, as the other columns.
    found = [c for at in trajectory["curvature"] for c in (at if names else [None])]
    return columns | {"layer": layers * steps, "curvature": found}


def read_bundle(index: Path) -> Iterator[tuple[Path, JsonObject]]:
    """Read the records that one bundle index names, and check them.

    Args:
        index: The bundle index.

    Yields:
        Path and content of each record.

    Raises:
        InputError: A record is missing, differs from the index's SHA-256, does not obey the schema,
            or belongs to another cell than the index says, or the weights beside it are not its
            own.
    """
    for path, record in read_records(index):
        check_record(record, path)
        yield path, record


@dataclass(frozen=True)
class Run:
    """A run as a bundle's index lists it.

    Attributes:
        index: The bundle index.
        cell: Experiment and method.
        seed: Its seed.
        path: Its record.
        sha256: Digest of the record.
    """

    index: Path
    cell: tuple[str, str]
    seed: int
    path: Path
    sha256: str

    def record(self) -> JsonObject:
        """Read the record and check it.

        Returns:
            Its content.

        Raises:
            InputError: As of `read_bundle`.
        """
        record = read_record(self.index, self.cell, self.seed, self.path, self.sha256)
        check_record(record, self.path)
        return record


def _listed(indexes: Sequence[Path]) -> list[Run]:
    """List the runs of bundles by experiment, method and seed; no record is read."""
    runs: dict[tuple[str, str, int], Run] = {}
    for index in map(Path, indexes):
        cell, members = read_index(index)
        for seed, path, sha256 in members:
            key = (*cell, seed)
            if key in runs:
                first = runs[key].path
                raise InputError(f"{path}: the run {key} is listed a second time, first as {first}")
            runs[key] = Run(index, cell, seed, path, sha256)
    # The tables' bytes must not follow the order in which the indexes are named.
    return [runs[key] for key in sorted(runs)]


def _tables(runs: Sequence[Run], root: Path) -> list[pa.Table]:
    """Make the rows of runs in the order of `TABLES`, each in the runs' order."""
    ran: list[dict[str, object]] = []
    logged: dict[str, list[Any]] = {name: [] for name in TRAJECTORY_SCHEMA.names}
    timed: list[dict[str, object]] = []
    # Resolving asks the file system, and a folder has many runs.
    place = cache(lambda folder: Path(os.path.relpath(folder.resolve(), root)).as_posix())
    for run in runs:
        record = run.record()
        ran.append(run_row(record, f"{place(run.path.parent)}/{run.path.name}"))
        for name, values in trajectory_columns(record).items():
            logged[name] += values
        timed.append(measured_row(record))
    return [
        # With schemas, as a column without values would have no type.
        pa.Table.from_pylist(ran, run_schema()),
        pa.Table.from_pydict(logged, TRAJECTORY_SCHEMA),
        pa.Table.from_pylist(timed, MEASURED_SCHEMA),
    ]


def _check(runs: Sequence[Run]) -> None:
    for run in runs:
        run.record()


def _each(
    function: Callable[[Sequence[Run]], T], runs: Sequence[Run], processes: int
) -> Iterator[T]:
    """Yield the function's result for each chunk of the runs, in order.

    A few chunks at a time are worked on or waiting.
    """
    chunks = [runs[start : start + CHUNK] for start in range(0, len(runs), CHUNK)]
    # One chunk gives a pool nothing to share out.
    if processes == 1 or len(chunks) < 2:
        yield from map(function, chunks)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        waiting: deque[Future[bytes]] = deque()
        for chunk in chunks:
            # The first root is the package, which every process has.
            waiting.append(pool.submit(_packed, function, chunk, parts.roots()[1:]))
            # With all chunks under way, memory would grow with the number of records.
            if len(waiting) > 2 * processes:
                yield pickle.loads(waiting.popleft().result())
        while waiting:
            yield pickle.loads(waiting.popleft().result())


def _packed(
    function: Callable[[Sequence[Run]], Any], runs: Sequence[Run], plugins: Sequence[parts.Root]
) -> bytes:
    """Call the function in a process of the pool, which knows no plugin folder of its own."""
    with parts.rooted(plugins):
        # the pool's own protocol would copy a table's buffers
        return pickle.dumps(function(runs), protocol=5)


IDENTIFIED = ("experiment", "method", "seed")  # columns of each gathered table
OWN = {"runs": "status", "trajectories": "step", "measured": "seconds"}  # a column of this one


def read_gathered(path: Path, table: str = "runs") -> pd.DataFrame:
    """Read a gathered table.

    Args:
        path: The file.
        table: Which of the tables it is: runs, trajectories or measured.

    Returns:
        The table.

    Raises:
        InputError: It is missing, damaged or another table.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: missing; run {workflow_of(path)} to gather the runs")
    again = f"delete it and run {workflow_of(path)} again"
    try:
        found = pd.read_parquet(path)
    # Arrow reports a damaged page as an error of the system or of a decoder.
    except (pa.ArrowException, OSError, ValueError) as error:
        words = " ".join(str(error).split())
        raise InputError(f"{path}: damaged ({words}); {again}") from None
    lacking = [name for name in (*IDENTIFIED, OWN[table]) if name not in found]
    if lacking:
        what = f"no gathered table of {table}"
        raise InputError(f"{path}: found no column {lacking[0]}, so it is {what}; {again}")
    return found


def gather(
    indexes: Sequence[Path], results: Path, candidates: Sequence[Path] = (), processes: int = 1
) -> None:
    """Check run records and write the gathered tables.

    ``runs.parquet`` has one row a run, sorted by experiment, method and seed. Its column ``record``
    is relative to the results folder. ``trajectories.parquet`` has one row a run, logged step and
    layer. Both are functions of configuration, code, seeds and data alone: the same runs trained
    again on the same machine give the same bytes. ``measured.parquet`` says how long each run took
    and how much memory.

    Args:
        indexes: Indexes of the bundles whose records are gathered.
        results: The results folder, where the tables are written.
        candidates: Indexes of runs that only `grid` or `best_of` chooses from. They are checked and
            not written.
        processes: How many processes read records. The tables do not depend on it.

    Raises:
        InputError: A record is missing, edited, malformed or listed twice, or a plugin's metric
            failed.
    """
    root = Path(results).resolve()
    runs = _listed(indexes)
    checked = [run for index in candidates for run in _listed([index])]
    # Candidates are checked for errors and not written.
    for _ in _each(_check, checked, processes):
        pass
    with ExitStack() as stack:
        writers = []
        for name, schema in {**TABLES, "runs.parquet": run_schema()}.items():
            # An error in any record leaves all former tables as they were.
            file = stack.enter_context(atomic(root / name))
            writer = pq.ParquetWriter(file, schema, compression="zstd")
            writers.append(stack.enter_context(writer))
        for tables in _each(partial(_tables, root=root), runs, processes):
            for writer, table in zip(writers, tables, strict=True):
                writer.write_table(table)
