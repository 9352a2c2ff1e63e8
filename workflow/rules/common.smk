import functools
import json
import re
import shlex

from hsac import config as configuration
from hsac import layout, plugins
from hsac.files import digest
from hsac.study import fingerprint

SCALE, OVERRIDE, SETTINGS = RUN.scale, RUN.override, RUN.settings


def logged(command):
    """Send a command's output into the rule's log, which is shown when it fails."""
    # 130 is the status after Ctrl-C, which is no failure
    shown = "{{ [ $? -eq 130 ] || cat {log:q} >&2; exit 2; }}"
    return f"{command} > {{log:q}} 2>&1 || {shown}"


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
    cell = TRAINED.get(folder(wildcards))  # none of a derived one: rule select makes it
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
    """List what the searches of these cells came to, where they are searched."""
    root = layout.results_root(SCALE)
    return [
        layout.point_path(root, cell).as_posix()
        for cell in cells
        if configuration.searched(cell)
    ]


def trained_again(cell):
    """Name configuration and code of a cell that the theory trains again."""
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
