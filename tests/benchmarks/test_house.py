"""The script that measures the code counts what it says."""

from pathlib import Path

import pytest

from benchmarks.house import (
    Tree,
    circles,
    comments,
    described,
    enumerating,
    long_test_names,
    semicolons,
    untyped,
)

A = '''"""A first module; with a semicolon."""

from typing import Any


def public(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Do.

    Args:
        first: one.
        second: two.
    """
    # a comment
    from hsac import b

    b.public(first)


def _private(x):
    pass
'''
B = '''from hsac import layout
from hsac.folder import c


def public(first):
    """Do.

    Args:
        other: none of the parameters.
    """
    layout.indexes(first)
'''


@pytest.fixture
def tree(tmp_path):
    files = {"hsac/__init__.py": "from hsac import a\n", "hsac/a.py": A, "hsac/b.py": B}
    files |= {"hsac/folder/__init__.py": "", "hsac/folder/c.py": "import hsac.a\n"}
    files["tests/test_a.py"] = "def test_one_two_three_four_five_six(): ...\n"
    files["tests/test_b.py"] = "def test_one_two_three_four_five_six_seven(): ...\n"
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Tree(tmp_path)


def test_deferred_imports_close_a_circle(tree):
    assert circles(tree) == [["hsac.a", "hsac.b", "hsac.folder.c"]]


def test_type_checking_imports_close_none(tree):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import hsac.a\n"
    tree.root.joinpath("hsac/folder/c.py").write_text(text)
    assert circles(tree) == []


def test_counts_are_of_the_source(tree):
    assert untyped(tree) == {"dict[str, Any] in hsac/": 2, "lines with dict[str, Any]": 1}
    assert enumerating(tree) == ["hsac.b"]
    assert described(tree) == "50% (1 of 2)"
    assert comments(tree) == "4.3%"  # 1 of 23 lines
    assert semicolons(tree) == round(10_000 / 19)
    assert long_test_names(tree) == 1


def test_package_has_no_circle():
    assert circles(Tree(Path(__file__).parents[2])) == []
