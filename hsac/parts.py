"""Find parts by their file, and build them.

`hsac/rules/curvature/drift.py` defines `Drift`, which is known everywhere as `drift`. A family is a
folder of modules, one part each, in the package and in each plugin folder in use (`hsac.plugins`).
The class is named after the file in camel case. It is a frozen dataclass whose fields are the
part's parameters. A configuration can therefore be checked without importing torch: names come from
the folder, parameters from the syntax tree.
"""

import ast
import difflib
import importlib
import json
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from pydantic import TypeAdapter

from hsac.errors import InputError

# Family -> dotted folder of its parts, below `hsac/` and below each plugin folder.
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
    "metric": "metrics",  # of plugins alone: the package's own are declared in hsac.report.columns
}
# An error line lists at most so many names.
LISTED = 100
LONGEST = 200  # characters of a name that has a nearest: comparing longer ones takes long

Check = Callable[[str, str, Any], None]


@dataclass(frozen=True)
class Root:
    """A tree of families: the package, or a plugin folder.

    Attributes:
        module: name that the tree's files are imported under. That of a plugin folder changes with
            its content, so nothing that is cached by it is ever of an older file.
        path: the folder.
        check: called with family, name and class of each part of the tree when it is first built.
            It raises InputError for a class that its family does not take. Without it, as for the
            package, nothing is checked.
    """

    module: str
    path: Path
    check: Check | None = None


PACKAGE = Root("hsac", Path(__file__).parent)
_roots: tuple[Root, ...] = (PACKAGE,)


@contextmanager
def rooted(plugins: Iterable[Root]) -> Iterator[None]:
    """Find parts, inside of the block, in the package and in these plugin folders only.

    Args:
        plugins: plugin folders, instead of those that were in use.
    """
    global _roots
    before, _roots = _roots, (PACKAGE, *plugins)
    try:
        yield
    finally:
        _roots = before


def roots() -> tuple[Root, ...]:
    """List the trees in use.

    Returns:
        The package, then the plugin folders.
    """
    return _roots


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Compose the end of an error line: what is allowed, and the closest spelling if there is one.

    Args:
        name: what was found, of a configuration perhaps no text.
        allowed: the names that are allowed.

    Returns:
        "allowed are a, b (did you mean 'a'?)", without the names where there are too many.
    """
    allowed = sorted(allowed)
    close = difflib.get_close_matches(str(name)[:LONGEST], allowed, n=1, cutoff=0.5)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    listed = ", ".join(allowed) if len(allowed) <= LISTED else f"{len(allowed)} names"
    return f"allowed are {listed}{hint}"


def plural(family: str) -> str:
    """Form the plural of a family's name.

    Args:
        family: a key of `FAMILIES`.

    Returns:
        For example `weight rules`, `studies`, `losses`.
    """
    return f"{family}es" if family.endswith("s") else f"{family}s".replace("ys", "ies")


def find(folder: str, name: str) -> tuple[Root, Path]:
    """Find the file of a part.

    Args:
        folder: dotted folder, such as `rules.curvature`.
        name: the part's name.

    Returns:
        The tree that has it and the file: a plugin folder, or else the package, whether or not the
        package has such a file.
    """
    for root in _roots[1:]:
        path = _path(root, folder, name)
        if path.is_file():
            return root, path
    return PACKAGE, _path(PACKAGE, folder, name)


def _path(root: Root, folder: str, name: str) -> Path:
    return root.path.joinpath(*folder.split("."), f"{name}.py")


def file(family: str, name: str) -> Path:
    """Find the file of a part by its family.

    Args:
        family: a key of `FAMILIES`.
        name: the part's name.

    Returns:
        The file, which need not be there.
    """
    return find(FAMILIES[family], name)[1]


def module(folder: str, name: str) -> str:
    """Compose the name that the file of a part is imported under.

    Args:
        folder: dotted folder, such as `rules.curvature`.
        name: the part's name.

    Returns:
        For example `hsac.rules.curvature.drift`.
    """
    return f"{find(folder, name)[0].module}.{folder}.{name}"


def from_plugin(folder: str, name: str) -> bool:
    """Tell whether a part is a plugin's.

    Args:
        folder: dotted folder, such as `rules.curvature`.
        name: the part's name.

    Returns:
        True when a plugin folder in use has it.
    """
    return find(folder, name)[0] is not PACKAGE


def names(family: str) -> tuple[str, ...]:
    """List the parts of a family, those of the plugin folders in use included.

    Args:
        family: a key of `FAMILIES`.

    Returns:
        Names, sorted. A module without the class that its file name asks for is a helper, no part.
    """
    return tuple(sorted(name for root in _roots for name in _names(FAMILIES[family], root)))


@cache
def _names(folder: str, root: Root) -> tuple[str, ...]:
    paths = root.path.joinpath(*folder.split(".")).glob("*.py")
    return tuple(path.stem for path in paths if class_of(path) is not None)


def class_name(name: str) -> str:
    """Compose the name of a part's class.

    Args:
        name: the part's name, such as `poincare_mlr`.

    Returns:
        The name in camel case, such as `PoincareMlr`.
    """
    return "".join(word.capitalize() for word in name.split("_"))


def class_of(path: Path) -> ast.ClassDef | None:
    """Find the class that a file's part is, in the syntax tree.

    Args:
        path: the part's file.

    Returns:
        None where the file defines no class of that name.
    """
    wanted = class_name(path.stem)
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.ClassDef) and node.name == wanted:
            return node
    return None


def check_name(family: str, name: str, key: str) -> None:
    """Check that a family has a part of a name.

    Args:
        family: a key of `FAMILIES`.
        name: the part's name.
        key: key of the configuration that gives the name, for the error line.

    Raises:
        InputError: There is no such part.
    """
    known = names(family)
    if name not in known:
        allowed = f"{plural(family)} {nearest(name, known)}"
        raise InputError(f"{key}: found {name!r}; {allowed}{_astray(family, name)}")


def _astray(family: str, name: str) -> str:
    """Describe a plugin's file of that name which lies in another folder than the family's."""
    patterns = [f"{depth}{name}.py" for depth in ("", "*/", "*/*/")]
    places = [path for root in _roots[1:] for each in patterns for path in root.path.glob(each)]
    if not places:
        return ""
    folder = FAMILIES[family].replace(".", "/")
    return f"; {places[0]} lies in no folder of {plural(family)}, which is {folder}/"


def parameters(family: str, name: str) -> dict[str, str]:
    """Read the parameters of a part from its source.

    Args:
        family: a key of `FAMILIES`.
        name: the part's name.

    Returns:
        Parameter -> annotation. Fields without a default are no parameters: the caller fills them.
    """
    fields = _fields(family, name).items()
    return {field: annotation for field, (annotation, has_default) in fields if has_default}


def filled(family: str, name: str) -> dict[str, str]:
    """Read from a part's source the fields that the caller fills in from the data.

    Args:
        family: a key of `FAMILIES`.
        name: the part's name.

    Returns:
        Field -> annotation.
    """
    fields = _fields(family, name).items()
    return {field: annotation for field, (annotation, has_default) in fields if not has_default}


def _lineage(family: str, name: str) -> Iterator[tuple[Root, Path]]:
    """Yield the file of a part, after those of the parts that its class derives from."""
    root, path = find(FAMILIES[family], name)
    for base in _read_bases(root, path):
        for other in names(family):
            if class_name(other) == base and other != name:
                yield from _lineage(family, other)
    yield root, path


@cache
def _read_bases(root: Root, path: Path) -> tuple[str, ...]:
    node = class_of(path)
    bases = node.bases if node else []
    return tuple(base.id for base in bases if isinstance(base, ast.Name))


def _fields(family: str, name: str) -> dict[str, tuple[str, bool]]:
    """Return field -> annotation and whether it has a default."""
    found: dict[str, tuple[str, bool]] = {}
    for root, path in _lineage(family, name):
        found |= _read_fields(root, path)
    return found


@cache
def _read_fields(root: Root, path: Path) -> dict[str, tuple[str, bool]]:
    # The root is an argument so that the cache forgets a plugin's file that was changed.
    node = class_of(path)
    assert node is not None
    return {
        item.target.id: (ast.unparse(item.annotation), item.value is not None)
        for item in fields_of(node)
    }


def fields_of(node: ast.ClassDef) -> Iterator[Any]:
    """Yield the statements of a class that make a dataclass's fields.

    Args:
        node: the class.

    Yields:
        `ast.AnnAssign` whose target is an `ast.Name`.
    """
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        if not ast.unparse(item.annotation).startswith(("ClassVar", "typing.ClassVar")):
            yield item


def marked(family: str, name: str, mark: str) -> bool:
    """Tell whether a part's class says `mark: ClassVar[bool] = True`.

    Args:
        family: a key of `FAMILIES`.
        name: the part's name.
        mark: name of the class variable.

    Returns:
        False where it says anything else, or nothing.
    """
    return constant(family, name, mark) is True


def constant(family: str, name: str, variable: str) -> Any:
    """Read a class variable of a part without importing it.

    Args:
        family: a key of `FAMILIES`.
        name: the part's name.
        variable: the class variable, as in `geometry: ClassVar[str] = "euclidean"`.

    Returns:
        Its value, None where the class has none or computes it. Of a field it is the default.
    """
    found: dict[str, Any] = {}
    for root, path in _lineage(family, name):
        found |= _constants(root, path)
    return found.get(variable)


@cache
def _constants(root: Root, path: Path) -> dict[str, Any]:
    node = class_of(path)
    found = {}
    for item in node.body if node else ():
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value:
            # What is computed is no literal.
            with suppress(ValueError):
                found[item.target.id] = ast.literal_eval(item.value)
    return found


def summary(family: str, name: str) -> str:
    """Read what a part is in its docstring.

    Args:
        family: a key of `FAMILIES`.
        name: the part's name.

    Returns:
        The first paragraph as one line.
    """
    node = class_of(file(family, name))
    text = (node and ast.get_docstring(node)) or ""
    return " ".join(text.split("\n\n")[0].split())


_NAMES: dict[str, Any] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "dict": dict,
    "list": list,
    "tuple": tuple,
    "Mapping": Mapping,
    "Literal": Literal,
    "Any": Any,
}
# What an annotation of these names is written with: `dict[str, tuple[int, ...]] | None`.
_TYPE_NODES = (
    *(ast.Expression, ast.Name, ast.Load, ast.Constant),
    *(ast.Subscript, ast.Tuple, ast.BinOp, ast.BitOr, ast.UnaryOp, ast.USub),
)


@cache
def accepted(annotation: str) -> TypeAdapter[Any] | None:
    """Return what validates the values of a parameter.

    Args:
        annotation: source of the parameter's annotation.

    Returns:
        None for an annotation that is not understood, which takes any value.
    """
    try:
        # The file is not imported for it, so only these names are known, and nothing may run.
        tree = ast.parse(annotation, mode="eval")
        if not all(isinstance(node, _TYPE_NODES) for node in ast.walk(tree)):
            return None
        meant = eval(compile(tree, "annotation", "eval"), {"__builtins__": {}}, _NAMES)
        return TypeAdapter(meant)
    except Exception:  # whatever an author's text makes of it
        return None


def fits(value: Any, annotation: str) -> bool:
    """Tell whether a parameter may have a value.

    Args:
        value: what the configuration gives.
        annotation: source of the parameter's annotation.

    Returns:
        True also for an annotation that is not understood.
    """
    adapter = accepted(annotation)
    if adapter is None:
        return True
    try:
        # strict JSON: a list is a tuple, an int a float, but true is no number and "3" neither
        adapter.validate_json(json.dumps(value), strict=True)
    except (TypeError, ValueError):
        return False
    return True


def check_parameters(family: str, name: str, given: Mapping[str, Any], key: str) -> None:
    """Check that a part takes the parameters that a configuration gives.

    Args:
        family: a key of `FAMILIES`.
        name: the part's name.
        given: value by parameter.
        key: key of the configuration that has the parameters, for the error line.

    Raises:
        InputError: A parameter is unknown, or its value has the wrong type.
    """
    known = parameters(family, name)
    for parameter, value in given.items():
        where = f"{key}.{parameter}"
        if parameter not in known:
            allowed = f"{family} {name!r}: {nearest(parameter, known)}"
            raise InputError(f"{where}: found an unknown key; {allowed}")
        if not fits(value, known[parameter]):
            raise InputError(f"{where}: found {value!r}; allowed is {known[parameter]}")


def load(folder: str, name: str) -> ModuleType:
    """Import the module of a part.

    Args:
        folder: dotted folder, such as `rules.curvature`.
        name: the part's name.

    Returns:
        The module. Importing it again takes no time.

    Raises:
        InputError: The file is a plugin's and raised an exception when it was imported.
    """
    root, path = find(folder, name)
    if root is PACKAGE:
        return importlib.import_module(module(folder, name))
    if root.module not in sys.modules:
        package = ModuleType(root.module)
        # A package with this path alone lets a plugin's files import each other by `from .`.
        package.__path__ = [str(root.path.resolve())]
        sys.modules[root.module] = package
        # The folder may be newer than what the import system remembers of it.
        importlib.invalidate_caches()
    # Python tells stale bytecode by size and second only, and would leave it in the user's folder.
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return importlib.import_module(module(folder, name))
    except Exception as error:
        raise InputError(f"{path}: importing it raised {exception_line(error, root)}") from error
    finally:
        sys.dont_write_bytecode = kept


def exception_line(error: Exception, root: Root) -> str:
    """Describe an exception in one line.

    Args:
        error: the exception.
        root: the tree whose author has to fix it.

    Returns:
        Type and message, with the last place in the tree's files that the exception went through.
    """
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    folder = root.path.resolve()
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).is_relative_to(folder):
            path = root.path / Path(frame.filename).relative_to(folder)
            return f"{text} ({path}, line {frame.lineno})"
    return text


def part(family: str, name: str) -> Any:
    """Import the class of a part.

    Args:
        family: a key of `FAMILIES`.
        name: the part's name.

    Returns:
        The class.

    Raises:
        InputError: The class is a plugin's and not as those of its family are.
    """
    folder = FAMILIES[family]
    found = getattr(load(folder, name), class_name(name), None)
    check = find(folder, name)[0].check
    if check:
        check(family, name, found)
    return found


def build(family: str, name: str, given: Mapping[str, Any], key: str = "", **filled: Any) -> Any:
    """Build a part.

    Args:
        family: a key of `FAMILIES`.
        name: the part's name.
        given: parameters from a configuration; a list becomes a tuple.
        key: key of the configuration that has the parameters, for the error line; the part's name
            when left out.
        **filled: fields that the caller fills in.

    Returns:
        The part.

    Raises:
        InputError: The part does not take the name, a parameter or a value.
    """
    key = key or name
    check_name(family, name, key)
    check_parameters(family, name, given, key)
    # YAML has lists only, while the fields of parts are tuples.
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    try:
        return part(family, name)(**values, **filled)
    except InputError as error:
        # `require` names the parameter, but only here it is known whose it is.
        raise InputError(f"{key}.{error}") from None


def require(ok: bool, parameter: str, found: Any, allowed: str) -> None:
    """Check a parameter in a part's `__post_init__`.

    Args:
        ok: whether the value is allowed.
        parameter: the parameter's name, for the error line.
        found: its value.
        allowed: what is allowed, in words.

    Raises:
        InputError: The value is not allowed.
    """
    if not ok:
        raise InputError(f"{parameter}: found {found!r}; allowed is {allowed}")
