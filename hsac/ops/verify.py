"""Train finished runs once more, and tell how far the new results are from the recorded ones.

What is repeated is a group of seeds that was trained as one program, with as many threads as then.
On the machine, device and packages of the first time every bit must come out the same. Elsewhere
sums are rounded otherwise, and how much that matters differs from run to run. So the tolerance is
learned where a difference shows. The group is trained a few times more, each weight moved up or
down by one rounding after every step. Each quantity may differ by FACTOR times the largest change
that these moves make to it.
"""

import math
import os
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hsac.data import load_variant
from hsac.data.stored_variant import StoredVariant
from hsac.errors import InputError
from hsac.files import read_array, read_json, workflow_of
from hsac.ops.runner import run_bundle, train_seeds
from hsac.rules.types import Gradient, State, WeightRule
from hsac.study import search
from hsac.study.cell import Cell
from hsac.study.fingerprint import of_training
from hsac.study.graph import POINTS, SELECT, Bundle, Graph
from hsac.study.models import Study
from hsac.study.record import FINAL, read_records, same_cell
from hsac.study.search import SearchFacts
from hsac.train.loop import Prepared
from hsac.train.results import Record, finite
from hsac.train.seeds import generator

ENVIRONMENT = ("versions", "device", "threads")
# what a plugin's code means is in the record's code; its file may have a comment more
IGNORED = ("seconds", "peak_memory_mib", "host", "together", "plugins", *ENVIRONMENT)
REPEATED = ("experiment", "method", "seed", "config_hash", "code")
NUDGES = 3
# The largest of so few repetitions is less than the most that roundings can do.
FACTOR = 10.0
TOLERANCE = (
    f"{FACTOR:g} times the largest change of the quantity, over the group's seeds and {NUDGES}"
    " repetitions, when every weight is moved up or down by one rounding after every step"
)


@dataclass(frozen=True)
class Group:
    """Seeds of a cell that were trained as one program.

    Attributes:
        cell: the cell; for a searched one, the cell at the chosen point.
        index: the index of the bundle.
        seeds: the seeds.
        records: their records by path.
        sampled: the paths of those that were sampled.
        facts: what the records say of the search that chose the cell, None where there was none.
    """

    cell: Cell
    index: Path
    seeds: tuple[int, ...]
    records: Mapping[Path, Record]
    sampled: frozenset[Path]
    facts: SearchFacts | None = None


@dataclass(frozen=True)
class Sample:
    """Which runs are to be trained again.

    Attributes:
        groups: the groups of the sampled runs.
        finished: how many runs are finished.
        stale: how many of these the present code, configuration or variant would train otherwise.
    """

    groups: list[Group]
    finished: int
    stale: int


def sample_size(sample: str, runs: int) -> int:
    """Return how many runs a sample is.

    Args:
        sample: `5%`, rounded up, or `12`, at most all.
        runs: how many there are.

    Raises:
        InputError: for anything else.
    """
    try:
        share = sample.endswith("%")
        value = float(sample[:-1]) / 100 * runs if share else int(sample)
    except ValueError:
        value = math.nan
    # NaN fails every comparison, so what is no number is refused with the rest.
    if not 0 < value < math.inf or (share and value > runs):
        raise InputError(
            f"--sample: found {sample!r}; allowed is a percentage like 5% or a number of runs"
            " like 12"
        )
    return min(math.ceil(value), runs)


def draw(graph: Graph, sample: str, seed: int) -> Sample:
    """Draw finished runs at random.

    A run is stale, and not drawn, when the present code, configuration or variant would train
    another.

    Args:
        graph: the work of a study.
        sample: how many, as `sample_size` takes it.
        seed: of the draw.

    Raises:
        InputError: names a record that was edited, or says that there is nothing to draw from.
    """
    fresh: dict[Path, tuple[Cell, Bundle, SearchFacts | None, Record]] = {}
    finished = 0
    for bundle, cells, facts in _finished_bundles(graph):
        variant = load_variant(graph.variant(bundle.of.experiment))["hash"]
        codes = {cell.hash: of_training(cell.config) for cell in cells}
        of = {cell.hash: cell for cell in cells}
        for path, record in read_records(bundle.index):
            if record["status"] not in FINAL:
                continue
            finished += 1
            of_hash = record["config_hash"]
            present = {"code": codes.get(of_hash, ""), "variant_hash": variant}
            if of_hash in of and same_cell(record, present):
                fresh[path] = (of[of_hash], bundle, facts, record)
    if not fresh:
        raise InputError(
            f"{graph.results}: found {finished} finished runs, none of the present code and"
            f" configuration; run {workflow_of(graph.results / 'runs')} first"
            " (`hsac stale` says why)"
        )
    count = sample_size(sample, len(fresh))
    # Sorted, so that the draw does not depend on the order of the bundles.
    chosen = frozenset(random.Random(seed).sample(sorted(fresh), count))
    groups: dict[tuple[Path, Path, tuple[int, ...]], Group] = {}
    for path, (cell, bundle, facts, record) in fresh.items():
        # A run's bits depend on who was trained with it, so a group is repeated as a whole.
        together = tuple(record["together"])
        key = (path.parent, bundle.index, together)
        known = groups[key].records if key in groups else {}
        records = {**known, path: record}
        sampled = chosen & set(records)
        groups[key] = Group(cell, bundle.index, together, records, sampled, facts)
    drawn = [group for group in groups.values() if group.sampled]
    return Sample(drawn, finished, finished - len(fresh))


def _finished_bundles(
    graph: Graph,
) -> Iterator[tuple[Bundle, tuple[Cell, ...], SearchFacts | None]]:
    """Yield every trained bundle, the cells of its runs, and the search facts in their records."""
    for bundle in graph.bundles:
        if bundle.rule == SELECT or not bundle.index.is_file():
            continue
        if bundle.rule == POINTS:
            yield bundle, bundle.cells, None
        else:
            cell, point = search.present(graph, bundle.of)
            facts = None if point is None else search.search_facts(graph.study, bundle.of, point)
            yield bundle, (cell,), facts


def verify(
    graph: Graph,
    data: Path,
    sample: str,
    seed: int,
    track: Callable[[list[Group]], Iterable[Group]] = iter,
) -> Record:
    """Train the groups of sampled runs again in a temporary folder.

    Args:
        graph: the work of a study.
        data: the folder of the data.
        sample: how many runs to draw, as `sample_size` takes it.
        seed: of the draw.
        track: watches the groups as they are taken.

    Returns:
        The certificate. It holds no date and no host: the same runs on the same machine give the
        same bytes. All runs of a group are checked, the sampled ones and those trained with them.

    Raises:
        InputError: as `draw` does.
    """
    drawn = draw(graph, sample, seed)
    runs = []
    for group in track(drawn.groups):
        runs += _verify_group(graph, group, data)
    verdicts = [run["verdict"] for run in runs]
    counts = {verdict: verdicts.count(verdict) for verdict in ("bitwise", "within", "outside")}
    # An infinite deviation becomes None, which `lines` calls a difference in form.
    certificate: Record = finite(
        {
            "schema": 1,
            "scale": graph.study.scale,
            "sample": sample,
            "seed": seed,
            "finished": drawn.finished,
            "stale": drawn.stale,
            "sampled": sum(run["sampled"] for run in runs),
            "checked": len(runs),
            "counts": counts,
            "tolerance": TOLERANCE,
            "runs": runs,
        }
    )
    return certificate


def _verify_group(graph: Graph, group: Group, data: Path) -> list[Record]:
    # On a slower machine the limit would turn a result into a timeout.
    study = graph.study.model_copy(update={"time_limit": None})
    variant = graph.variant(group.cell.experiment)
    # A group was trained by one process, so its records agree on the threads.
    threads = next(iter(group.records.values()))["threads"]
    rows = []
    with tempfile.TemporaryDirectory() as folder, _threads(threads):
        repeated = Path(folder) / group.index.name
        run_bundle(study, group.cell, list(group.seeds), variant, data, repeated, group.facts)
        learned: dict[str, float] | None = None
        for path, record in group.records.items():
            new = repeated.parent / path.name
            again = read_json(new)
            row = {key: record[key] for key in REPEATED}
            row |= {"record": path.relative_to(graph.results).as_posix()}
            row |= {"sampled": path in group.sampled, "environment": changes(record, again)}
            row |= {"verdict": "bitwise", "differs": {}}
            if not same_bits(record, again):
                # Learning costs NUDGES more trainings, so it waits for the first bit that differs.
                if learned is None:
                    learned = learn(study, group, load_variant(variant), data, repeated.parent)
                before = quantities(record, path.with_suffix(".npy"))
                row |= _judged(before, quantities(again, new.with_suffix(".npy")), learned)
            rows.append(row)
    return rows


def _judged(
    before: Mapping[str, list[Any]], after: Mapping[str, list[Any]], tolerance: Mapping[str, float]
) -> Record:
    """Return the verdict on a run that did not come out bit for bit, and what differs."""
    found = deviations(before, after)
    inside = all(value <= tolerance.get(key, 0.0) for key, value in found.items())
    differs = {}
    for key, value in found.items():
        if value > 0:
            differs[key] = {"deviation": value, "tolerance": tolerance.get(key, 0.0)}
    return {"verdict": "within" if inside else "outside", "differs": differs}


def same_bits(record: Record, again: Record) -> bool:
    """Tell whether two records are the same but for time, memory, host and environment.

    Args:
        record: a record, with the digest of its weights.
        again: the other.
    """
    return all(
        record.get(key) == again.get(key)
        for key in record.keys() | again.keys()
        if key not in IGNORED
    )


def changes(record: Record, again: Record) -> dict[str, list[Any]]:
    """Return what of the environment differs: package versions, device, threads.

    Args:
        record: a record.
        again: the record of the run repeated here.

    Returns:
        Name -> [then, now].
    """
    then, now = _environment(record), _environment(again)
    found = {key: [then.get(key), now.get(key)] for key in sorted(then.keys() | now.keys())}
    return {key: pair for key, pair in found.items() if pair[0] != pair[1]}


def _environment(record: Record) -> Record:
    others = {key: record[key] for key in ENVIRONMENT if key != "versions"}
    return {**record["versions"], **others}


def quantities(record: Record, weights: Path) -> dict[str, list[Any]]:
    """Return what a run came to.

    Args:
        record: its record.
        weights: the file of its weights.

    Returns:
        By name (`metrics.last.test_nll`) the numbers and words in the record, lists laid flat.
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


def deviations(a: Mapping[str, list[Any]], b: Mapping[str, list[Any]]) -> dict[str, float]:
    """Return the largest absolute difference of each quantity of two runs, in its own unit.

    Args:
        a: the quantities of a run.
        b: those of the other.

    Returns:
        By name. Infinite where lengths or words differ, or one value is missing.
    """
    names = sorted(a.keys() | b.keys())
    return {name: _deviation(a.get(name, []), b.get(name, [])) for name in names}


def _deviation(a: list[Any], b: list[Any]) -> float:
    if len(a) != len(b):
        return math.inf
    largest = 0.0
    for x, y in zip(a, b, strict=True):
        both = isinstance(x, float) and isinstance(y, float)
        if x == y or (both and math.isnan(x) and math.isnan(y)):
            continue
        numbers = all(isinstance(value, int | float) for value in (x, y))
        difference = abs(x - y) if numbers else math.inf
        # A NaN on one side alone is beyond any tolerance.
        largest = max(largest, math.inf if math.isnan(difference) else difference)
    return largest


@dataclass(frozen=True)
class Nudged:
    """A weight rule whose every step ends with each weight moved up or down by one rounding.

    Attributes:
        rule: the rule that makes the steps.
        signs: draws which way each of the weights (R, P) moves.
    """

    rule: WeightRule
    signs: torch.Generator

    def init(self, w: Tensor) -> State:
        """Return the state of the rule.

        Args:
            w: the start weights (R, P).
        """
        return self.rule.init(w)

    def update(
        self, w: Tensor, state: State, gradient: Callable[[Tensor], Gradient], rate: float
    ) -> tuple[Tensor, State, Gradient]:
        """Make the rule's step, then the move.

        Args:
            w: the weights (R, P).
            state: the rule's state.
            gradient: gives the gradient at some weights.
            rate: a factor on the learning rate.
        """
        w, state, at = self.rule.update(w, state, gradient, rate)
        signs = torch.randint(2, w.shape, generator=self.signs).to(w) * 2 - 1
        # Relative to the weight, as rounding is.
        return w * (1 + torch.finfo(w.dtype).eps * signs), state, at


def learn(
    study: Study, group: Group, variant: StoredVariant, data: Path, repeated: Path
) -> dict[str, float]:
    """Learn how far each quantity of a group's runs may be from the run repeated here.

    Args:
        study: the study.
        group: the group.
        variant: its variant.
        data: the folder of the data.
        repeated: the folder with the repeated records and weights.

    Returns:
        By quantity FACTOR times the largest change that roundings make.
    """
    largest: dict[str, float] = {}
    seeds = list(group.seeds)
    for k in range(NUDGES):

        def nudge(made: Prepared, k: int = k) -> Prepared:
            return replace(made, weight_rule=Nudged(made.weight_rule, generator(k, "nudge")))

        for record, weights in train_seeds(study, group.cell, seeds, variant, data, nudge):
            path = repeated / f"seed{record['seed']}.json"
            plain = quantities(read_json(path), path.with_suffix(".npy"))
            # These weights were never written, so they come from memory.
            nudged = quantities(record, Path("none")) | {"weights": np.ravel(weights).tolist()}
            for name in nudged.keys() & plain.keys():
                largest[name] = max(largest.get(name, 0.0), _deviation(plain[name], nudged[name]))
    return {name: FACTOR * value for name, value in largest.items()}


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set the number of threads for trainings inside."""
    # `hsac.train.setup` reads this variable whenever it prepares a training.
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def lines(certificate: Record) -> Iterator[str]:
    """Yield the certificate to print: a line a run, what differs beyond its tolerance, the sum.

    Args:
        certificate: what `verify` returned.
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
