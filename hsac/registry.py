"""Parts found by their file: `hsac/rules/curvature/drift.py` defines `Drift`, known everywhere as `drift`.

A family is a folder of modules, one part each. The class is named after the file in camel case and is a frozen
dataclass whose fields are the part's parameters, so a configuration can be checked without importing torch: names come
from the folder, parameters from the syntax tree.
"""

import ast
import difflib
import importlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from hsac.errors import InputError

FAMILIES = {
    "weight rule": "rules.weights",
    "curvature rule": "rules.curvature",
    "solver": "hypergradient.solvers",
    "model": "models",
    "head": "models.heads",
    "noise kind": "data.noise",
    "problem": "theory.problems",
    "study": "theory.studies",
}
ROOT = Path(__file__).parent
LISTED = 100  # names that an error line lists at most


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The tail of an error line: what is allowed, and the closest spelling if there is one."""
    allowed = sorted(allowed)
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    listed = ", ".join(allowed) if len(allowed) <= LISTED else f"{len(allowed)} names"
    return f"allowed are {listed}{hint}"


def _file(family: str, name: str) -> Path:
    return ROOT.joinpath(*FAMILIES[family].split("."), f"{name}.py")


@cache
def names(family: str) -> tuple[str, ...]:
    """Names of a family's parts, sorted; a module whose class is missing is a helper, not a part."""
    folder = _file(family, "x").parent
    return tuple(sorted(p.stem for p in folder.glob("*.py") if _class(p) is not None))


def class_name(name: str) -> str:
    """`poincare_mlr` -> `PoincareMlr`."""
    return "".join(part.capitalize() for part in name.split("_"))


def _class(path: Path) -> ast.ClassDef | None:
    wanted = class_name(path.stem)
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name == wanted:
            return node
    return None


def check_name(family: str, name: str, key: str) -> None:
    """Raises InputError naming `key` unless the family has a part of that name."""
    if name not in names(family):
        raise InputError(f"{key}: found {name!r}; {family}s {nearest(name, names(family))}")


@cache
def parameters(family: str, name: str) -> dict[str, str]:
    """Parameter name -> annotation of a part, read from its source; fields a caller fills (no default) excluded."""
    return {field: annotation for field, (annotation, default) in _fields(family, name).items() if default}


def filled(family: str, name: str) -> dict[str, str]:
    """Field name -> annotation of what a part's caller fills in from the data."""
    return {field: annotation for field, (annotation, default) in _fields(family, name).items() if not default}


def _fields(family: str, name: str) -> dict[str, tuple[str, bool]]:
    """Field name -> annotation and whether it has a default."""
    node = _class(_file(family, name))
    assert node is not None
    return {
        item.target.id: (ast.unparse(item.annotation), item.value is not None)
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and not ast.unparse(item.annotation).startswith("ClassVar")
    }


def summary(family: str, name: str) -> str:
    """First line of a part's docstring."""
    node = _class(_file(family, name))
    return ((node and ast.get_docstring(node)) or "").split("\n")[0]


_ACCEPTS = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "dict": (dict,),
    "tuple": (list, tuple),
}


def check_parameters(family: str, name: str, given: dict[str, Any], key: str) -> None:
    """Raises InputError naming `key.parameter` for an unknown parameter or a value of the wrong type."""
    known = parameters(family, name)
    for parameter, value in given.items():
        where = f"{key}.{parameter}"
        if parameter not in known:
            raise InputError(f"{where}: found an unknown key; {family} {name!r}: {nearest(parameter, known)}")
        if value is None and known[parameter].endswith("| None"):
            continue
        accepted = _ACCEPTS.get(known[parameter].split("[")[0])
        wrong_bool = isinstance(value, bool) and accepted is not None and bool not in accepted
        if accepted is not None and (wrong_bool or not isinstance(value, accepted)):
            raise InputError(f"{where}: found {value!r}; allowed is {known[parameter]}")


def part(family: str, name: str) -> Any:
    """The class of a part."""
    return getattr(importlib.import_module(f"hsac.{FAMILIES[family]}.{name}"), class_name(name))


def build(family: str, name: str, given: dict[str, Any], key: str = "", **filled: Any) -> Any:
    """The part `name` with the parameters `given` by a configuration and those `filled` in by the caller.

    Raises InputError naming `key` for a name, parameter or value that the part does not take.
    """
    key = key or name
    check_name(family, name, key)
    check_parameters(family, name, given, key)
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    try:
        return part(family, name)(**values, **filled)
    except InputError as error:
        raise InputError(f"{key}.{error}") from None


def require(ok: bool, parameter: str, found: Any, allowed: str) -> None:
    """For a part's `__post_init__`: raises InputError naming the parameter, what was found and what is allowed."""
    if not ok:
        raise InputError(f"{parameter}: found {found!r}; allowed is {allowed}")
