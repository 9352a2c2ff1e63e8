"""Train bundles: lease a device, train, time, catch what goes wrong, and write the records.

`hsac.train` computes. This module touches machine, disk and clock, and fills the fields of a record
about these. `select_bundle` trains nothing: it makes the records of derived runs from those of
others. A change here makes no finished run stale.
"""

import gc
import math
import platform
import resource
import sys
import time
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from hsac import parts
from hsac.data import load_variant
from hsac.data.stored_variant import StoredVariant
from hsac.errors import InputError
from hsac.files import (
    all_or_none,
    digest,
    exclusive,
    file_sha256,
    read_json,
    recover,
    write_array,
    write_json,
)
from hsac.ops.device import leased
from hsac.study import fingerprint
from hsac.study.cell import Cell, ModelPart
from hsac.study.models import Study
from hsac.study.record import (
    FINAL,
    has_weights,
    read_records,
    same_cell,
    write_index,
    write_point_index,
)
from hsac.study.search import SearchFacts
from hsac.study.selection import run_score
from hsac.train import bundle
from hsac.train.bundle import Change, Trained, unchanged
from hsac.train.inputs import choose_device, load_inputs
from hsac.train.loop import TimeLimitError
from hsac.train.results import NOTHING, Record

Attempted = list[tuple[Record, np.ndarray | None]]  # no weights where the training failed
PACKAGES = (
    "torch",
    "geoopt",
    "torch-geometric",
    "learn2learn",
    "datasets",
    "numpy",
    "scipy",
    "pillow",
    "matplotlib",
)
# The CPU's allocator and cuBLAS raise plain RuntimeErrors, which only their words tell apart.
MEMORY_WORDS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def run_bundle(
    study: Study,
    cell: Cell,
    seeds: list[int],
    variant: Path,
    data: Path,
    index: Path,
    facts: SearchFacts | None = None,
) -> None:
    """Train the seeds of a cell whose records are not there yet.

    A record each is written beside the bundle's index, then the index.

    Args:
        study: The study.
        cell: The cell.
        seeds: The bundle's seeds.
        variant: The variant's file.
        data: The data folder.
        index: The bundle's index.
        facts: The fields of the records about the search that chose the cell's point.

    Raises:
        InputError: The user can fix it: data or device.
    """
    paths = _train_missing(study, cell, seeds, load_variant(variant), data, index.parent, facts)
    # Written last, so that an index never names a record that is not there.
    write_index(index, cell, paths)


def run_points(
    study: Study,
    points: list[Cell],
    seeds: list[int],
    variant: Path,
    data: Path,
    index: Path,
) -> None:
    """Train the seeds of points of a searched cell, one point after another.

    A point's records lie in the folder of its own configuration beside that of the index. So every
    search that has the point, in bundles of whatever size, takes them from there.

    Args:
        study: The study.
        points: The cells of the points.
        seeds: The seeds of the search.
        variant: The variant's file.
        data: The data folder.
        index: The bundle's index, which is written last.

    Raises:
        InputError: The user can fix it: data or device.
    """
    chosen = load_variant(variant)
    runs: list[tuple[int, Path]] = []
    for point in points:
        folder = index.parent.with_name(point.hash)
        paths = _train_missing(study, point, seeds, chosen, data, folder, None)
        runs += paths.items()
    write_point_index(index, points[0], runs)


def _train_missing(
    study: Study,
    cell: Cell,
    seeds: list[int],
    variant: StoredVariant,
    data: Path,
    folder: Path,
    facts: SearchFacts | None,
) -> dict[int, Path]:
    """Train the seeds of a cell that lack a finished record; return the path of every record.

    A record counts as there when its configuration, code and variant are the present ones, its
    status is final and its weights lie beside it. Records are `seed<k>.json`, final weights
    `seed<k>.npy`. No finished one is ever deleted, so a bundle that was cut short resumes. What
    goes wrong in training some seeds is their records' status, and the others go on.
    """
    code = fingerprint.of_training(cell.config)
    identity = {"config_hash": cell.hash, "code": code, "variant_hash": variant["hash"]}
    paths = {seed: folder / f"seed{seed}.json" for seed in seeds}
    # Bundles of one folder may be written at the same time, so each has a name of its own.
    name = f"seeds{seeds[0]}-{seeds[-1]}"
    # A process whose workflow was killed may still train the same. The later one waits here, and
    # then finds the records.
    with exclusive(folder, name):
        recover(folder, name)
        missing = [seed for seed in seeds if not _is_done(paths[seed], identity)]
        finished = [path for seed, path in paths.items() if seed not in missing]
        if facts:
            _tell(finished, facts.dump())
        for group in _groups(cell, missing, [read_json(path) for path in finished]):
            trained = _leased_attempt(study, cell, group, variant, data, folder)
            more = (facts.dump() if facts else {}) | identity
            runs = [(r | more, weights) for r, weights in trained if r["seed"] in missing]
            _keep(folder, name, runs)
    return paths


def _tell(paths: list[Path], facts: Record) -> None:
    """Update records: a search that ran again and chose the same point may have another cost."""
    for path in paths:
        record = read_json(path)
        if record | facts != record:
            write_json(path, record | facts)


def _keep(folder: Path, name: str, runs: Attempted) -> None:
    """Write the records and weights of seeds that were trained together, all or none."""
    with all_or_none(folder, name) as staged:
        for record, weights in runs:
            path = staged / f"seed{record['seed']}.json"
            kept = path.with_suffix(".npy")
            if weights is None:
                # An older run may have left some, which the record no longer tells of.
                (folder / kept.name).unlink(missing_ok=True)
                sha256 = None
            else:
                write_array(kept, weights)
                sha256 = file_sha256(kept)
            write_json(path, record | {"weights": sha256})


def _groups(cell: Cell, missing: list[int], finished: list[Record]) -> list[list[int]]:
    """Return the groups to train, so that every missing seed is trained."""
    if not _vmapped(cell.config.model):
        return [[seed] for seed in missing]
    # A lost seed is retrained with its former companions, because its bits depend on them. The
    # companions' new records are discarded.
    groups: list[list[int]] = []
    for record in finished:
        former = record.get("together", [])
        if {*former} & {*missing} and former not in groups:
            groups.append(former)
    left = [seed for seed in missing if not any(seed in group for group in groups)]
    return [*groups, left] if left else groups


def _vmapped(model: ModelPart) -> bool:
    """Return whether many seeds of the model run faster as one program."""
    head_vmapped = model.head is None or parts.part("head", model.head.name).vmapped
    return bool(parts.part("model", model.name).vmapped and head_vmapped)


def _is_done(path: Path, identity: dict[str, str]) -> bool:
    try:
        record = read_json(path)
    except InputError:
        return False
    return (
        same_cell(record, identity) and record.get("status") in FINAL and has_weights(path, record)
    )


def _leased_attempt(
    study: Study,
    cell: Cell,
    seeds: list[int],
    variant: StoredVariant,
    data: Path,
    folder: Path,
) -> Attempted:
    """Call `attempt`, on a share of a GPU where there are GPUs."""
    with leased(study, folder.parent, len(seeds)) as own:
        trained = attempt(own, cell, seeds, variant, data)
    fitted = all(
        record["status"] != "out_of_memory" and record["together"] == seeds for record, _ in trained
    )
    # Without a GPU the study comes back as it is, and there is no company to leave.
    if fitted or own is study:
        return trained
    # Before out_of_memory is recorded, try on a whole GPU: a record must not depend on neighbours.
    with leased(study) as own:
        return attempt(own, cell, seeds, variant, data)


def attempt(
    study: Study,
    cell: Cell,
    seeds: list[int],
    variant: StoredVariant,
    data: Path,
) -> Attempted:
    """Train the seeds together, and turn what goes wrong into their status.

    Seeds that do not fit into memory together are halved until they do.

    Args:
        study: The study, with a device of one's own.
        cell: The cell.
        seeds: The seeds to train as one program.
        variant: The variant.
        data: The data folder.

    Returns:
        A record a seed, without the identity fields, and final weights. What failed has neither
        metrics nor weights.

    Raises:
        InputError: The user can fix it.
    """
    started = time.perf_counter()
    try:
        return [*train_seeds(study, cell, seeds, variant, data)]
    except InputError:  # no result of the method: the user fixes it and runs again
        raise
    except Exception as error:
        # The record keeps one line of it, the job's log all.
        traceback.print_exc()
        status, reason = failure(error)
        if status == "timeout":
            reason += f"; allowed are {study.time_limit:g} s a run"
    gc.collect()  # what the traceback held, before the next attempt
    torch.cuda.empty_cache()
    if status == "out_of_memory" and len(seeds) > 1:
        # The bits then differ from those of all together, so records say who was trained with whom.
        half = len(seeds) // 2
        first = attempt(study, cell, seeds[:half], variant, data)
        return first + attempt(study, cell, seeds[half:], variant, data)
    names = ", ".join(map(str, seeds))
    where = f"{cell.experiment} {cell.method} seeds {names}"
    print(f"hsac: {where}: {status}: {reason}", file=sys.stderr)
    common = RunMeter(study, cell, seeds, started).facts()
    said = {"status": status, "reason": reason}
    return [(common | NOTHING | {"seed": seed} | said, None) for seed in seeds]


def failure(error: Exception) -> tuple[str, str]:
    """Tell what ended a training.

    Args:
        error: What it raised.

    Returns:
        The run's status, and the reason in one line.
    """
    text = " ".join(str(error).split())[:300]
    if isinstance(error, TimeLimitError):
        return "timeout", text
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    said = isinstance(error, RuntimeError) and any(word in text for word in MEMORY_WORDS)
    if memory or said:
        return "out_of_memory", text or type(error).__name__
    return "error", f"{type(error).__name__}: {text}"


def train_seeds(
    study: Study,
    cell: Cell,
    seeds: Sequence[int],
    variant: StoredVariant,
    data: Path,
    change: Change = unchanged,
) -> list[Trained]:
    """Read the data of a cell and train seeds of it, with time and memory measured.

    Args:
        study: The study.
        cell: The cell.
        seeds: The seeds to train as one program.
        variant: The variant.
        data: The data folder.
        change: Changes what was prepared, to train something else than the cell says.

    Returns:
        The record, without the identity fields, and the final weights (P,) of every seed.

    Raises:
        InputError: The user can fix it.
        TimeLimitError: One training took longer than the study's `time_limit` (s a run) times
            its number of seeds.
    """
    inputs = load_inputs(study.device, cell, variant, data)

    def measure(some: Sequence[int]) -> RunMeter:
        return RunMeter.begin(study, cell, some)

    return bundle.train_seeds(inputs, seeds, change=change, measure=measure)


class RunMeter:
    """Measures one training, and gives the fields that the records of its seeds share.

    Attributes:
        deadline: When the last step may begin, on the clock of `time.perf_counter` (s).
    """

    def __init__(
        self,
        study: Study,
        cell: Cell,
        seeds: Sequence[int],
        started: float,
    ) -> None:
        """Measure a training that began at some time.

        Args:
            study: The study.
            cell: The cell.
            seeds: The seeds that are trained together.
            started: When training began, on the clock of `time.perf_counter` (s).
        """
        self.cell, self.seeds, self.started = cell, list(seeds), started
        self.device = choose_device(study.device)
        limit = study.time_limit
        # Seeds that are trained together share the sum of their times.
        self.deadline = math.inf if limit is None else started + limit * len(seeds)

    @classmethod
    def begin(cls, study: Study, cell: Cell, seeds: Sequence[int]) -> "RunMeter":
        """Measure a training that begins now.

        Args:
            study: The study.
            cell: The cell.
            seeds: The seeds that are trained together.

        Returns:
            The meter.
        """
        meter = cls(study, cell, seeds, time.perf_counter())
        if meter.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(meter.device)
        return meter

    def facts(self) -> Record:
        """Collect what the records of the seeds share, whatever came of the training."""
        config = self.cell.config
        rule = parts.part("curvature rule", config.curvature_rule.name)
        plugins = fingerprint.of_plugins(config)
        cuda = self.device.type == "cuda"
        return {
            "schema": 1,
            "experiment": self.cell.experiment,
            "setting": config.setting,
            "dataset": config.dataset,
            "variant": config.variant.name,
            "model": config.model.name,
            "method": self.cell.method,
            "weight_rule": config.weight_rule.name,
            "curvature_rule": config.curvature_rule.name,
            "loss": config.loss.name,
            "start": config.curvature.start if rule.geometry == "hyperbolic" else None,
            "config": config.dump(),
            **({"plugins": plugins} if plugins else {}),
            "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
            "host": platform.node(),
            "device": torch.cuda.get_device_name(self.device) if cuda else "cpu",
            "dtype": str(parts.part("model", config.model.name).dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "together": self.seeds,
            # A search or a choice puts its own values here.
            "tried": 1,
            "chosen": None,
            "seconds": (time.perf_counter() - self.started) / len(self.seeds),
            "peak_memory_mib": self._peak_memory() / 2**20,
        }

    def _peak_memory(self) -> int:
        """Return peak bytes: of the GPU since `begin`, or of this process since it started."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        # Linux tells kibibytes.
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def select_bundle(
    cell: Cell, methods: list[str], indexes: list[Path], seeds: list[int], index: Path
) -> None:
    """Write the runs of a derived cell: per seed the candidate that is best on validation.

    The cost of all candidates is summed. One that did not finish leaves nothing to choose, and its
    status is the run's.

    Args:
        cell: The derived cell.
        methods: The candidates' methods.
        indexes: The index of a bundle of each candidate.
        seeds: The bundle's seeds.
        index: The index to write, with the records beside it.

    Raises:
        InputError: A candidate's record was edited or is missing.
    """
    found: dict[int, list[tuple[str, Record]]] = {seed: [] for seed in seeds}
    for method, source in zip(methods, indexes, strict=True):
        for _, record in read_records(source):
            if record["seed"] in found:
                found[record["seed"]].append((method, record))
    paths = {}
    for seed, records in found.items():
        paths[seed] = index.parent / f"seed{seed}.json"
        write_json(paths[seed], _best(cell, records))
    write_index(index, cell, paths)


def _best(cell: Cell, records: list[tuple[str, Record]]) -> Record:
    """Return the record of a derived run, given those of its candidates by their methods."""
    unfinished = [pair for pair in records if pair[1]["status"] not in FINAL]
    if unfinished:
        chosen, record = unfinished[0]
    else:
        chosen, record = max(records, key=lambda pair: run_score(pair[1]))
    summed = ("gradients", "products", "held_out_batches", "meta_batches", "steps", "seconds")
    # A record of an earlier version has no `meta_batches`.
    costs = {k: None if unfinished else sum(r.get(k, 0) for _, r in records) for k in summed}
    if unfinished:
        record = record | {"reason": f"candidate {chosen}: {record['reason']}"}
        # Every record has its seconds, while the other costs are only of finished runs.
        costs["seconds"] = sum(r["seconds"] for _, r in records)
    return record | {
        "method": cell.method,
        "curvature_rule": cell.config.curvature_rule.name,
        "config": cell.config.dump(),
        "config_hash": cell.hash,
        # A chosen run has no code of its own: it changes with that of any candidate.
        "code": digest([r["code"] for _, r in records]),
        "chosen": None if unfinished else chosen,
        "tried": len(records),
        **costs,
    }
