import json
import re
import shlex

from hsac import plugins
from hsac.files import digest
from hsac.study import fingerprint, resolve
from hsac.study.graph import POINTS, data_root, variant_inputs, variant_path

SCALE, OVERRIDE, STUDY, GRAPH = RUN.scale, RUN.override, RUN.study, RUN.graph
RESULTS = GRAPH.results.as_posix()
SETTINGS_FILE = f"{RESULTS}/settings.json"
PICTURES = [GRAPH.picture(name).as_posix() for name in GRAPH.datasets]
THEORY = [path.as_posix() for path in GRAPH.theory_files]
STUDIES = [GRAPH.theory_file("", name).as_posix() for name in GRAPH.studies]
INDEXES = [path.as_posix() for path in GRAPH.indexes(GRAPH.cells)]
VARIANTS = {variant_path(one).as_posix(): one for one in STUDY.experiments.values()}


def logged(command):
    """Send a command's output into the rule's log, which is shown when it fails."""
    # 130 is the status after Ctrl-C, which is no failure
    shown = "{{ [ $? -eq 130 ] || cat {log:q} >&2; exit 2; }}"
    return f"{command} > {{log:q}} 2>&1 || {shown}"


def texts(paths):
    return [path.as_posix() for path in paths]


def cell(wildcards):
    return GRAPH.cell(wildcards.experiment, wildcards.method, wildcards.hash)


def bundle(wildcards, name="block"):
    return GRAPH.by_index[
        GRAPH.folder(cell(wildcards)) / f"{name}{wildcards.block}.json"
    ]


def points_bundle(wildcards):
    return bundle(wildcards, POINTS)


def bundle_seeds(wildcards):
    return list(bundle(wildcards).seeds)


def training_code(wildcards):
    return fingerprint.of_cell_and_trials(STUDY, cell(wildcards))


def variant(wildcards):
    return GRAPH.variant(wildcards.experiment).as_posix()


def inputs_of_variant(wildcards):
    path = data_root() / "variants" / wildcards.dataset / f"{wildcards.variant}.json"
    return texts(variant_inputs(VARIANTS[path.as_posix()]))


def point(wildcards):
    # none of a derived cell, which rule select makes
    return texts(GRAPH.point_files([cell(wildcards)]))


def point_option(wildcards, input):
    return f"--point {shlex.quote(str(input.point))}" if input.point else ""


def trials(wildcards):
    return texts(one.index for one in GRAPH.trial_bundles(cell(wildcards)))


def candidates(wildcards):
    return texts(GRAPH.candidates(bundle(wildcards)))


def measured(wildcards):
    return texts(GRAPH.indexes(resolve.measured(STUDY, wildcards.experiment)))


def informed_points(wildcards):
    return texts(GRAPH.point_files(resolve.informed(STUDY, wildcards.experiment)))


def hypergradient_points(wildcards):
    return texts(GRAPH.point_files([resolve.studied(STUDY, wildcards.experiment)]))


def trained_again(cell):
    """Name configuration and code of a cell that the theory trains again."""
    return f"{cell.hash} {fingerprint.of_training(cell.config)}"


def informed_cells(wildcards):
    return [
        trained_again(cell) for cell in resolve.informed(STUDY, wildcards.experiment)
    ]


def hypergradient_cell(wildcards):
    return trained_again(resolve.studied(STUDY, wildcards.experiment))


wildcard_constraints:
    experiment="[a-z0-9_]+",
    method=r"[^/]+",
    hash="[0-9a-f]{16}",
    block="[0-9]+",
    study="[a-z0-9_]+",
    dataset="[a-z0-9_]+",
