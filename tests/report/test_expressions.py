"""Expressions of claims: what they mean, and that nothing else is read, let alone run."""

import math

import numpy as np
import pandas as pd
import pytest
import yaml

from hsac.errors import InputError
from hsac.report.claim_matrix import read_claims
from hsac.report.expressions import DEEPEST, LONGEST, evaluate, read

ROWS = pd.DataFrame(
    {
        "a": [1, 2, -3],
        "b": [0.5, np.nan, 4.0],
        "solver": ["cg", "exact", "cg"],
        "ok": [True, False, True],
    }
)


@pytest.mark.parametrize(
    "expression",
    [
        "a + 2 * b - a / 3",
        "-a ** 2",
        "abs(a) ** 2 ** 0.5",
        "a * (1 + 7.2e-15 * (cosh(sqrt(b) * a) ** 4 + 1 / (b * a ** 2) ** 2))",
        "abs(a) * exp(-b) + log(b) + sinh(b) - tanh(a)",
        "+0.1",
    ],
)
def test_numbers_are_pythons(expression) -> None:
    """Each row has the value that Python's own arithmetic of doubles gives."""
    found = evaluate(expression, ROWS, "x", truth=False)
    for row, value in zip(ROWS.to_dict("records"), found, strict=True):
        names = {name: getattr(math, name) for name in ("cosh", "sqrt", "exp", "log", "sinh")}
        names |= {"abs": abs, "tanh": math.tanh, "a": float(row["a"]), "b": row["b"]}
        assert value == pytest.approx(eval(expression, names), rel=1e-14, nan_ok=True)


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("solver == 'cg'", [True, False, True]),
        ("solver != 'exact' and a > 0", [True, False, False]),
        ("solver == 'exact' or (solver == 'cg' and b < 1)", [True, True, False]),
        ("not solver == 'cg'", [False, True, False]),
        ("0 < a <= 2", [True, True, False]),
        ("b < 1 or b >= 1", [True, False, True]),
        ("b != b", [False, True, False]),
        ("ok and a > 0", [True, False, False]),
        ("1 < 2", [True, True, True]),
    ],
)
def test_truth_by_row(expression, rows) -> None:
    assert evaluate(expression, ROWS, "x", truth=True).tolist() == rows


def test_undefined_is_no_error() -> None:
    rows = pd.DataFrame({"a": [0, 10**6]})
    assert evaluate("1 / a", rows, "x", truth=False).tolist() == [np.inf, 1e-6]
    assert evaluate("sqrt(-1 - a)", rows, "x", truth=False).isna().all()
    # As doubles: an integer of that many digits would never be done.
    assert evaluate("9 ** 9 ** 9 ** 9 + a", rows, "x", truth=False).tolist() == [np.inf] * 2


REFUSED = [
    "@pd.io.common.os.system('touch pwned')",
    "__import__('os').system('touch pwned')",
    "().__class__.__base__.__subclasses__()",
    "a.__class__",
    "solver.str",
    "a[0]",
    "a.values",
    "eval('1')",
    "open('pwned', 'w')",
    "sqrt(a, a)",
    "sqrt(x=a)",
    "sqrt(*a)",
    "sqrt.__call__(a)",
    "(lambda: 1)()",
    "[a for a in b]",
    "{a: b}",
    "{a}",
    "[a]",
    "(a, b)",
    "a if ok else b",
    "(a := 1)",
    "f'{a}'",
    "a @ b",
    "a % b",
    "a // b",
    "a & b",
    "a | b",
    "~a",
    "a << 9",
    "a is b",
    "a in b",
    "1j",
    "b'x'",
    "None",
    "True",
    "...",
    "yield a",
    "await a",
    "a; b",
    "a = 1",
    "import os",
    "",
    "   ",
    "a +",
    "1and 2",
    "'\\d'",
    "a\x00b",
    "9" * 400,
    "9" * 5000,
    "1e999",
    "(" * 300 + "a" + ")" * 300,
    "-" * 900 + "a",
    "not " * 200 + "ok",
    "-" * (DEEPEST + 1) + "a",
    "a" + " + a" * LONGEST,
]


@pytest.mark.parametrize("expression", REFUSED)
def test_all_else_is_refused(expression, tmp_path, monkeypatch) -> None:
    """One line names the place, what was found and what is allowed, and nothing has run."""
    monkeypatch.chdir(tmp_path)
    for attempt in (
        lambda: read(expression, "claims.yaml: where"),
        lambda: evaluate(expression, ROWS, "claims.yaml: where", truth=True),
    ):
        with pytest.raises(InputError) as caught:
            attempt()
        line = str(caught.value)
        assert line.startswith("claims.yaml: where: found ")
        assert "allowed are columns, numbers" in line
        assert "\n" not in line
        assert len(line) < 500
    assert not list(tmp_path.iterdir())


def test_depth_just_allowed() -> None:
    assert evaluate("-" * DEEPEST + "a", ROWS, "x", truth=False).tolist() == [1, 2, -3]


@pytest.mark.parametrize(
    ("expression", "truth", "words"),
    [
        ("error", False, "error is no column"),
        ("sqrt", False, "sqrt is no column"),
        ("a", True, "`a` is a number, not a truth value"),
        ("a < 1", False, "`a < 1` is a truth value, not a number"),
        ("solver", False, "`solver` is text, not a number"),
        ("solver + 1", False, "`solver` is text, not a number"),
        ("solver < 'x'", True, "orders other than numbers"),
        ("solver == 1", True, "compares text with a number"),
        ("a and b", True, "`a` is a number, not a truth value"),
        ("-(a < 1)", False, "is a truth value, not a number"),
    ],
)
def test_kinds_do_not_mix(expression, truth, words) -> None:
    with pytest.raises(InputError) as caught:
        evaluate(expression, ROWS, "claim t", truth=truth)
    assert words in str(caught.value)
    assert str(caught.value).endswith("; columns are a, b, solver, ok")


@pytest.mark.parametrize("key", ["holds", "where", "fails"])
def test_file_of_claims_runs_nothing(key, tmp_path, monkeypatch) -> None:
    """An expression that would run a command is refused where the file is read."""
    monkeypatch.chdir(tmp_path)
    command = "@pd.io.common.os.system('touch pwned')"
    given = {"holds": "error <= bound", key: command if key == "where" else f"{command} <= 1"}
    entry = {"id": "t", "kind": "theory", "claim": "It holds.", "study": "approximation"}
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump([entry | given]))
    with pytest.raises(InputError, match=f"claim t: {key}: found no expression"):
        read_claims(tmp_path / "claims.yaml")
    assert not (tmp_path / "pwned").exists()
