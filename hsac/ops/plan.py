"""What a scale comes to before it runs: runs, jobs, disk, hours; and how much of that is done. No
torch here.

The jobs are the workflow's, with its paths. A job is left when its file is missing or stands on one
that is left; of a changed code or variant only `hsac stale` and the workflow itself know.
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hsac import config, layout
from hsac.data import overview, store
from hsac.data.catalogue import Entry, entry
from hsac.errors import InputError
from hsac.files import read_json
from hsac.ops.timings import CPU, GPU, Cost, Timings

SHARED = ("data", "theory", "report")  # parts of a plan that no experiment owns


@dataclass(frozen=True)
class Job:
    """A job of the workflow: its rule, the part of the plan it belongs to, its file, the files that
    must be new when it is to be new (settings are not among them where the workflow calls them
    ancient).
    """

    rule: str
    part: str
    output: Path
    needs: tuple[Path, ...] = ()


@dataclass
class Estimate:
    """A sum over runs: of those with something recorded, and how many have nothing."""

    known: float = 0.0
    unknown: int = 0

    def add(self, each: float | None, runs: int) -> None:
        """Add so many runs of `each`."""
        self.known, self.unknown = (
            self.known + (each or 0.0) * runs,
            self.unknown + (runs if each is None else 0),
        )

    def text(self, words: Callable[[float], str]) -> str:
        """`?` where nothing is known, at least (≥) where something is not."""
        if not self.unknown:
            return words(self.known)
        return f"≥ {words(self.known)}" if self.known else "?"


@dataclass
class Part:
    """An experiment's share, or one of SHARED: all of it, and what is left. Hours and bytes are of
    runs.
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
    """Parts in the configuration's order, then SHARED; jobs by rule, all and left; cells that train
    by experiment, all and those without any timing; where timings are from; datasets.
    """

    parts: list[Part]
    rules: Counter[str]
    rules_left: Counter[str]
    cells: Counter[str]
    untimed: dict[str, list[str]]
    sources: set[str]
    datasets: list[str]


def jobs(settings: dict[str, Any], results: Path) -> list[Job]:
    """Every job of the workflow from empty folders on, each after those it needs."""
    experiments = settings["experiments"]
    made: dict[Path, Job] = {}

    def job(rule: str, part: str, output: Path, *needs: Path) -> Path:
        made.setdefault(output, Job(rule, part, output, needs))
        return output

    resolved = job("settings", "report", results / "settings.json")
    variants = {}
    for name, experiment in experiments.items():
        inputs = layout.variant_inputs(experiment)
        for path in inputs:
            if path.name == "manifest.json":
                job("fetch", "data", path)
        variants[name] = job("variant", "data", layout.variant_path(experiment), *inputs)
    for cell in config.trained_cells(settings):
        name, tuned = cell["experiment"], []
        if cell["point"] is not None:  # trained for the searched cell, which comes after it
            continue
        if config.searched(cell):
            bundles = layout.point_bundles(settings, results, cell)
            among = [job("points", name, index, variants[name]) for index in bundles]
            tuned.append(job("tune", name, layout.point_path(results, cell), *among))
        for index in layout.indexes(settings, results, [cell]):
            job("train", name, index, variants[name], *tuned)
    for cell in filter(config.derived, config.cells(settings)):
        name = cell["experiment"]
        chosen_among = [
            config.cell(settings, name, method) for method in config.candidates(settings, cell)
        ]
        for block in layout.blocks(config.seeds(settings, name), settings["bundle"]):
            chosen = [layout.index_path(results, one, block) for one in chosen_among]
            job("select", name, layout.index_path(results, cell, block), *chosen)
    theory = [
        job("study", "theory", layout.study_path(results, study))
        for study in settings["theory"]["studies"]
    ]
    studies = tuple(theory)
    for name, experiment in experiments.items():
        if "informed" in experiment:
            tried = [config.cell(settings, name, method) for method in experiment["informed"]]
            points = [layout.point_path(results, one) for one in tried if config.searched(one)]
            theory.append(
                job("certify", name, layout.informed_path(results, name), variants[name], *points)
            )
        if "hypergradient" in experiment:
            studied = config.hypergradient_cell(settings, name)
            points = [layout.point_path(results, studied)] if config.searched(studied) else []
            path = layout.hypergradient_path(results, name)
            theory.append(job("hypergradient", name, path, variants[name], *points))
        measured = layout.indexes(settings, results, config.measured_cells(settings, name))
        if measured:
            theory.append(
                job(
                    "measure", name, layout.landscape_path(results, name), variants[name], *measured
                )
            )
    indexes = layout.indexes(settings, results, config.cells(settings))
    runs = job("gather", "report", results / "runs.parquet", resolved, *indexes)
    claims = job("claims", "report", results / "claims.json", runs, *studies)
    tables = job("tables", "report", results / "tables", resolved, runs, *theory)
    cost = job("cost", "report", results / "cost", resolved, runs)
    behind = job("provenance", "report", results / "provenance", resolved, runs, tables, cost)
    graph = job("rule_graph", "report", results / "rulegraph.dot")
    figures = job("figures", "report", results / "figures", resolved, runs, graph, *theory)
    pictures = [
        job("picture", "data", layout.picture_path(results, name), layout.manifest_path(name))
        for name in layout.datasets(settings)
    ]
    job(
        "page",
        "report",
        results / "index.html",
        resolved,
        runs,
        claims,
        tables,
        cost,
        behind,
        figures,
        *pictures,
    )
    return list(made.values())


def plan(settings: dict[str, Any], results: Path, timings: Timings) -> Plan:
    """Count what the settings ask for, and what of it `results` and the data folder do not hold
    yet.

    A run is done when its record is there, in the folder of its present configuration.
    """
    parts = {name: Part(name) for name in (*settings["experiments"], *SHARED)}
    here = cache(lambda folder: frozenset(os.listdir(folder)) if folder.is_dir() else frozenset())
    unrecorded: set[Path] = set()  # bundles that lack a record
    untimed: dict[str, list[str]] = {}
    sources: set[str] = set()
    cells = Counter[str]()
    bundled = _bundled(settings, results)
    for cell in config.trained_cells(settings):
        part = parts[cell["experiment"]]
        cells[part.name] += 1
        timed = False
        for block, seeds in layout.blocks(
            config.cell_seeds(settings, cell), settings["bundle"]
        ).items():
            index = layout.index_path(results, cell, block)
            left = sum(f"seed{seed}.json" not in here(index.parent) for seed in seeds)
            if left:
                unrecorded.add(bundled.get((index.parent, seeds[0]), index))
            costs = timings.costs(cell, len(seeds))
            timed |= bool(costs)
            sources |= {cost.source for cost in costs.values()}
            _add(part, costs, len(seeds), left)
        if not timed:
            untimed.setdefault(part.name, []).append(cell["method"])
    rules, rules_left = Counter[str](), Counter[str]()
    waiting: set[Path] = set()
    everything = jobs(settings, results)
    for job in everything:
        missing = job.output.name not in here(job.output.parent) or job.output in unrecorded
        changed = job.rule == "settings" and not missing and _differs(job.output, settings)
        rules[job.rule] += 1
        parts[job.part].jobs += 1
        if missing or changed or not waiting.isdisjoint(job.needs):
            waiting.add(job.output)
            rules_left[job.rule] += 1
            parts[job.part].jobs_left += 1
    datasets = sorted({job.output.parent.name for job in everything if job.rule == "fetch"})
    return Plan(list(parts.values()), rules, rules_left, cells, untimed, sources, datasets)


def _bundled(settings: dict[str, Any], results: Path) -> dict[tuple[Path, int], Path]:
    """The bundle of a search's points that a seed in a point's folder is in."""
    return {
        (layout.index_path(results, point, 0).parent, seed): index
        for cell in config.cells(settings)
        for index, (points, seeds) in layout.point_bundles(settings, results, cell).items()
        for point in points
        for seed in seeds
    }


def _add(part: Part, costs: dict[str, Cost], runs: int, left: int) -> None:
    part.runs += runs
    part.runs_left += left
    hours = {kind: cost.seconds * cost.threads / 3600 for kind, cost in costs.items()}
    for kind, (everything, rest) in {
        CPU: (part.core_hours, part.core_hours_left),
        GPU: (part.gpu_hours, part.gpu_hours_left),
    }.items():
        everything.add(hours.get(kind), runs)
        rest.add(hours.get(kind), left)
    part.bytes.add(next((cost.bytes for cost in costs.values()), None), runs)


def _differs(path: Path, settings: dict[str, Any]) -> bool:
    try:
        return bool(read_json(path) != settings)
    except InputError:
        return True


def stored_bytes(found: Entry, root: Path) -> int:
    """Bytes of a dataset in the data folder: of its files when they are there, else of the arrays
    that its counts make.

    An image is a byte a pixel and channel, with label, split and group 17 more; a graph's features
    are float32, its edges pairs of int64; labels are int64 at most.
    """
    folder = store.raw_folder(found.name, root)
    if (folder / "manifest.json").is_file():
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    counts = found.counts
    if found.kind == "labels":
        return int(counts["rows"] * len(counts["columns"]) * 8)
    if found.kind == "graph":
        return int(counts["nodes"] * (counts["features"] * 4 + 8) + counts["edges"] * 16)
    side = counts["side"] if isinstance(counts["side"], list) else [counts["side"]] * 2
    return int(sum(counts["images"].values()) * (math.prod(side) * counts.get("channels", 1) + 17))


def lines(made: Plan, root: Path, mirror: Path | None, file: Path) -> Iterator[str]:
    """The plan to print: a table of parts, data, jobs by rule, and what the numbers stand on."""
    head = ("", "runs", "left", "jobs", "left", "core-h", "left", "GPU-h", "left", "results")
    parts = [*made.parts, _total(made.parts)]
    rows = [head, *(_row(part) for part in parts)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        name, *numbers = (word.rjust(width) for word, width in zip(row, widths, strict=True))
        yield "  ".join([row[0].ljust(len(name)), *numbers]).rstrip()
    yield ""
    yield from _data_lines(made.datasets, root, mirror)
    yield "jobs: " + ", ".join(
        f"{rule} {count} ({made.rules_left[rule]} left)" for rule, count in made.rules.items()
    )
    yield "hours and results are those of training; the other jobs' are not recorded"
    if made.untimed:
        named = "; ".join(
            f"{name}: {_methods(methods, made.cells[name])}"
            for name, methods in made.untimed.items()
        )
        lacking = sum(map(len, made.untimed.values()))
        yield (
            f"no timing recorded for {lacking} of {made.cells.total()} cells (`hsac time` takes"
            f" them): {named}"
        )
    gpu = parts[-1].gpu_hours
    if parts[-1].runs and gpu.unknown == parts[-1].runs:
        yield "no GPU timing recorded"
    yield f"timings: {'; '.join(sorted(made.sources)) or f'none, in finished runs or {file}'}"


def _methods(methods: list[str], cells: int) -> str:
    return f"all {cells}" if len(methods) == cells else " ".join(dict.fromkeys(methods))


def _row(part: Part) -> tuple[str, ...]:
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


def _total(parts: list[Part]) -> Part:
    total = Part("total")
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
        more = (
            f", {min(len(form.files) for form in found.forms)} files whose sizes are not recorded"
            if fetched
            else ""
        )
        yield (
            f"data {name}: {state}{more}; {'' if state == 'here' else 'about '}{_size(size)} stored"
        )
    yield f"data: about {_size(total)} stored in all"


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}" if hours < 10 else f"{hours:.3g}"


def _size(size: float) -> str:
    """Bytes in words, by powers of a thousand."""
    power = min(4, int(math.log(max(1.0, size), 1000)))
    return f"{size / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
