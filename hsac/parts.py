"""Parts found by their file: `hsac/rules/curvature/drift.py` defines `Drift`, known everywhere as
`drift`.

A family is a folder of modules, one part each, in the package and in each plugin folder in use
(`hsac.plugins`). The class is named after the file in camel case and is a frozen dataclass whose
fields are the part's parameters, so a configuration can be checked without importing torch: names
come from the folder, parameters from the syntax tree.
"""

import ast
import difflib
import importlib
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from hsac.errors import InputError

FAMILIES = {
    "weight rule": "rules.weights",
    "curvature rule": "rules.curvature",
    "solver": "hypergradient.solvers",
    "model": "models",
    "head": "models.heads",
    "noise kind": "data.noise",
    "loss": "losses",
    "problem": "theory.problems",
    "study": "theory.studies",
}
LISTED = 100  # names that an error line lists at most


@dataclass(frozen=True)
class Root:
    """A tree of families: the package, or a plugin folder. `module` is the name its files are
    imported under; a plugin's changes with what lies in its families' folders, so what is cached of
    it is never of an older file.
    """

    module: str
    path: Path


PACKAGE = Root("hsac", Path(__file__).parent)
_roots: tuple[Root, ...] = (PACKAGE,)


@contextmanager
def rooted(plugins: Iterable[Root]) -> Iterator[None]:
    """Inside the block parts are found in the package and in these plugin folders, and in no other."""
    global _roots
    before, _roots = _roots, (PACKAGE, *plugins)
    try:
        yield
    finally:
        _roots = before


def roots() -> tuple[Root, ...]:
    """The package, then the plugin folders in use."""
    return _roots


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The tail of an error line: what is allowed, and the closest spelling if there is one."""
    allowed = sorted(allowed)
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    listed = ", ".join(allowed) if len(allowed) <= LISTED else f"{len(allowed)} names"
    return f"allowed are {listed}{hint}"


def plural(family: str) -> str:
    """`weight rule` -> `weight rules`, `study` -> `studies`, `loss` -> `losses`."""
    return f"{family}es" if family.endswith("s") else f"{family}s".replace("ys", "ies")


def find(folder: str, name: str) -> tuple[Root, Path]:
    """Where `name` lies in a dotted folder (`rules.curvature`): a plugin folder that has it, else
    the package.
    """
    for root in (*_roots[1:], PACKAGE):
        path = root.path.joinpath(*folder.split("."), f"{name}.py")
        if root is PACKAGE or path.is_file():
            return root, path
    raise AssertionError


def file(family: str, name: str) -> Path:
    """The file of a part."""
    return find(FAMILIES[family], name)[1]


def module(folder: str, name: str) -> str:
    """The name that the file of `name` in a dotted folder is imported under."""
    return f"{find(folder, name)[0].module}.{folder}.{name}"


def from_plugin(folder: str, name: str) -> bool:
    """Whether `name` in a dotted folder is a plugin's."""
    return find(folder, name)[0] is not PACKAGE


def names(family: str) -> tuple[str, ...]:
    """Names of a family's parts, sorted; a module whose class is missing is a helper, not a part."""
    return tuple(sorted(name for root in _roots for name in _names(FAMILIES[family], root)))


@cache
def _names(folder: str, root: Root) -> tuple[str, ...]:
    paths = root.path.joinpath(*folder.split(".")).glob("*.py")
    return tuple(p.stem for p in paths if class_of(p) is not None)


def class_name(name: str) -> str:
    """`poincare_mlr` -> `PoincareMlr`."""
    return "".join(part.capitalize() for part in name.split("_"))


def class_of(path: Path) -> ast.ClassDef | None:
    """The class that a file's part is, by the syntax tree."""
    wanted = class_name(path.stem)
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name == wanted:
            return node
    return None


def check_name(family: str, name: str, key: str) -> None:
    """Raises InputError naming `key` unless the family has a part of that name."""
    if name not in names(family):
        raise InputError(
            f"{key}: found {name!r}; {plural(family)}"
            f" {nearest(name, names(family))}{_astray(family, name)}"
        )


def _astray(family: str, name: str) -> str:
    """Words on a plugin's file of that name that lies elsewhere than the family's."""
    places = [
        path
        for root in _roots[1:]
        for depth in ("", "*/", "*/*/")
        for path in root.path.glob(f"{depth}{name}.py")
    ]
    folder = FAMILIES[family].replace(".", "/")
    return (
        f"; {places[0]} lies in no folder of {plural(family)}, which is {folder}/" if places else ""
    )


def parameters(family: str, name: str) -> dict[str, str]:
    """Parameter name -> annotation of a part, read from its source; fields a caller fills (no
    default) excluded.
    """
    return {
        field: annotation
        for field, (annotation, default) in _fields(family, name).items()
        if default
    }


def filled(family: str, name: str) -> dict[str, str]:
    """Field name -> annotation of what a part's caller fills in from the data."""
    return {
        field: annotation
        for field, (annotation, default) in _fields(family, name).items()
        if not default
    }


def _fields(family: str, name: str) -> dict[str, tuple[str, bool]]:
    """Field name -> annotation and whether it has a default."""
    return _read_fields(*find(FAMILIES[family], name))


@cache
def _read_fields(root: Root, path: Path) -> dict[str, tuple[str, bool]]:
    node = class_of(path)
    assert node is not None
    return {
        item.target.id: (ast.unparse(item.annotation), item.value is not None)
        for item in fields_of(node)
    }


def fields_of(node: ast.ClassDef) -> Iterator[Any]:
    """The statements of a class that make a dataclass's fields (ast.AnnAssign with a name for
    target).
    """
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        if not ast.unparse(item.annotation).startswith(("ClassVar", "typing.ClassVar")):
            yield item


def marked(family: str, name: str, mark: str) -> bool:
    """Whether a part's class says `mark: ClassVar[bool] = True`."""
    return mark in _marks(file(family, name))


@cache
def _marks(path: Path) -> frozenset[str]:
    node = class_of(path)
    return frozenset(
        item.target.id
        for item in (node.body if node else ())
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and isinstance(item.value, ast.Constant)
        and item.value.value is True
    )


def summary(family: str, name: str) -> str:
    """Return the first paragraph of a part's docstring as one line."""
    node = class_of(file(family, name))
    text = (node and ast.get_docstring(node)) or ""
    return " ".join(text.split("\n\n")[0].split())


_ACCEPTS = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "dict": (dict,),
    "tuple": (list, tuple),
    "Mapping": (dict,),
    "None": (type(None),),
}


def accepted(annotation: str) -> tuple[type, ...] | None:
    """Types that values of a parameter may have; None when its annotation does not say (only some
    do).
    """
    found: list[type] = []
    for one in annotation.split(" | "):
        if one.split("[")[0] not in _ACCEPTS:
            return None
        found += _ACCEPTS[one.split("[")[0]]
    return tuple(found)


def fits(value: Any, annotation: str) -> bool:
    """Whether a parameter so annotated may have the value; true and false are no numbers."""
    types = accepted(annotation)
    return types is None or (
        isinstance(value, types) and (bool in types or not isinstance(value, bool))
    )


def check_parameters(family: str, name: str, given: dict[str, Any], key: str) -> None:
    """Raises InputError naming `key.parameter` for an unknown parameter or a value of the wrong
    type.
    """
    known = parameters(family, name)
    for parameter, value in given.items():
        where = f"{key}.{parameter}"
        if parameter not in known:
            raise InputError(
                f"{where}: found an unknown key; {family} {name!r}: {nearest(parameter, known)}"
            )
        if not fits(value, known[parameter]):
            raise InputError(f"{where}: found {value!r}; allowed is {known[parameter]}")


def load(folder: str, name: str) -> ModuleType:
    """Import the module of `name` in a dotted folder. Raises InputError for what a plugin's file
    raises meanwhile.
    """
    root, path = find(folder, name)
    if root is PACKAGE:
        return importlib.import_module(module(folder, name))
    if root.module not in sys.modules:
        package = ModuleType(root.module)
        package.__path__ = [str(root.path.resolve())]
        sys.modules[root.module] = package
        importlib.invalidate_caches()
    # kept bytecode is told from changed source by size and second only, and litters somebody's
    # folder
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return importlib.import_module(module(folder, name))
    except Exception as error:
        raise InputError(f"{path}: importing it raised {told(error, root)}") from error
    finally:
        sys.dont_write_bytecode = kept


def told(error: Exception, root: Root) -> str:
    """An exception in one line, with the last place in the tree's files that it went through."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    folder = root.path.resolve()
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).is_relative_to(folder):
            return (
                f"{text} ({root.path / Path(frame.filename).relative_to(folder)}, line"
                f" {frame.lineno})"
            )
    return text


def part(family: str, name: str) -> Any:
    """The class of a part. Raises InputError for a plugin's that is not as its family's are."""
    found = getattr(load(FAMILIES[family], name), class_name(name), None)
    if from_plugin(FAMILIES[family], name):
        from hsac.plugins import check_class

        check_class(family, name, found)
    return found


def build(family: str, name: str, given: dict[str, Any], key: str = "", **filled: Any) -> Any:
    """The part `name` with the parameters `given` by a configuration and those `filled` in by the
    caller.

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
    """For a part's `__post_init__`: raises InputError naming the parameter, what was found and what
    is allowed.
    """
    if not ok:
        raise InputError(f"{parameter}: found {found!r}; allowed is {allowed}")
