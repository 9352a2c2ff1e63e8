import atexit
import functools
import json
import logging
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from hsac import config as configuration
from hsac.ops import slurm_accounting, slurm_arrays, file_dates, workflow_lock
from hsac.study import fingerprint
from hsac import layout, plugins
from hsac.data import obtain
from hsac.errors import InputError
from hsac.files import digest, write_json
from snakemake.logging import logger
from snakemake.settings.enums import Quietness

# a task of a job array begins as the first task's job
own_call = slurm_arrays.own_call(sys.argv, os.environ)
if own_call:
    os.execlp("sh", "sh", "-c", own_call)

try:
    SCALE = config.get("scale", "default")
    OVERRIDE = configuration.retyped({k: v for k, v in config.items() if k != "scale"})
    MIRROR = obtain.mirror_root(configuration.mirror(SCALE, OVERRIDE))
    OVERRIDE.pop("mirror", None)
    SETTINGS = configuration.load(SCALE, OVERRIDE)
    KNOWN = plugins.using(SETTINGS["plugins"])
    KNOWN.__enter__()  # until this process ends
    for root in (layout.results_root(SCALE), layout.data_root()):
        layout.check_writable(root)
    # not an input of what is trained: when it changes, Snakemake would not see what else changed of such jobs
    JOB_SETTINGS = Path(".snakemake/settings", f"{configuration.digest(SETTINGS)}.json")
    if not JOB_SETTINGS.is_file():
        write_json(JOB_SETTINGS, SETTINGS)
except InputError as error:
    print(f"hsac: {error}", file=sys.stderr)
    os._exit(2)  # the line above says it all: no traceback, no second message

if workflow.is_main_process:
    workflow_lock.clear()
    # quiet: errors and warnings only, which `quiet: all` would drop, too; a dry run lists its jobs
    if {Quietness.RULES, Quietness.PROGRESS} <= set(
        workflow.output_settings.quiet or ()
    ):
        logger.addFilter(
            lambda said: said.levelno >= logging.WARNING or workflow.dryrun
        )

# for the jobs, wherever they run: this environment's hsac; none makes anything run again
os.environ.update(
    HSAC_MIRROR=str(MIRROR or ""),
    HSAC_PLUGINS=os.pathsep.join(SETTINGS["plugins"]),
    HSAC_SETTINGS=str(JOB_SETTINGS.resolve()),
    PATH=os.pathsep.join([os.path.dirname(sys.executable), *os.get_exec_path()]),
)
RESULTS = layout.results_root(SCALE).as_posix()
SETTINGS_FILE = f"{RESULTS}/settings.json"
TRAINED = {
    layout.index_path(layout.results_root(SCALE), cell, 0).parent.as_posix(): cell
    for cell in configuration.trained_cells(SETTINGS)
    if cell["point"] is None  # a search's points are trained for its cell
}
DERIVED = {
    layout.index_path(layout.results_root(SCALE), cell, 0).parent.as_posix(): cell
    for cell in configuration.cells(SETTINGS)
    if configuration.derived(cell)
}


def folder(wildcards):
    return f"{RESULTS}/runs/{wildcards.experiment}/{wildcards.method}/{wildcards.hash}"


VARIANT = {
    name: layout.variant_path(settings).as_posix()
    for name, settings in SETTINGS["experiments"].items()
}
VARIANTS = {
    VARIANT[name]: settings for name, settings in SETTINGS["experiments"].items()
}


@functools.cache
def blocks(folder):
    seeds = configuration.cell_seeds(SETTINGS, TRAINED.get(folder) or DERIVED[folder])
    return layout.blocks(seeds, SETTINGS["bundle"])


def bundle_seeds(wildcards):
    return blocks(folder(wildcards))[int(wildcards.block)]


def variant(wildcards):
    return VARIANT[wildcards.experiment]


@functools.cache
def training_code(folder):
    cell = TRAINED[folder]
    points = configuration.point_cells(SETTINGS, cell) or [cell]
    codes = {fingerprint.of_training(point["config"]) for point in points}
    return codes.pop() if len(codes) == 1 else digest(sorted(codes))


def point(wildcards):
    cell = TRAINED.get(
        folder(wildcards)
    )  # none of a derived cell, which rule select makes
    if cell is None or not configuration.searched(cell):
        return []
    return layout.point_path(layout.results_root(SCALE), cell).as_posix()


def point_option(wildcards, input):
    return f"--point {shlex.quote(input.point)}" if input.point else ""


@functools.cache
def point_bundles(folder):
    found = layout.point_bundles(SETTINGS, layout.results_root(SCALE), TRAINED[folder])
    return {path.as_posix(): bundle for path, bundle in found.items()}


def point_bundle(wildcards):
    return list(point_bundles(folder(wildcards)).values())[int(wildcards.block)]


def points(wildcards):
    return list(point_bundles(folder(wildcards)))


def variant_inputs(wildcards):
    path = layout.data_root() / "variants" / wildcards.dataset
    experiment = VARIANTS[f"{path.as_posix()}/{wildcards.variant}.json"]
    return [path.as_posix() for path in layout.variant_inputs(experiment)]


def measured(experiment):
    cells = configuration.measured_cells(SETTINGS, experiment)
    found = layout.indexes(SETTINGS, layout.results_root(SCALE), cells)
    return [path.as_posix() for path in found]


def chosen_points(cells):
    """What the searches of these cells came to, where they are searched."""
    root = layout.results_root(SCALE)
    return [
        layout.point_path(root, cell).as_posix()
        for cell in cells
        if configuration.searched(cell)
    ]


def trained_again(cell):
    """Configuration and code of a cell that the theory trains again."""
    return f"{cell['hash']} {fingerprint.of_training(cell['config'])}"


def informed(experiment):
    methods = SETTINGS["experiments"][experiment].get("informed", [])
    return [configuration.cell(SETTINGS, experiment, method) for method in methods]


def informed_points(wildcards):
    return chosen_points(informed(wildcards.experiment))


def informed_cells(experiment):
    return [trained_again(cell) for cell in informed(experiment)]


def hypergradient_points(wildcards):
    return chosen_points(
        [configuration.hypergradient_cell(SETTINGS, wildcards.experiment)]
    )


def hypergradient_cell(experiment):
    return trained_again(configuration.hypergradient_cell(SETTINGS, experiment))


PICTURES = {
    name: layout.picture_path(layout.results_root(SCALE), name).as_posix()
    for name in layout.datasets(SETTINGS)
}
THEORY = [
    path.as_posix()
    for path in layout.theory_paths(SETTINGS, layout.results_root(SCALE))
]


def candidates(wildcards):
    cell = DERIVED[folder(wildcards)]
    methods = configuration.candidates(SETTINGS, cell)
    cells = [
        configuration.cell(SETTINGS, wildcards.experiment, method) for method in methods
    ]
    return [
        layout.index_path(
            layout.results_root(SCALE), c, int(wildcards.block)
        ).as_posix()
        for c in cells
    ]


wildcard_constraints:
    experiment="[a-z0-9_]+",
    method=r"[^/]+",
    hash="[0-9a-f]{16}",
    block="[0-9]+",
    study="[a-z0-9_]+",
    dataset="[a-z0-9_]+",


onstart:
    try:
        slurm_accounting.check(
            getattr(workflow.executor_settings, "status_command", None)
        )
        lock = workflow_lock.hold() if workflow.execution_settings.lock else None
    except InputError as error:
        print(f"hsac: {error}", file=sys.stderr)
        os._exit(2)
    if lock:
        atexit.register(lock.close)
    late = file_dates.mend([Path(RESULTS), layout.data_root()])
    if late:
        print(
            f"hsac: {late} files were dated in the future, by a clock that was ahead; they are dated now",
            file=sys.stderr,
        )
    progress = [sys.executable, "-m", "hsac", "job", "progress", "--scale", SCALE]
    progress += ["--override", json.dumps(OVERRIDE), "--process", str(os.getpid())]
    if sys.stderr.isatty():
        atexit.register(subprocess.Popen(progress).terminate)


onsuccess:
    if Path(RESULTS, "index.html").is_file():  # not after a part of it
        shell(
            f"echo 'done: {RESULTS}/tables, {RESULTS}/figures, {RESULTS}/index.html'"
        )


onerror:
    print(
        f"hsac: the workflow stopped; finished runs are kept and a plain re-run goes on; details: {' '.join(log)}",
        file=sys.stderr,
    )
