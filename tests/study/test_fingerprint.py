"""Fingerprints change with what code does, and with nothing else."""

import shutil

import pytest

from hsac.study import fingerprint

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
    """A package of three modules in place of the real one; returns a writer that forgets what was
    read.
    """
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


def test_what_is_imported_counts_and_what_is_not_does_not(tree):
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


def test_importing_in_a_circle_ends(tree):
    tree("other", "import hsac.main\n\n\ndef helper(x):\n    return x\n")
    assert len(fingerprint.of_modules(["hsac.main"])) == 16


def cell(model="mlp", weights="sgd", curvature="fixed", loss="cross_entropy", **parameters):
    return {
        "model": {"name": model},
        "weights": {"rule": weights, "parameters": {}},
        "rule": {"rule": curvature, "parameters": parameters},
        "loss": {"rule": loss, "parameters": {}},
    }


def test_a_variant_depends_on_its_recipe_and_its_kind_of_noise(tmp_path, monkeypatch):
    copy = tmp_path / "hsac"
    shutil.copytree(fingerprint.ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "ROOT", copy)
    fingerprint._read.cache_clear()
    recipes = {
        "plain": {"recipe": "plain"},
        "pair": {"recipe": "label_noise", "kind": "pair"},
        "human": {"recipe": "label_noise", "kind": "human"},
    }
    changes = {
        "data/noise/pair.py": {"pair"},
        "data/noise/__init__.py": {"pair", "human"},
        "data/variants/label_noise.py": {"pair", "human"},
        "data/variants/_parts.py": set(recipes),
        "train/loop.py": set(),
    }
    try:
        before = {k: fingerprint.of_variant(r) for k, r in recipes.items()}
        for file, touched in changes.items():
            original = (copy / file).read_text()
            (copy / file).write_text(original + "\nCHANGED = 1\n")
            fingerprint._read.cache_clear()
            after = {k: fingerprint.of_variant(r) for k, r in recipes.items()}
            assert {k for k in recipes if after[k] != before[k]} == touched, file
            (copy / file).write_text(original)
    finally:
        fingerprint._read.cache_clear()


def test_a_cell_depends_on_its_own_parts_only(tmp_path, monkeypatch):
    copy = tmp_path / "hsac"
    shutil.copytree(fingerprint.ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "ROOT", copy)
    fingerprint._read.cache_clear()
    cells = {
        "fixed": cell(),
        "hsac": cell(curvature="hsac"),
        "cg": cell(curvature="hsac", solver={"name": "cg"}),
        "hgcn": cell("hgcn"),
        "sam": cell(weights="sam"),
        "focal": cell(loss="focal"),
    }
    changes = {
        "hypergradient/solvers/cg.py": {"cg"},
        "hypergradient/solvers/neumann.py": {"hsac"},
        "rules/curvature/hsac.py": {"hsac", "cg"},
        "models/hgcn.py": {"hgcn"},
        "models/mlp.py": {"fixed", "hsac", "cg", "sam", "focal"},
        "losses/focal.py": {"focal"},
        "losses/types.py": set(cells),
        "rules/weights/sam.py": {"sam"},
        "ball/series.py": set(cells),
        "train/loop.py": set(cells),
        "report/tables.py": set(),
        "cli/user.py": set(),
    }
    try:
        before = {k: fingerprint.of_training(c) for k, c in cells.items()}
        assert len(set(before.values())) == len(cells)
        for file, touched in changes.items():
            original = (copy / file).read_text()
            (copy / file).write_text(original + "\nCHANGED = 1\n")
            fingerprint._read.cache_clear()
            after = {k: fingerprint.of_training(c) for k, c in cells.items()}
            assert {k for k in cells if after[k] != before[k]} == touched, file
            (copy / file).write_text(original)
    finally:
        fingerprint._read.cache_clear()
