"""The catalogue's own form: what an entry may say, and that every entry says it."""

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from hsac.data import catalogue
from hsac.errors import InputError

GOOD: dict[str, Any] = {
    "kind": "graph",
    "about": "A path.",
    "source": "here",
    "licence": "MIT",
    "citation": "Nobody, 2024.",
    "forms": [{"build": "paths:build", "files": [{"path": "a/b/c.npz", "urls": ["hub:c.npz"]}]}],
    "counts": {"nodes": 2},
    "sha256": None,
}


def test_entry_gets_its_defaults() -> None:
    """An entry is read with its defaults."""
    entry = catalogue.parse("path", GOOD)
    assert entry.forms == (
        catalogue.Form("paths:build", {}, (catalogue.File("a/b/c.npz", ("hub:c.npz",), None),)),
    )
    assert (entry.by_hand, entry.rendered, entry.arrays, entry.any_order) == (None, False, {}, {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"bulid": "x"},
            "catalogue.yaml: path: found 'the field bulid'; allowed is one of name, kind",
        ),
        ({"kind": "images "}, "path.kind: found 'images '; allowed is images, graph, labels"),
        ({"licence": None}, "path.licence: found None"),
        ({"sha256": "12"}, "path.sha256: found '12'; allowed is 64 hexadecimal digits"),
        ({"arrays": {"x": None}}, "path.arrays.x"),
        (
            {"counts": {"nodes": "many"}},
            "path.counts.nodes: found 'many'; allowed is a whole number",
        ),
        ({"counts": {"size": 3}}, "path.counts: found 'the count size'; allowed is one of nodes, "),
        ({"counts": [2]}, r"path.counts: found \[2\]; allowed is a mapping"),
        (
            {"kind": "images", "counts": {"images": {"train": 1, "dev": 1}}},
            "path.counts.images: found .*'dev': 1.*; allowed is a whole number for each of train",
        ),
        (
            {"kind": "images", "counts": {"side": [8]}},
            r"path.counts.side: found \[8\]; allowed is a whole number, or two",
        ),
        ({"kind": "labels", "counts": {"columns": "a"}}, "path.counts.columns: found 'a'; allowed"),
        ({"forms": []}, "path.forms"),
        ({"forms": [{"build": "paths"}]}, r"path.forms\[0\].build"),
        ({"forms": [{"build": "paths:build", "file": []}]}, "the field file"),
        (
            {"forms": [{"build": "p:b", "files": [{"path": "../x"}]}]},
            r"files\[0\].path: found '../x'",
        ),
        ({"forms": [{"build": "p:b", "files": [{"path": "/x"}]}]}, r"files\[0\].path"),
        (
            {"forms": [{"build": "p:b", "files": [{"path": "x", "urls": ["http://y"]}]}]},
            r"urls\[0\]: found 'http://y'",
        ),
        (
            {"forms": [{"build": "p:b", "files": [{"path": "a/b/c", "urls": ["hub:d"]}]}]},
            "part of `path` after",
        ),
    ],
)
def test_slip_in_entry_is_named(change: dict[str, Any], words: str) -> None:
    """A slip in an entry is named with its field."""
    with pytest.raises(InputError, match=words):
        catalogue.parse("path", GOOD | change)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InputError, match="found 'no sha256'"):
        catalogue.parse("path", {key: value for key, value in GOOD.items() if key != "sha256"})


@pytest.mark.parametrize("name", catalogue.names())
def test_every_entry_has_a_builder(name: str) -> None:
    for form in catalogue.entry(name).forms:
        module, _, function = form.build.partition(":")
        source = import_module(f"hsac.data.sources.{module}")
        assert callable(getattr(source, function))


def unpickles(code: str) -> bool:
    """Tell whether the code opens pickles.

    By the modules it names, by torch.load of more than plain arrays, or by allow_pickle.
    """
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Name):
            words = {getattr(node, "module", None), getattr(node, "id", None)}
            words |= {alias.name for alias in getattr(node, "names", [])}
            if words & {"pickle", "dill", "joblib", "Planetoid"}:
                return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            by_torch = getattr(node.func.value, "id", "") == "torch"
            unsafe = given.get("allow_pickle") or (by_torch and not given.get("weights_only"))
            if node.func.attr == "load" and unsafe:
                return True
    return False


def test_pickles_are_noticed() -> None:
    for code in (
        "import pickle",
        "from pickle import load",
        "torch.load(p)",
        "np.load(p, allow_pickle=True)",
    ):
        assert unpickles(code)
    assert not unpickles(
        "np.load(p, allow_pickle=False); torch.load(p, weights_only=True)  # no pickle"
    )


def test_what_is_unpickled_has_file_hashes() -> None:
    found = set()
    for name in catalogue.names():
        for form in catalogue.entry(name).forms:
            spec = find_spec(f"hsac.data.sources.{form.build.partition(':')[0]}")
            assert spec is not None
            assert spec.origin is not None
            if unpickles(Path(spec.origin).read_text()):
                found.add(name)
                assert form.files
                assert all(file.sha256 for file in form.files)
    assert found == {"cora", "citeseer", "pubmed"}
