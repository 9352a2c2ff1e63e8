"""Fingerprints change with what code does, and with nothing else."""

import shutil
from dataclasses import replace

import pytest
from studies import smoke

from hsac.models import heads
from hsac.rules.curvature.hsac import Hsac
from hsac.rules.curvature.pac_bayes import PacBayes
from hsac.rules.weights.sam import Sam
from hsac.study import fingerprint, resolve
from hsac.study.cell import ModelPart
from hsac.study.part import Part

SOURCE = '''"""A module."""

from hsac.other import helper


def f(x):
    """Doubles."""
    return helper(2 * x)
'''
SAME = [
    SOURCE.replace('"""A module."""', '"""Told differently."""'),
    SOURCE.replace('    """Doubles."""\n', ""),
    SOURCE.replace("def f", "# a comment\ndef f"),
    SOURCE.replace("2 * x", "2*x").replace("return", "return  "),
    SOURCE.replace("helper(2 * x)", "helper(\n        2 * x,\n    )"),
]
CHANGED = [
    SOURCE.replace("2 * x", "3 * x"),
    SOURCE.replace("def f", "def g"),
    SOURCE.replace("return helper(2 * x)", 'return "Doubles."'),
    SOURCE.replace("from hsac.other import helper", "from hsac.another import helper"),
]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Put a package of three modules in place of the real one, and return a writer of modules."""
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        fingerprint._read.cache_clear()

    write("main", SOURCE)
    write("other", "def helper(x):\n    return x\n")
    write("another", "def helper(x):\n    return x\n")
    yield write
    fingerprint._read.cache_clear()


@pytest.mark.parametrize("text", SAME)
def test_words_and_layout_do_not_count(tree, text):
    before = fingerprint.of_modules(["hsac.main"])
    assert text != SOURCE
    tree("main", text)
    assert fingerprint.of_modules(["hsac.main"]) == before


@pytest.mark.parametrize("text", CHANGED)
def test_code_counts(tree, text):
    before = fingerprint.of_modules(["hsac.main"])
    assert text != SOURCE
    tree("main", text)
    assert fingerprint.of_modules(["hsac.main"]) != before


def test_only_imported_modules_count(tree):
    before = fingerprint.of_modules(["hsac.main"])
    tree("another", "def helper(x):\n    return -x\n")
    assert fingerprint.of_modules(["hsac.main"]) == before
    tree("other", "def helper(x):\n    return -x\n")
    assert fingerprint.of_modules(["hsac.main"]) != before


def test_imports_inside_functions_count(tree):
    tree("main", "def f(x):\n    from hsac.other import helper\n    return helper(x)\n")
    before = fingerprint.of_modules(["hsac.main"])
    tree("other", "def helper(x):\n    return -x\n")
    assert fingerprint.of_modules(["hsac.main"]) != before


def test_imports_for_types_do_not_count(tree):
    """What stands under `if TYPE_CHECKING:` never runs."""
    tree("main", "def f(x):\n    return x\n")
    before = fingerprint.of_modules(["hsac.main"])
    tree(
        "main",
        "if TYPE_CHECKING:\n    from hsac.other import helper\n\n\ndef f(x):\n    return x\n",
    )
    assert fingerprint.of_modules(["hsac.main"]) == before


def test_importing_in_a_circle_ends(tree):
    tree("other", "import hsac.main\n\n\ndef helper(x):\n    return x\n")
    assert len(fingerprint.of_modules(["hsac.main"])) == 16


def cell(model="mlp", weights="sgd", curvature="fixed", loss="cross_entropy", **parameters):
    """Return the configuration of a cell of digits with other parts."""
    return replace(
        resolve.cell(smoke(), "digits", "sgd+fixed@0.3").config,
        model=ModelPart(model, {}),
        loss=Part(loss),
        weight_rule=Part(weights),
        curvature_rule=Part(curvature, parameters),
    )


@pytest.fixture
def touched(tmp_path, monkeypatch):
    """Return a function: which fingerprints an edit of a file of the package changes."""
    copy = tmp_path / "hsac"
    shutil.copytree(fingerprint.ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "ROOT", copy)

    def taken(fingerprint_of, given):
        fingerprint._read.cache_clear()
        return {name: fingerprint_of(one) for name, one in given.items()}

    def touched(file, fingerprint_of, given):
        before = taken(fingerprint_of, given)
        original = (copy / file).read_text()
        (copy / file).write_text(original + "\nCHANGED = 1\n")
        after = taken(fingerprint_of, given)
        (copy / file).write_text(original)
        return {name for name in given if after[name] != before[name]}

    yield touched
    fingerprint._read.cache_clear()


RECIPES = {
    "plain": {"recipe": "plain"},
    "pair": {"recipe": "label_noise", "kind": "pair"},
    "human": {"recipe": "label_noise", "kind": "human"},
}


@pytest.mark.parametrize(
    ("file", "variants"),
    [
        ("data/noise/pair.py", {"pair"}),
        ("data/noise/__init__.py", {"pair", "human"}),
        ("data/variants/label_noise.py", {"pair", "human"}),
        ("data/variants/_parts.py", set(RECIPES)),
        ("train/loop.py", set()),
    ],
)
def test_variant_depends_on_its_recipe(touched, file, variants):
    """And on its kind of noise."""
    assert touched(file, fingerprint.of_variant, RECIPES) == variants


CELLS = {
    "fixed": cell(),
    "hsac": cell(curvature="hsac"),
    "cg": cell(curvature="hsac", solver={"name": "cg"}),
    "hgcn": cell("hgcn"),
    "sam": cell(weights="sam"),
    "focal": cell(loss="focal"),
}


@pytest.mark.parametrize(
    ("file", "cells"),
    [
        ("hypergradient/solvers/cg.py", {"cg"}),
        ("hypergradient/solvers/neumann.py", {"hsac"}),
        ("rules/curvature/hsac.py", {"hsac", "cg"}),
        ("models/hgcn.py", {"hgcn"}),
        ("models/mlp.py", {"fixed", "hsac", "cg", "sam", "focal"}),
        ("losses/focal.py", {"focal"}),
        ("rules/weights/sam.py", {"sam"}),
    ],
)
def test_cell_depends_on_its_parts(touched, file, cells):
    """On its own parts, and on no others."""
    assert touched(file, fingerprint.of_training, CELLS) == cells


@pytest.mark.parametrize(
    "file",
    [
        "ball/maps.py",
        "ball/series.py",
        "losses/cross_entropy.py",
        "losses/types.py",
        "study/selection.py",
        "train/bundle.py",
        "train/ensemble.py",
        "train/loop.py",
        "train/restarts.py",
        "train/results.py",
        "train/seeds.py",
        "train/setup.py",
        "train/tasks/episodes.py",
        "train/tasks/graphs.py",
        "train/tasks/images.py",
        "train/tasks/metrics.py",
        "train/tasks/types.py",
    ],
)
def test_cell_depends_on_what_computes(touched, file):
    assert touched(file, fingerprint.of_training, CELLS) == set(CELLS)


@pytest.mark.parametrize(
    "file",
    [
        "data/catalogue.py",
        "data/download.py",
        "data/obtain.py",
        "data/store.py",
        "files.py",
        "ops/device.py",
        "ops/gpu_lease.py",
        "ops/runner.py",
        "plugins.py",
        "report/tables.py",
        "study/fingerprint.py",
        "study/record.py",
        "train/inputs.py",
    ],
)
def test_cell_ignores_plumbing(touched, file):
    """What fetches, reads, leases, times and writes computes nothing that is recorded."""
    assert touched(file, fingerprint.of_training, CELLS) == set()


@pytest.mark.parametrize(("curvature", "rule"), [("hsac", Hsac()), ("pac_bayes", PacBayes().hsac)])
def test_defaults_are_those_of_classes(curvature, rule):
    """Parts that a configuration leaves out are written here and in the classes."""
    starts = fingerprint._modules(cell(weights="sam", curvature=curvature))
    assert type(rule.linear_solver).__module__ in starts
    assert f"hsac.rules.weights.{Sam.base}" in starts
    assert f"hsac.models.heads.{heads.DEFAULT}" in starts


def test_cells_have_fingerprints_apart():
    assert len({fingerprint.of_training(one) for one in CELLS.values()}) == len(CELLS)


@pytest.mark.parametrize("start", ["setup", "results", "bundle"])
def test_core_reaches_no_floor_above(start):
    """Nothing that computes imports what touches disk, clock or machine."""
    reached = fingerprint._closure([f"hsac.train.{start}"])
    above = ("hsac.data", "hsac.ops", "hsac.report", "hsac.cli", "hsac.files", "hsac.plugins")
    assert not [module for module in reached if module.startswith(above)]
