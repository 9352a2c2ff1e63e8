"""Finished runs trained once more, and how far the new results are from the recorded ones.

What is repeated is a group of seeds that was trained as one program, with as many threads as then:
on the machine, device and packages of the first time every bit must come out the same. Elsewhere
sums are rounded otherwise, and how much that matters differs from run to run. So the tolerance is
learned where a difference shows: the group is trained a few times more, each weight moved up or
down by one rounding after every step, and each quantity may differ by FACTOR times the largest
change that these moves make to it.
"""

import math
import os
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hsac import config, layout, tuning
from hsac.data import load_variant
from hsac.errors import InputError
from hsac.files import read_array, read_json, write_json
from hsac.ops.runner import run_bundle, train_seeds
from hsac.rules.types import Gradient, State, WeightRule
from hsac.study.fingerprint import of_training
from hsac.study.record import FINAL, read_records, same_cell
from hsac.train.loop import Prepared
from hsac.train.results import finite
from hsac.train.seeds import generator

Record = dict[str, Any]
ENVIRONMENT = ("versions", "device", "threads")
# what a plugin's code means is in the record's code; its file may have a comment more
IGNORED = ("seconds", "peak_memory_mib", "host", "together", "plugins", *ENVIRONMENT)
NUDGES = 3
FACTOR = 10.0
TOLERANCE = (
    f"{FACTOR:g} times the largest change of the quantity, over the group's seeds and {NUDGES}"
    " repetitions, when every weight is moved up or down by one rounding after every step"
)


@dataclass(frozen=True)
class Group:
    """Seeds of a cell that were trained as one program: their records by path, of which some were
    sampled; what these say of the search that chose the cell, None where there was none.
    """

    cell: dict[str, Any]
    index: Path
    seeds: tuple[int, ...]
    records: dict[Path, Record]
    sampled: frozenset[Path]
    told: Record | None = None


def sample_size(sample: str, runs: int) -> int:
    """How many of so many runs `5%` (rounded up) or `12` (at most all) means. Raises InputError for
    anything else.
    """
    try:
        share = sample.endswith("%")
        value = float(sample[:-1]) / 100 * runs if share else int(sample)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf or (share and value > runs):
        raise InputError(
            f"--sample: found {sample!r}; allowed is a percentage like 5% or a number of runs"
            " like 12"
        )
    return min(math.ceil(value), runs)


def groups(
    settings: dict[str, Any], results: Path, sample: str, seed: int
) -> tuple[list[Group], int, int]:
    """The groups of randomly sampled finished runs, how many runs are finished, and how many of
    these are stale.

    A run is stale, and not sampled, when the present code, configuration or variant would train
    another. Raises InputError naming a record that was edited, and when there is nothing to sample.
    """
    fresh: dict[Path, tuple[dict[str, Any], Path, Record]] = {}
    finished = 0
    told: dict[Path, Record | None] = {}
    for index, cells, said in _bundles(settings, results):
        told[index] = said
        variant = load_variant(
            layout.variant_path(settings["experiments"][cells[0]["experiment"]])
        )["hash"]
        codes = {cell["hash"]: of_training(cell["config"]) for cell in cells}
        of = {cell["hash"]: cell for cell in cells}
        for path, record in read_records(index):
            if record["status"] in FINAL:
                finished += 1
                key = record["config_hash"]
                if key in of and same_cell(record, {"code": codes[key], "variant_hash": variant}):
                    fresh[path] = (of[key], index, record)
    if not fresh:
        raise InputError(f"{results}: found {finished} finished runs, none of the present code and configuration; "
                         "run `snakemake` first (`hsac stale` says why)")  # fmt: skip
    chosen = set(random.Random(seed).sample(sorted(fresh), sample_size(sample, len(fresh))))
    found: dict[tuple[Path, Path, tuple[int, ...]], dict[Path, Record]] = {}
    for path, (_, index, record) in fresh.items():
        found.setdefault((path.parent, index, tuple(record["together"])), {})[path] = record
    trained = {path.parent: cell for path, (cell, _, _) in fresh.items()}
    return (
        [
            Group(
                trained[folder],
                index,
                seeds,
                records,
                frozenset(chosen & set(records)),
                told[index],
            )
            for (folder, index, seeds), records in found.items()
            if chosen & set(records)
        ],
        finished,
        finished - len(fresh),
    )


def _bundles(
    settings: dict[str, Any], results: Path
) -> Iterator[tuple[Path, list[dict[str, Any]], Record | None]]:
    """Index of every bundle that is there, the cells that its runs are of, and what these say of a
    search.
    """
    for given in config.trained_cells(settings):
        if given["point"] is not None:  # in a bundle of the searched cell's
            continue
        for index, (points, _) in layout.point_bundles(settings, results, given).items():
            if index.is_file():
                yield index, points, None
        for index in filter(Path.is_file, layout.indexes(settings, results, [given])):
            cell, point = tuning.present(settings, results, given)
            yield index, [cell], None if point is None else tuning.told(settings, given, point)


def verify(
    settings: dict[str, Any],
    results: Path,
    data: Path,
    sample: str,
    seed: int,
    track: Callable[[list[Group]], Iterable[Group]] = iter,
) -> dict[str, Any]:
    """Train the groups of sampled runs again in a temporary folder; the certificate.

    It holds no date and no host: the same runs on the same machine give the same bytes. All runs of
    a group are checked, the sampled ones and those trained with them. `track` may watch the groups
    as they are taken.
    """
    chosen, finished, stale = groups(settings, results, sample, seed)
    runs = []
    for group in track(chosen):
        runs += _verify_group(settings, group, results, data)
    verdicts = [run["verdict"] for run in runs]
    return finite(
        {
            "schema": 1,
            "scale": settings["scale"],
            "sample": sample,
            "seed": seed,
            "finished": finished,
            "stale": stale,
            "sampled": sum(run["sampled"] for run in runs),
            "checked": len(runs),
            "counts": {
                verdict: verdicts.count(verdict) for verdict in ("bitwise", "within", "outside")
            },
            "tolerance": TOLERANCE,
            "runs": runs,
        }
    )


def _verify_group(
    settings: dict[str, Any], group: Group, results: Path, data: Path
) -> list[Record]:
    settings = settings | {"time_limit": None}
    variant = layout.variant_path(settings["experiments"][group.cell["experiment"]])
    threads = next(iter(group.records.values()))["threads"]
    rows = []
    with tempfile.TemporaryDirectory() as folder, _threads(threads):
        repeated = Path(folder) / group.index.name
        run_bundle(settings, group.cell, list(group.seeds), variant, data, repeated, group.told)
        again = {path: read_json(repeated.parent / path.name) for path in group.records}
        tolerance: dict[str, float] | None = None
        for path, record in group.records.items():
            row = {
                key: record[key] for key in ("experiment", "method", "seed", "config_hash", "code")
            }
            row |= {
                "record": path.relative_to(results).as_posix(),
                "sampled": path in group.sampled,
            }
            row |= {
                "environment": changes(record, again[path]),
                "verdict": "bitwise",
                "differs": {},
            }
            if not same_bits(record, again[path]):
                old, new = (
                    quantities(one, at.with_suffix(".npy"))
                    for one, at in ((record, path), (again[path], repeated.parent / path.name))
                )
                if tolerance is None:
                    tolerance = learn(settings, group, load_variant(variant), data, repeated.parent)
                found = deviations(old, new)
                inside = all(value <= tolerance.get(key, 0.0) for key, value in found.items())
                row["verdict"] = "within" if inside else "outside"
                row["differs"] = {
                    key: {"deviation": value, "tolerance": tolerance.get(key, 0.0)}
                    for key, value in found.items()
                    if value > 0
                }
            rows.append(row)
    return rows


def same_bits(record: Record, again: Record) -> bool:
    """Whether two records are the same, weights' digest included, but for time, memory, host and
    environment.
    """
    return all(
        record.get(key) == again.get(key)
        for key in record.keys() | again.keys()
        if key not in IGNORED
    )


def changes(record: Record, again: Record) -> dict[str, list[Any]]:
    """What of the environment (package versions, device, threads) differs: name -> [then, now]."""
    flat = [
        {**one["versions"], **{key: one[key] for key in ENVIRONMENT if key != "versions"}}
        for one in (record, again)
    ]
    return {
        key: [flat[0].get(key), flat[1].get(key)]
        for key in sorted(flat[0].keys() | flat[1].keys())
        if flat[0].get(key) != flat[1].get(key)
    }


def quantities(record: Record, weights: Path) -> dict[str, list[Any]]:
    """What a run came to, by name (`metrics.last.test_nll`): the numbers and words in it, lists
    laid flat.
    """
    found: dict[str, list[Any]] = {}

    def walk(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{name}.{key}", inner)
        elif isinstance(value, list):
            found.setdefault(name, [])
            for inner in value:
                walk(name, inner)
        else:
            found.setdefault(name, []).append(value)

    for key, value in record.items():
        if key not in IGNORED and key != "weights":
            walk(key, value)
    # a run without weights has none to compare: its status says so
    found["weights"] = read_array(weights).ravel().tolist() if weights.is_file() else []
    return found


def deviations(a: dict[str, list[Any]], b: dict[str, list[Any]]) -> dict[str, float]:
    """Largest absolute difference of each of two runs' quantities, in its own unit; infinite where
    one has no number and the other has, where words differ, and where one has more of them.
    """
    return {
        name: _deviation(a.get(name, []), b.get(name, [])) for name in sorted(a.keys() | b.keys())
    }


def _deviation(a: list[Any], b: list[Any]) -> float:
    if len(a) != len(b):
        return math.inf
    largest = 0.0
    for x, y in zip(a, b, strict=True):
        if x == y or (
            isinstance(x, float) and isinstance(y, float) and math.isnan(x) and math.isnan(y)
        ):
            continue
        numbers = all(isinstance(value, int | float) for value in (x, y))
        difference = abs(x - y) if numbers else math.inf
        largest = max(largest, math.inf if math.isnan(difference) else difference)
    return largest


@dataclass(frozen=True)
class Nudged:
    """A weight rule whose every step ends with each weight (R, P) moved up or down by one rounding,
    at random.
    """

    rule: WeightRule
    signs: torch.Generator

    def init(self, w: Tensor) -> State:
        """The rule's own."""
        return self.rule.init(w)

    def update(
        self, w: Tensor, state: State, gradient: Callable[[Tensor], Gradient], rate: float
    ) -> tuple[Tensor, State, Gradient]:
        """The rule's own, then the move."""
        w, state, at = self.rule.update(w, state, gradient, rate)
        signs = torch.randint(2, w.shape, generator=self.signs).to(w) * 2 - 1
        return w * (1 + torch.finfo(w.dtype).eps * signs), state, at


def learn(
    settings: dict[str, Any], group: Group, variant: dict[str, Any], data: Path, repeated: Path
) -> dict[str, float]:
    """How far each quantity of a group's runs may be from the run repeated here (records and
    weights in `repeated`).
    """
    largest: dict[str, float] = {}
    for k in range(NUDGES):

        def nudge(made: Prepared, k: int = k) -> Prepared:
            return replace(made, weight_rule=Nudged(made.weight_rule, generator(k, "nudge")))

        for record, weights in train_seeds(
            settings, group.cell, list(group.seeds), variant, data, nudge
        ):
            path = repeated / f"seed{record['seed']}.json"
            plain = quantities(read_json(path), path.with_suffix(".npy"))
            nudged = quantities(record, Path("none")) | {"weights": np.ravel(weights).tolist()}
            for name in nudged.keys() & plain.keys():
                largest[name] = max(largest.get(name, 0.0), _deviation(plain[name], nudged[name]))
    return {name: FACTOR * value for name, value in largest.items()}


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads for what is trained inside."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def lines(certificate: dict[str, Any]) -> Iterator[str]:
    """The certificate to print: one line a run, what differs most beyond its tolerance, and the
    sum.
    """
    for run in certificate["runs"]:
        other = ", ".join(
            f"{key} {then} then, {now} now" for key, (then, now) in run["environment"].items()
        )
        verdict = run["verdict"] + (f" ({other})" if other else "")
        yield f"{run['experiment']} {run['method']} seed {run['seed']}: {verdict}"
        for name, found in run["differs"].items():
            by = "in form" if found["deviation"] is None else f"by {found['deviation']:.3g}"
            allowed = "any" if found["tolerance"] is None else f"{found['tolerance']:.3g}"
            yield f"  {name}: differs {by}, learned tolerance {allowed}"
    counts = ", ".join(f"{count} {verdict}" for verdict, count in certificate["counts"].items())
    yield (
        f"{certificate['checked']} runs trained again ({certificate['sampled']} sampled of "
        f"{certificate['finished'] - certificate['stale']}, the others trained with them; "
        f"{certificate['stale']} stale ones left out): {counts}"
    )


def write_certificate(path: Path, certificate: dict[str, Any]) -> None:
    """Write the certificate as JSON, atomically."""
    write_json(path, certificate)
