"""Expressions of a study's columns, as the claims of a file have them.

A file of claims is data, so nothing in it may run. An expression is read by Python's parser and
evaluated by this module, which knows only what the table says. Anything else, such as an attribute,
a subscript or another function, is refused when the file is read.

| | |
|---|---|
| values | names of columns, numbers, text in quotes |
| arithmetic | `+`, `-`, `*`, `/`, `**` |
| functions | `sqrt`, `exp`, `log`, `cosh`, `sinh`, `tanh`, `abs`, each of one value |
| comparisons | `<`, `<=`, `>`, `>=` of numbers, `==`, `!=` of numbers or of text |
| truth values | `and`, `or`, `not` |
"""

import ast
import operator
import warnings
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np
import pandas as pd

from hsac.errors import InputError

# Bounds what a reader and the evaluation, which calls itself, have to bear.
LONGEST, DEEPEST = 1000, 50
ALLOWED = (
    "columns, numbers, text in quotes, + - * / **, comparisons, and, or, not, and {functions} of"
    " one value"
)
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "cosh": np.cosh,
    "sinh": np.sinh,
    "tanh": np.tanh,
    "abs": np.abs,
}
ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
SIGNS: dict[type[ast.AST], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
ORDER: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
EQUALITY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
LOGIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.And: np.logical_and,
    ast.Or: np.logical_or,
}
NUMBER, TEXT, TRUTH = "a number", "text", "a truth value"


class _NotReadableError(Exception):
    """Says in a few words what an expression has that is not allowed."""


def read(expression: str, where: str) -> ast.expr:
    """Read an expression without evaluating it.

    Args:
        expression: The expression.
        where: What an error line starts with.

    Returns:
        Its tree, which holds nothing but what the table of this module says.

    Raises:
        InputError: It cannot be read, is too long or too deep, or holds anything else.
    """
    try:
        tree = _parsed(expression)
        _check(tree, 0)
    except _NotReadableError as error:
        allowed = ALLOWED.format(functions=", ".join(FUNCTIONS))
        shown = expression if len(expression) <= 80 else expression[:77] + "..."
        raise InputError(f"{where}: found {error} in {shown!r}; allowed are {allowed}") from None
    return tree


def evaluate(expression: str, rows: pd.DataFrame, where: str, *, truth: bool) -> pd.Series:
    """Evaluate an expression of the columns in each row.

    Numbers are double precision, also where they are written as integers. What is undefined, such
    as the root of -1, is NaN, and no comparison of NaN holds but `!=`.

    Args:
        expression: The expression.
        rows: The rows.
        where: What an error line starts with.
        truth: Whether it has to be a truth value. Otherwise it has to be a number.

    Returns:
        One value a row.

    Raises:
        InputError: As `read`, or the expression has a column that the rows lack, or mixes numbers,
            text and truth values.
    """
    tree, wanted = read(expression, where), TRUTH if truth else NUMBER
    try:
        # Overflow and division by 0 are infinite, as in the columns themselves.
        with np.errstate(all="ignore"):
            found = _expect(_value(tree, rows), tree, wanted)
    except _NotReadableError as error:
        columns = ", ".join(map(str, rows.columns))
        reason = f"cannot evaluate {expression!r} ({error})"
        raise InputError(f"{where}: {reason}; columns are {columns}") from None
    # An expression without a column, as in `error <= 0.1`, has one value for all rows.
    return pd.Series(found, index=rows.index)


def _parsed(expression: str) -> ast.expr:
    if len(expression) > LONGEST:
        raise _NotReadableError(f"{len(expression)} characters, more than {LONGEST},")
    try:
        # Python warns of what it will refuse one day, such as `1and 2`.
        with warnings.catch_warnings(action="error"):
            return ast.parse(expression.strip(), mode="eval").body
    # What Python's reader raises for text that is no expression, and for one that nests too deep.
    except (SyntaxError, ValueError, RecursionError, MemoryError, Warning) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise _NotReadableError(f"no expression ({reason})") from None


def _check(node: ast.expr, depth: int) -> None:
    """Refuse whatever `_value` does not know."""
    if depth > DEEPEST:
        raise _NotReadableError(f"more than {DEEPEST} levels")
    inner = _inner(node)
    if inner is None:
        # A call's own name says more than the word call.
        what = node.func if isinstance(node, ast.Call) else node
        raise _NotReadableError(f"`{ast.unparse(what)[:40]}`")
    for one in inner:
        _check(one, depth + 1)


def _inner(node: ast.expr) -> list[ast.expr] | None:
    """Return the expressions inside of one, None for one that is not allowed."""
    match node:
        case ast.Name():
            return []
        case ast.Constant(value=float() | int() | str() as value):
            # A bool is an int. Another number's double may not exist.
            return [] if not isinstance(value, bool) and _in_range(value) else None
        case ast.BinOp(left, op, right) if type(op) in ARITHMETIC:
            return [left, right]
        case ast.UnaryOp(op, operand) if type(op) in SIGNS or isinstance(op, ast.Not):
            return [operand]
        case ast.BoolOp(values=values):
            return values
        case ast.Compare(left, ops, others) if all(type(o) in ORDER | EQUALITY for o in ops):
            return [left, *others]
        case ast.Call(ast.Name(name), [operand], []) if name in FUNCTIONS:
            return [operand]
    return None


def _in_range(value: float | str) -> bool:
    return isinstance(value, str) or abs(value) < 1e300


def _value(node: ast.expr, rows: pd.DataFrame) -> Any:
    """Evaluate a checked tree: a Series, a number, a text or a truth value."""
    match node:
        case ast.Constant(value=value):
            # A number is a double from the start, so that no integer grows without end.
            return value if isinstance(value, str) else np.float64(value)  # type: ignore[arg-type]
        case ast.Name(id=name):
            return _column(name, rows)
        case ast.Compare():
            return _compared(node, rows)
    function, operands, kind = _operation(node)
    return function(*(_expect(_value(one, rows), one, kind) for one in operands))


def _operation(node: ast.expr) -> tuple[Callable[..., Any], list[ast.expr], str]:
    """Return what an operation computes, its operands, and of which kind they have to be."""
    match node:
        case ast.BinOp(left, op, right):
            return ARITHMETIC[type(op)], [left, right], NUMBER
        case ast.UnaryOp(ast.Not(), operand):
            return np.logical_not, [operand], TRUTH
        case ast.UnaryOp(op, operand):
            return SIGNS[type(op)], [operand], NUMBER
        case ast.BoolOp(op, values):
            return partial(_joined, LOGIC[type(op)]), values, TRUTH
        case ast.Call(ast.Name(name), [operand]):
            return FUNCTIONS[name], [operand], NUMBER
    raise AssertionError(ast.dump(node))  # `_check` lets nothing else through


def _joined(function: Callable[[Any, Any], Any], *values: Any) -> Any:
    return reduce(function, values)


def _column(name: str, rows: pd.DataFrame) -> pd.Series:
    if name not in rows:
        raise _NotReadableError(f"{name} is no column")
    column = rows[name]
    if pd.api.types.is_bool_dtype(column):
        return column.astype(bool)
    return column.astype(float) if pd.api.types.is_numeric_dtype(column) else column


def _compared(node: ast.Compare, rows: pd.DataFrame) -> Any:
    """Evaluate a comparison. A chain `a < b < c` means both."""
    sides = [_value(side, rows) for side in (node.left, *node.comparators)]
    found: Any = np.True_
    for op, left, right in zip(node.ops, sides, sides[1:], strict=False):
        kinds = _kind(left), _kind(right)
        if type(op) in ORDER and kinds != (NUMBER, NUMBER):
            raise _NotReadableError(f"`{ast.unparse(node)}` orders other than numbers")
        if kinds[0] != kinds[1]:
            raise _NotReadableError(f"`{ast.unparse(node)}` compares {' with '.join(kinds)}")
        found = np.logical_and(found, (ORDER | EQUALITY)[type(op)](left, right))
    return found


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return TEXT
    dtype = getattr(value, "dtype", np.dtype(object))
    if pd.api.types.is_bool_dtype(dtype):
        return TRUTH
    return NUMBER if pd.api.types.is_numeric_dtype(dtype) else TEXT


def _expect(value: Any, node: ast.expr, wanted: str) -> Any:
    found = _kind(value)
    if found != wanted:
        raise _NotReadableError(f"`{ast.unparse(node)[:40]}` is {found}, not {wanted}")
    return value
