"""Count what a scale comes to before it runs: runs, jobs, disk, hours, and how much is done.

The jobs are the workflow's, with its paths. A job is left when its file is missing, when a record
of its bundle is missing, when the settings differ, or when it stands on a job that is left. Only
`hsac stale` and the workflow itself know of a changed code or variant. No torch here.
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from hsac.data import overview, store
from hsac.data.catalogue import Entry, entry
from hsac.errors import InputError
from hsac.files import read_json
from hsac.ops.timings import CPU, GPU, Cost, Timings
from hsac.study.graph import SELECT, SHARED, Graph
from hsac.study.models import Study


@dataclass
class Estimate:
    """A sum over timed runs, and the number of untimed ones."""

    known: float = 0.0
    unknown: int = 0

    def add(self, each: float | None, runs: int) -> None:
        """Add runs to the sum.

        Args:
            each: what one of them takes, None where nothing is recorded.
            runs: how many they are.
        """
        if each is None:
            self.unknown += runs
        else:
            self.known += each * runs

    def text(self, words: Callable[[float], str]) -> str:
        """Return the sum in words.

        Args:
            words: how a number is written.

        Returns:
            `?` where nothing is known, at least (≥) where something is not.
        """
        if not self.unknown:
            return words(self.known)
        return f"≥ {words(self.known)}" if self.known else "?"


@dataclass
class Share:
    """An experiment's share of the work, or one of `SHARED`: all of it, and what is left.

    Hours and bytes are those of runs.
    """

    name: str
    runs: int = 0
    runs_left: int = 0
    jobs: int = 0
    jobs_left: int = 0
    core_hours: Estimate = field(default_factory=Estimate)
    core_hours_left: Estimate = field(default_factory=Estimate)
    gpu_hours: Estimate = field(default_factory=Estimate)
    gpu_hours_left: Estimate = field(default_factory=Estimate)
    bytes: Estimate = field(default_factory=Estimate)


@dataclass(frozen=True)
class Plan:
    """What a scale comes to.

    Attributes:
        parts: the experiments in the configuration's order, then `SHARED`.
        rules: jobs by rule.
        rules_left: jobs that are left, by rule.
        cells: cells that train, by experiment.
        untimed: of these, the methods without any timing.
        sources: where timings are from.
        datasets: the datasets that are needed.
    """

    parts: list[Share]
    rules: Counter[str]
    rules_left: Counter[str]
    cells: Counter[str]
    untimed: dict[str, list[str]]
    sources: set[str]
    datasets: list[str]


def plan(graph: Graph, timings: Timings) -> Plan:
    """Count what a study asks for, and what of it is not there yet.

    A run is done when its record is there, in the folder of its present configuration.

    Args:
        graph: the work of the study.
        timings: how long runs take.
    """
    parts = {name: Share(name) for name in (*graph.study.experiments, *SHARED)}
    # Listing each folder once is much faster than asking for thousands of files.
    here = cache(lambda folder: frozenset(os.listdir(folder)) if folder.is_dir() else frozenset())
    runs = _runs(graph, parts, timings, here)
    rules, rules_left = Counter[str](), Counter[str]()
    waiting: set[Path] = set()
    for job in graph.jobs:
        # An index may be there while a record that it names was lost.
        missing = job.output.name not in here(job.output.parent) or job.output in runs.unrecorded
        # Settings are written anew when the configuration changes, though their file is there.
        changed = job.rule == "settings" and not missing and _differs(job.output, graph.study)
        rules[job.rule] += 1
        parts[job.owner].jobs += 1
        # Jobs come after those that they need, so one pass finds all that are left.
        if missing or changed or not waiting.isdisjoint(job.needs):
            waiting.add(job.output)
            rules_left[job.rule] += 1
            parts[job.owner].jobs_left += 1
    datasets = sorted({job.output.parent.name for job in graph.jobs if job.rule == "fetch"})
    return Plan(
        parts=list(parts.values()),
        rules=rules,
        rules_left=rules_left,
        cells=runs.cells,
        untimed=runs.untimed,
        sources=runs.sources,
        datasets=datasets,
    )


@dataclass(frozen=True)
class _Runs:
    """What counting the runs found beside their numbers.

    Attributes:
        unrecorded: indexes of bundles that lack a record.
        cells: cells that train, by experiment.
        untimed: of these, methods without any timing.
        sources: where timings are from.
    """

    unrecorded: set[Path] = field(default_factory=set)
    cells: Counter[str] = field(default_factory=Counter)
    untimed: dict[str, list[str]] = field(default_factory=dict)
    sources: set[str] = field(default_factory=set)


def _runs(
    graph: Graph, parts: dict[str, Share], timings: Timings, here: Callable[[Path], frozenset[str]]
) -> _Runs:
    """Add the runs to the parts that own them."""
    found = _Runs()
    timed: dict[tuple[str, str, str], bool] = {}
    for bundle in graph.bundles:
        # Runs that are only chosen among others are not trained.
        for cell in bundle.cells if bundle.rule != SELECT else ():
            names = here(bundle.record(cell, 0).parent)
            left = sum(f"seed{seed}.json" not in names for seed in bundle.seeds)
            if left:
                found.unrecorded.add(bundle.index)
            costs = timings.costs(cell, len(bundle.seeds))
            found.sources.update(cost.source for cost in costs.values())
            key = (cell.experiment, cell.method, cell.hash)
            # A cell has several bundles, and a timing of one of them will do.
            timed[key] = timed.get(key, False) or bool(costs)
            _add(parts[cell.experiment], costs, len(bundle.seeds), left)
    for (experiment, method, _), known in timed.items():
        found.cells[experiment] += 1
        if not known:
            found.untimed.setdefault(experiment, []).append(method)
    return found


def _add(part: Share, costs: dict[str, Cost], runs: int, left: int) -> None:
    part.runs += runs
    part.runs_left += left
    hours = {kind: cost.seconds * cost.threads / 3600 for kind, cost in costs.items()}
    for kind, (everything, rest) in {
        CPU: (part.core_hours, part.core_hours_left),
        GPU: (part.gpu_hours, part.gpu_hours_left),
    }.items():
        everything.add(hours.get(kind), runs)
        rest.add(hours.get(kind), left)
    # A run leaves as many bytes on any kind of device.
    part.bytes.add(next((cost.bytes for cost in costs.values()), None), runs)


def _differs(path: Path, study: Study) -> bool:
    try:
        return bool(read_json(path) != study.dump())
    except InputError:
        return True


def stored_bytes(found: Entry, root: Path) -> int:
    """Return the bytes of a dataset in the data folder.

    Args:
        found: the dataset.
        root: the folder of the data.

    Returns:
        Those of its files when they are there, else of the arrays that its counts make.
    """
    folder = store.raw_folder(found.name, root)
    if (folder / "manifest.json").is_file():
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    counts = found.counts
    if found.kind == "labels":
        return int(counts["rows"] * len(counts["columns"]) * 8)
    if found.kind == "graph":
        # features are float32, edges pairs of int64
        return int(counts["nodes"] * (counts["features"] * 4 + 8) + counts["edges"] * 16)
    side = counts["side"] if isinstance(counts["side"], list) else [counts["side"]] * 2
    # a byte a pixel and channel; label, split and group take 17 more
    return int(sum(counts["images"].values()) * (math.prod(side) * counts.get("channels", 1) + 17))


def lines(made: Plan, root: Path, mirror: Path | None, file: Path) -> Iterator[str]:
    """Yield the plan to print: a table of parts, data, jobs by rule, and where numbers are from.

    Args:
        made: the plan.
        root: the folder of the data.
        mirror: the mirror, None where there is none.
        file: the file of timings.
    """
    head = ("", "runs", "left", "jobs", "left", "core-h", "left", "GPU-h", "left", "results")
    parts = [*made.parts, _total(made.parts)]
    rows = [head, *(_row(part) for part in parts)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        name, *numbers = (word.rjust(width) for word, width in zip(row, widths, strict=True))
        yield "  ".join([row[0].ljust(len(name)), *numbers]).rstrip()
    yield ""
    yield from _data_lines(made.datasets, root, mirror)
    jobs = [f"{rule} {count} ({made.rules_left[rule]} left)" for rule, count in made.rules.items()]
    yield f"jobs: {', '.join(jobs)}"
    yield "hours and results are those of training; the other jobs' are not recorded"
    if made.untimed:
        yield _untimed(made)
    gpu = parts[-1].gpu_hours
    if parts[-1].runs and gpu.unknown == parts[-1].runs:
        yield "no GPU timing recorded"
    yield f"timings: {'; '.join(sorted(made.sources)) or f'none, in finished runs or {file}'}"


def _untimed(made: Plan) -> str:
    named = []
    for name, methods in made.untimed.items():
        named.append(f"{name}: {_methods(methods, made.cells[name])}")
    lacking = sum(map(len, made.untimed.values()))
    return (
        f"no timing recorded for {lacking} of {made.cells.total()} cells (`hsac time` takes them):"
        f" {'; '.join(named)}"
    )


def _methods(methods: list[str], cells: int) -> str:
    return f"all {cells}" if len(methods) == cells else " ".join(dict.fromkeys(methods))


def _row(part: Share) -> tuple[str, ...]:
    if not part.runs:
        return (part.name, "", "", str(part.jobs), str(part.jobs_left), "", "", "", "", "")
    estimates = (part.core_hours, part.core_hours_left, part.gpu_hours, part.gpu_hours_left)
    counts = (part.runs, part.runs_left, part.jobs, part.jobs_left)
    return (
        part.name,
        *map(str, counts),
        *(e.text(_hours) for e in estimates),
        part.bytes.text(_size),
    )


def _total(parts: list[Share]) -> Share:
    total = Share("total")
    for part in parts:
        for name in ("runs", "runs_left", "jobs", "jobs_left"):
            setattr(total, name, getattr(total, name) + getattr(part, name))
        for name in ("core_hours", "core_hours_left", "gpu_hours", "gpu_hours_left", "bytes"):
            into, more = getattr(total, name), getattr(part, name)
            into.known, into.unknown = into.known + more.known, into.unknown + more.unknown
    return total


def _data_lines(datasets: list[str], root: Path, mirror: Path | None) -> Iterator[str]:
    total = 0
    for name in datasets:
        found = entry(name)
        state, size = overview.state(found, root, mirror), stored_bytes(found, root)
        total += size
        fetched = state == "can be fetched"
        # Any one form of a dataset will do, so the one of fewest files is told.
        files = min((len(form.files) for form in found.forms), default=0)
        more = f", {files} files whose sizes are not recorded" if fetched else ""
        about = "" if state == "here" else "about "
        yield f"data {name}: {state}{more}; {about}{_size(size)} stored"
    yield f"data: about {_size(total)} stored in all"


def _hours(hours: float) -> str:
    if hours >= 100:
        return f"{hours:,.0f}"
    return f"{hours:.2g}" if hours < 10 else f"{hours:.3g}"


def _size(size: float) -> str:
    """Return bytes in words, by powers of a thousand."""
    power = min(4, int(math.log(max(1.0, size), 1000)))
    return f"{size / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
