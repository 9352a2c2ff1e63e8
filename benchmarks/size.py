"""Measure planning, dry runs and gathering at 1,000, 10,000 and 100,000 runs.

`python benchmarks/size.py` writes size.csv beside this file, `python benchmarks/size.py 1000 5000`
takes other sizes. The configuration is the paper scale's with more seeds. Nothing is trained: the
records are generated, each as large as one of CIFAR-10 (30 kB: 40 evaluations, 10,000 answers),
without weights. 100,000 runs take 5 GB of the temporary folder while they are measured.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil

from hsac.files import write_bytes, write_json, write_rows
from hsac.study import load, resolve
from hsac.study.cell import Cell
from hsac.study.graph import Graph, Job
from hsac.study.method import Method
from hsac.study.record import write_index

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path("results/paper")
SIZES = (1_000, 10_000, 100_000)
# A search tells `fixed` from `fixed@0.3`. Without one, the start has to.
CURVATURE = {"start": 0.4, "bounds": [0.005, 5.0], "transform": "exp", "sharing": "per_layer"}
WITHOUT_SEARCH = {"search": None, "curvature": CURVATURE}
# First seed. The search has seeds of its own below it.
FIRST = 1_000
# Runs up to which everything after gathering is measured too.
REPORTED = 1_000
# Runs up to which a dry run with one run a job is measured too.
UNBUNDLED = 10_000
FOLDERS = ("tables", "cost", "provenance", "figures")
ANSWERS = np.random.default_rng(0).random(10_000) < 0.9


def cpu() -> float:
    """Return the seconds of CPU time that ended child processes have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(command: list[str]) -> dict[str, float]:
    """Run a command and measure it.

    Args:
        command: program and arguments.

    Returns:
        `seconds`, `cpu_seconds` of all its processes, and `peak_mib`, the sum of their resident
        sets, looked at every 50 ms.

    Raises:
        SystemExit: The command failed.
    """
    start, before, peak = time.perf_counter(), cpu(), 0
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None:
        try:
            processes = [process, *process.children(recursive=True)]
            peak = max(peak, sum(one.memory_info().rss for one in processes))
        except psutil.NoSuchProcess:
            continue
        time.sleep(0.05)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(command)[:200]}: {process.stderr.read().decode()[-2000:]}")
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu() - before, 1),
        "peak_mib": round(peak / 2**20),
    }


def hsac(*arguments: str) -> list[str]:
    """Return a command of hsac's."""
    return [sys.executable, "-m", "hsac", *arguments]


def snakemake(override: dict[str, Any], *arguments: str) -> list[str]:
    """Return the command of a run of the workflow, with keys of the configuration overridden."""
    given = [f"{key}={json.dumps(value, separators=(',', ':'))}" for key, value in override.items()]
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    return [*command, "--config", "scale=paper", *given]


def record(cell: Cell, seed: int) -> dict[str, Any]:
    """Generate a finished run.

    Args:
        cell: what was trained.
        seed: its seed.

    Returns:
        A record as large as one with 10,000 test items.
    """
    of, name = cell.config, Method.of(cell.method)
    steps = list(range(0, 4_000, 100))
    series = (np.linspace(0.1, 0.9, len(steps)) + seed / 1e6).tolist()
    column = [[one] for one in series]
    answers = np.roll(ANSWERS, seed)
    accuracies = ("train_accuracy", "validation_accuracy", "test_accuracy")
    metrics = {"step": 3_900, **dict.fromkeys(accuracies, float(answers.mean()))}
    metrics |= dict.fromkeys(("train_nll", "validation_nll", "test_nll"), 0.3 + seed / 1e6)
    per_item = {"test_right": answers.astype(int).tolist(), "test_answers": 1}
    alpha = np.linspace(-1, 1, 21).tolist()
    traced = ("sharpness", "train_nll", "validation_accuracy", "test_accuracy")
    return {
        "schema": 1,
        "experiment": cell.experiment,
        "method": cell.method,
        "seed": seed,
        "config": of.dump(),
        "setting": of.setting,
        "dataset": of.dataset,
        "variant": of.variant.name,
        "model": of.model.name,
        "weight_rule": name.weight,
        "curvature_rule": of.curvature_rule.name,
        "loss": of.loss.name,
        "start": of.curvature.start,
        "status": "ok",
        "reason": None,
        "config_hash": cell.hash,
        "code": "c" * 16,
        "variant_hash": "v" * 16,
        "weights": "0" * 64,
        "versions": {"python": "3.11"},
        "host": "generated",
        "device": "cpu",
        "dtype": "float32",
        "steps": 4_000,
        "gradients": 4_000,
        "products": 0,
        "tried": 1,
        "chosen": None,
        "selected_by": "validation_accuracy",
        "metrics": {"selected": metrics | per_item, "last": metrics, "oracle": metrics},
        "curvature": {"names": ["head"], "final": [0.3]},
        "sharpness": 0.1,
        "trajectory": {"step": steps, "curvature": column} | dict.fromkeys(traced, series),
        "outer": {
            "step": steps,
            "hypergradient": column,
            "fallback": [False] * len(steps),
            "value": series,
            "residual": series,
        },
        "landscape": {"alpha": alpha, "random": alpha, "worst": alpha},
        "embedding": None,
        "seconds": 1.0,
        "peak_memory_mib": 100.0,
    }


def make(graph: Graph, some: Iterable[Job]) -> None:
    """Make the files of jobs: records are generated, the rest is empty.

    Args:
        graph: the work of a study.
        some: jobs in their order, so that each file is newer than those it needs.
    """
    for job in some:
        job.output.parent.mkdir(parents=True, exist_ok=True)
        if job.rule in FOLDERS:
            job.output.mkdir(exist_ok=True)
        elif job.rule == "settings":
            write_json(job.output, graph.study.dump())
        elif job.rule == "train":
            bundle = graph.by_index[job.output]
            paths = {run.seed: run.record for run in bundle.runs()}
            for seed, path in paths.items():
                made = record(bundle.of, seed)
                write_bytes(path, orjson.dumps(made, option=orjson.OPT_SORT_KEYS))
            write_index(job.output, bundle.of, paths)
        else:
            job.output.write_text("", encoding="utf-8")
            if job.rule == "picture":
                job.output.with_suffix(".pdf").write_text("", encoding="utf-8")
                job.output.with_suffix(".json").write_text("{}", encoding="utf-8")


def rows(runs: int) -> Iterator[dict[str, Any]]:
    """Measure in the current folder.

    Args:
        runs: about how many runs the study has.

    Yields:
        Rows of the table.
    """

    def row(what: str, override: dict[str, Any], command: list[str]) -> dict[str, Any]:
        study = load.load("paper", override)
        graph = Graph(study, RESULTS)
        found = {
            "measured": what,
            "runs": sum(len(resolve.seeds(study, cell)) for cell in graph.trained),
            "bundle": study.bundle,
            "jobs": len(graph.jobs),
        }
        return found | measured(command)

    cells = len(resolve.cells(load.load("paper")))
    each = round(runs / cells)  # runs of a method, 4 of them of its search
    searched = {"seeds": list(range(FIRST, FIRST + max(1, each - 4))), "bundle": 10}
    override = ("--scale", "paper", "--override", json.dumps(searched))
    yield row("hsac plan", searched, hsac("plan", *override))
    yield row("snakemake -n", searched, snakemake(searched, "--dry-run"))
    if runs <= UNBUNDLED:
        alone = searched | {"bundle": 1}
        yield row("snakemake -n", alone, snakemake(alone, "--dry-run"))
    plain = WITHOUT_SEARCH | {"seeds": list(range(FIRST, FIRST + each)), "bundle": 10}
    graph = Graph(load.load("paper", plain), RESULTS)
    made = graph.jobs
    place = [job.rule for job in made].index("gather")
    make(graph, made[:place])
    given = ("--settings", str(RESULTS / "settings.json"))
    runs_file, measured_file = str(RESULTS / "runs.parquet"), str(RESULTS / "measured.parquet")
    gather = ("job", "gather", *given, "--results", str(RESULTS), "--processes", "2")
    yield row("gather", plain, hsac(*gather))
    make(graph, [job for job in made[place:] if job.rule != "gather"])
    yield row("snakemake, nothing to do", plain, snakemake(plain))
    if runs <= REPORTED:
        report = (*given, "--runs", runs_file)
        claims = ("claims", "--runs", runs_file, "--output", str(RESULTS / "claims.json"))
        yield row("claims", plain, hsac(*claims))
        tables = ("--published", "config/published.yaml", "--output", str(RESULTS / "tables"))
        yield row("tables", plain, hsac("job", "tables", *report, *tables))
        cost = ("--measured", measured_file, "--output", str(RESULTS / "cost"))
        yield row("cost", plain, hsac("job", "cost", *report, *cost))


def main() -> None:
    """Measure each size in a folder of its own, and write the table after each row."""
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    os.environ |= {"PYTHONPATH": str(ROOT), "HSAC_DATA": "data", "HSAC_MIRROR": ""}
    found = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            for name in ("Snakefile", "workflow", "config", "profiles", "environment.yml"):
                Path(name).symlink_to(ROOT / name)
            for one in rows(size):
                print(one, flush=True)
                found.append(one)
                write_rows(ROOT / "benchmarks/size.csv", found)
            os.chdir(ROOT)


if __name__ == "__main__":
    main()
