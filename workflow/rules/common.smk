import json
import re
import shlex

from hsac import plugins
from hsac.files import digest
from hsac.study import fingerprint, resolve
from hsac.study.frozen import BACKBONE
from hsac.study.graph import (
    POINTS,
    data_root,
    manifest_path,
    variant_inputs,
    variant_path,
)

SCALE, OVERRIDE, STUDY, GRAPH = RUN.scale, RUN.override, RUN.study, RUN.graph
RESULTS = GRAPH.results.as_posix()
# joined as paths: with HSAC_DATA=. a rule's output is raw/…, and not ./raw/…
DATA = {name: (data_root() / name).as_posix() for name in ("raw", "variants", "logs")}
SETTINGS_FILE = f"{RESULTS}/settings.json"
PICTURES = [GRAPH.picture(name).as_posix() for name in GRAPH.datasets]
THEORY = [path.as_posix() for path in GRAPH.theory_files]
LANDSCAPES = [path.as_posix() for path in GRAPH.landscape_files]
STUDIES = [GRAPH.theory_file("", name).as_posix() for name in GRAPH.studies]
INDEXES = [path.as_posix() for path in GRAPH.indexes(GRAPH.cells)]
VARIANTS = {variant_path(one).as_posix(): one for one in STUDY.experiments.values()}


def logged(command):
    """Send a command's output into the rule's log, which is shown when it fails."""
    # 130 is the status after Ctrl-C, which is no failure
    shown = "{{ [ $? -eq 130 ] || cat {log:q} >&2; exit 2; }}"
    return f"{command} > {{log:q}} 2>&1 || {shown}"


def texts(paths):
    """Return paths as text, which Snakemake needs."""
    return [path.as_posix() for path in paths]


def cell(wildcards):
    """Return the cell whose folder the wildcards name."""
    return GRAPH.cell(wildcards.experiment, wildcards.method, wildcards.hash)


def bundle(wildcards, name="block"):
    """Return the bundle whose index the wildcards name."""
    return GRAPH.by_index[
        GRAPH.folder(cell(wildcards)) / f"{name}{wildcards.block}.json"
    ]


def points_bundle(wildcards):
    """Return the bundle of trials whose index the wildcards name."""
    return bundle(wildcards, POINTS)


def bundle_seeds(wildcards):
    """Return the seeds of a bundle."""
    return list(bundle(wildcards).seeds)


def training_code(wildcards):
    """Return the fingerprint of what trains a cell or its trials."""
    return fingerprint.of_cell_and_trials(STUDY, cell(wildcards))


def variant(wildcards):
    """Return the variant file of an experiment."""
    return GRAPH.variant(wildcards.experiment).as_posix()


def inputs_of_variant(wildcards):
    """Return the files that a variant is made of."""
    path = data_root() / "variants" / wildcards.dataset / f"{wildcards.variant}.json"
    return texts(variant_inputs(VARIANTS[path.as_posix()]))


def point(wildcards):
    """Return the point that a search chose: empty where nothing is searched."""
    # empty for derived cells, which rule select makes
    return texts(GRAPH.point_files([cell(wildcards)]))


def point_option(wildcards, input):
    """Return the option --point of a searched cell, nothing for another."""
    return f"--point {shlex.quote(str(input.point))}" if input.point else ""


def trials(wildcards):
    """Return the indexes of a searched cell's trials."""
    return texts(one.index for one in GRAPH.trial_bundles(cell(wildcards)))


def candidates(wildcards):
    """Return the indexes that a derived cell is chosen among."""
    return texts(GRAPH.candidates(bundle(wildcards)))


def measured(wildcards):
    """Return the indexes of the networks that are measured."""
    return texts(GRAPH.indexes(resolve.measured(STUDY, wildcards.experiment)))


def informed_points(wildcards):
    """Return the points of the methods with an informed certificate."""
    return texts(GRAPH.point_files(resolve.informed(STUDY, wildcards.experiment)))


def hypergradient_points(wildcards):
    """Return the point of the method whose hypergradient is studied."""
    return texts(GRAPH.point_files([resolve.studied(STUDY, wildcards.experiment)]))


def trained_again(cell):
    """Name configuration and code of a cell that the theory trains again."""
    return f"{cell.hash} {fingerprint.of_training(cell.config)}"


def informed_cells(wildcards):
    """Return what identifies the cells with an informed certificate."""
    return [
        trained_again(cell) for cell in resolve.informed(STUDY, wildcards.experiment)
    ]


def hypergradient_cell(wildcards):
    """Return what identifies the cell whose hypergradient is studied."""
    return trained_again(resolve.studied(STUDY, wildcards.experiment))


def features_data(wildcards):
    """Return the manifest of the dataset that features are of."""
    features = STUDY.frozen.features[wildcards.features]
    return manifest_path(features.dataset).as_posix()


def backbone_variant(wildcards):
    """Return the variant that the backbones of features are trained on, if any."""
    return texts(GRAPH.backbone_variant(wildcards.features))


def backbone_indexes(wildcards):
    """Return the indexes of the backbones of features, if any."""
    return texts(GRAPH.backbone_indexes(wildcards.features))


def backbone_options(wildcards, input):
    """Return the options that name variant and indexes of backbones, if any."""
    if not input.indexes:
        return ""
    indexes = " ".join(map(shlex.quote, input.indexes))
    return f"--variant {shlex.quote(str(input.variant))} --indexes {indexes}"


def features_code(wildcards):
    """Return the fingerprint of what computes features."""
    recipe = STUDY.frozen.features[wildcards.features].recipe
    modules = ["hsac.frozen.artefact", f"hsac.frozen.features.{recipe}"]
    if recipe == BACKBONE:
        modules.append("hsac.frozen.networks")
    return fingerprint.of_modules(modules)


def problem_features(wildcards):
    """Return the features of a problem."""
    problem = STUDY.frozen.problems[wildcards.problem]
    return GRAPH.features_file(problem.features).as_posix()


def solved_code(wildcards, module):
    """Return the fingerprint of what draws a problem and solves its heads in a module."""
    problem = STUDY.frozen.problems[wildcards.problem]
    drawn = fingerprint.of_variant(problem.variant.made_by())
    solved = fingerprint.of_modules([module, "hsac.frozen.splits"])
    return f"{drawn} {solved}"


def landscape_code(wildcards):
    """Return the fingerprint of what makes a landscape over c."""
    return solved_code(wildcards, "hsac.frozen.landscape")


def rules_code(wildcards):
    """Return the fingerprint of what follows rules on solved heads."""
    return solved_code(wildcards, "hsac.frozen.rules")


wildcard_constraints:
    experiment="[a-z0-9_]+",
    method=r"[^/]+",
    hash="[0-9a-f]{16}",
    block="[0-9]+",
    study="[a-z0-9_]+",
    dataset="[a-z0-9_]+",
    features="[a-z0-9_]+",
    problem="[a-z0-9_]+",
    dim="[0-9]+",
