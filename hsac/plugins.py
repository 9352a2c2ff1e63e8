"""Take parts from outside the package: `plugins: [folder, …]` in a configuration.

A plugin folder is laid out like the package. `rules/curvature/mine.py` defines the curvature rule
`mine`, as the package's own files define theirs, and `data/sources/mine.py` the dataset `mine`.
Files whose names begin with `_` are helpers, imported by `from ._helper import …`. An author's
mistakes are reported in one line: all that the syntax tree shows when the configuration is read,
the rest when the part is first imported.
"""

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

from hsac import parts
from hsac.data import catalogue
from hsac.errors import InputError
from hsac.files import digest, file_sha256
from hsac.parts import FAMILIES, Root

# Names of arguments or fields; None where any will do.
Names = tuple[str, ...] | None


@dataclass(frozen=True)
class Interface:
    """An interface: what the classes of a family have.

    Attributes:
        methods: name -> arguments without self.
        attributes: class attributes that there must be.
        optional: methods that there may be, each with its arguments.
        filled: fields without default, which the caller fills in. None allows any; a configuration
            must then give them.
    """

    methods: dict[str, Names]
    attributes: tuple[str, ...] = ()
    optional: tuple[tuple[str, Names], ...] = ()
    filled: Names = ()


INTERFACES = {
    "weight rule": Interface(
        {"init": ("w",), "update": ("w", "state", "gradient", "rate")}, filled=("points",)
    ),
    "curvature rule": Interface(
        {"init": ("theta",), "update": ("theta", "state", "step")}, ("geometry", "needs_gradient")
    ),
    "solver": Interface(
        {"solve": ("hessian", "v", "state")}, optional=(("track", ("hessian", "state")),)
    ),
    "model": Interface(
        {"init": ("generator",), "embed": ("params", "c", "x"), "forward": ("params", "c", "x")},
        ("curvature_names", "vmapped", "dtype"),
        (("classify", ("params", "c", "u")),),
        ("inputs", "classes", "way", "shot", "space"),
    ),
    "head": Interface(
        {"init": ("generator",), "forward": ("params", "c", "u")},
        ("curved", "vmapped", "points"),
        filled=("dim", "classes"),
    ),
    "loss": Interface(
        {"__call__": ("logits", "labels", "state", "progress")},
        optional=(
            *(("init", ("runs",)), ("observe", ("state", "logits")), ("adjust", ("logits",))),
            *(("start", ("like",)), ("learn", ("state", "slope"))),
        ),
        filled=("training",),
    ),
    "noise kind": Interface(
        {"corrupt": ("arrays", "rows", "stream", "common")}, ("words", "exact"), filled=None
    ),
    "problem": Interface(
        {"lower": ("w", "theta"), "upper": ("w", "theta"), "solve": ("theta",)},
        attributes=("start", "initial"),
    ),
    "study": Interface({"rows": ("progress",)}),
    "metric": Interface({"measure": ("record",)}, ("heading", "format")),
}
FOLDERS = {**FAMILIES, "figure": "figures", "dataset": catalogue.FOLDER}
# What the function `draw` of a figure may ask for, see `hsac.report.figures.write_figures`.
DRAWN = ("runs", "trajectories", "root", "order", "references")
NAME = re.compile(r"[a-z][a-z0-9_]*")


@contextmanager
def using(folders: Iterable[str | Path], key: str = "plugins") -> Iterator[None]:
    """Know, inside of the block, the parts of these plugin folders beside the package's.

    Args:
        folders: plugin folders, instead of those that were in use.
        key: key of the configuration that names them, for the error line.

    Raises:
        InputError: A folder is missing or holds no part, a part is not as those of its family are,
            or the package or another plugin has a part of its name.
    """
    # A folder that is named twice counts once.
    found = [_root(Path(folder), key) for folder in dict.fromkeys(map(str, folders))]
    for root in found:
        for family, path in _parts(root):
            _check(family, path)
    _check_distinct((parts.PACKAGE, *found))
    with parts.rooted(found):
        catalogue.names()  # reads, and so checks, every plugin's entry
        yield


def _root(folder: Path, key: str) -> Root:
    """Make a plugin folder a tree of parts, with a module name that tells its files' content."""
    if not folder.is_dir():
        allowed = "allowed is a folder of plugins"
        raise InputError(f"{key}: found {str(folder)!r}, which is no folder; {allowed}")
    # Its files must be listed before there is a name, which is made of them.
    unnamed = Root("", folder)
    if not any(_parts(unnamed)):
        where = ", ".join(f"{path.replace('.', '/')}/" for path in FOLDERS.values())
        raise InputError(
            f"{key}: found no part in {folder}; parts are files in {where} of a plugin folder"
        )
    paths = [path for _, path in _parts(unnamed, helpers=True)]
    files = [f"{path} {file_sha256(path)}" for path in paths]
    return Root(f"hsac_plugin_{digest([str(folder.resolve()), *files])}", folder, check_class)


def _parts(root: Root, helpers: bool = False) -> Iterator[tuple[str, Path]]:
    """Yield family and file of each part of a plugin folder, and of each helper if wanted."""
    for family, folder in FOLDERS.items():
        for path in sorted(root.path.joinpath(*folder.split(".")).glob("*.py")):
            if helpers or not path.name.startswith("_"):
                yield family, path


def _check_distinct(roots: Iterable[Root]) -> None:
    """Raise InputError where two trees have a part of one family and name."""
    seen: dict[tuple[str, str], Path] = {}
    for root in roots:
        for family, path in _parts(root):
            other = seen.setdefault((family, path.stem), path)
            if other != path:
                raise InputError(
                    f"{path}: found the name {path.stem!r}, which {other} has;"
                    " allowed is one of its own"
                )


def _check(family: str, path: Path) -> None:
    """Raise InputError, naming the file, unless its syntax tree is that of a part of the family."""
    if not NAME.fullmatch(path.stem):
        allowed = "allowed are lower case letters, digits and _"
        raise InputError(f"{path}: found the file name {path.stem!r}; {allowed}")
    tree = _parsed(path)
    if family == "dataset":
        return  # the catalogue checks these
    if family == "figure":
        _check_figure(tree, path)
        return
    node, wanted = parts.class_of(path), parts.class_name(path.stem)
    if node is None:
        classes = [item.name for item in tree.body if isinstance(item, ast.ClassDef)]
        found = f"class {', '.join(classes)}" if classes else "no class"
        raise InputError(f"{path}: found {found}; allowed is class {wanted}, named after the file")
    where = f"{path}: class {wanted}"
    if not any(_is_frozen(one) for one in node.decorator_list):
        raise InputError(
            f"{where}: found no @dataclass(frozen=True) above it; a {family} is a frozen dataclass"
        )
    interface = INTERFACES[family]
    for item in parts.fields_of(node):
        _check_field(item, where, interface)
    for item in node.body:
        if isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant):
            _check_assigned(item, item.value.value, where, interface)
    _check_members(node, where, interface, family)


def _check_figure(tree: ast.Module, path: Path) -> None:
    """Check that a figure has a name of its own, a caption, and `draw` with known arguments."""
    own = parts.PACKAGE.path / "report" / "figures" / path.name
    if own.is_file():
        raise InputError(
            f"{path}: found the name {path.stem!r}, which {own} has; allowed is one of its own"
        )
    functions = {item.name: item for item in tree.body if isinstance(item, ast.FunctionDef)}
    if "draw" not in functions:
        raise InputError(f"{path}: found no function draw; a figure has one")
    given = functions["draw"].args
    unknown = [argument.arg for argument in given.args if argument.arg not in DRAWN]
    if unknown:
        found = f"draw: found the argument {unknown[0]!r}"
        raise InputError(f"{path}: {found}; allowed are {', '.join(DRAWN)}")
    captions = {
        target.id: item.value
        for item in tree.body
        if isinstance(item, ast.Assign)
        for target in item.targets
        if isinstance(target, ast.Name)
    }
    caption = captions.get("CAPTION")
    if not (isinstance(caption, ast.Constant) and isinstance(caption.value, str)):
        raise InputError(f'{path}: found no CAPTION = "…"; a figure has one')


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        said = f"line {error.lineno}: {type(error).__name__}: {error.msg}"
        raise InputError(f"{path}: {said}") from None
    except ValueError as error:
        raise InputError(f"{path}: no Python source: {error}") from None


def _is_frozen(decorator: ast.expr) -> bool:
    """Tell whether a decorator is `@dataclass(frozen=True)`."""
    if not isinstance(decorator, ast.Call):
        return False
    if ast.unparse(decorator.func).split(".")[-1] != "dataclass":
        return False
    return any(
        k.arg == "frozen" and isinstance(k.value, ast.Constant) and k.value.value
        for k in decorator.keywords
    )


def _check_field(item: ast.AnnAssign, where: str, interface: Interface) -> None:
    """Check one field of a class: its annotation, and its default or that the caller fills it."""
    name, annotation = ast.unparse(item.target), ast.unparse(item.annotation)
    if item.value is None:
        if interface.filled is None or name in interface.filled:
            return
        known = ", ".join(interface.filled)
        given = f"; filled in by the caller are {known}" if known else ""
        raise InputError(f"{where}: found {name} without a default; a parameter has one{given}")
    if parts.accepted(annotation) is None:
        known = "bool, int, float, str, tuple[...], dict[...] and these with | None"
        raise InputError(f"{where}: {name}: found the annotation {annotation}; allowed are {known}")
    try:
        value = ast.literal_eval(item.value)
    except ValueError:
        return  # an expression: dataclasses.field, a name
    if value is not None and not parts.fits(value, annotation):
        raise InputError(f"{where}: {name}: found the default {value!r}; allowed is {annotation}")


def _check_assigned(item: ast.Assign, value: Any, where: str, interface: Interface) -> None:
    """Refuse `rate = 0.1`, which makes no field, so that a configuration could not set it."""
    for name in map(ast.unparse, item.targets):
        # Names in capitals or with _ are the author's constants.
        if name in interface.attributes or not name.islower() or name.startswith("_"):
            continue
        raise InputError(
            f"{where}: found {name} without a type, so no parameter; allowed is"
            f" {name}: {type(value).__name__} = {value!r}, or ClassVar for a constant"
        )


def _check_members(node: ast.ClassDef, where: str, interface: Interface, family: str) -> None:
    """Check that a class has what its family's have, each method with its arguments."""
    methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
    # what a base class has is seen only when it is imported
    if not node.bases:
        _check_present({*methods, *_assigned(node)}, where, interface, family)
    for name, arguments in (*interface.methods.items(), *interface.optional):
        if name in methods and arguments is not None:
            _check_arguments(methods[name], f"{where}: {name}", arguments)


def _assigned(node: ast.ClassDef) -> Iterator[str]:
    """Yield the names that a class assigns to, annotated or not."""
    for item in node.body:
        if isinstance(item, ast.Assign):
            yield from map(ast.unparse, item.targets)
        elif isinstance(item, ast.AnnAssign):
            yield ast.unparse(item.target)


def _check_arguments(method: ast.FunctionDef, where: str, arguments: tuple[str, ...]) -> None:
    """Check that a method can be called with so many arguments; their names are its own affair."""
    given = method.args
    # Without self.
    positional = [argument.arg for argument in (*given.posonlyargs, *given.args)][1:]
    least = len(positional) - len(given.defaults)
    enough = given.vararg or len(positional) >= len(arguments)
    if least > len(arguments) or not enough:
        raise InputError(
            f"{where}: found the arguments ({', '.join(positional)}) after self;"
            f" allowed are ({', '.join(arguments)})"
        )


def _check_present(found: Collection[str], where: str, interface: Interface, family: str) -> None:
    """Check that all methods and attributes of an interface are there."""
    missing = [name for name in (*interface.methods, *interface.attributes) if name not in found]
    if missing:
        arguments = interface.methods.get(missing[0])
        what = f"{missing[0]}(self, {', '.join(arguments)})" if arguments else missing[0]
        raise InputError(f"{where}: found no {what}; a {family} has one")


def check_class(family: str, name: str, made: Any) -> None:
    """Check the imported class of a plugin's part.

    Args:
        family: a key of `FAMILIES`.
        name: the part's name.
        made: the class, or whatever the file has under the class's name.

    Raises:
        InputError: It is no frozen dataclass, or lacks what its family's classes have, inherited
            or its own.
    """
    where = f"{parts.file(family, name)}: class {parts.class_name(name)}"
    if not (isinstance(made, type) and is_dataclass(made) and made.__dataclass_params__.frozen):  # type: ignore[attr-defined]
        raise InputError(f"{where}: found no frozen dataclass; a {family} is one")
    _check_present(dir(made), where, INTERFACES[family], family)


def check_imports() -> None:
    """Import every part of the plugin folders in use.

    Raises:
        InputError: A part cannot be imported. Only the first one is reported.
    """
    for root in parts.roots()[1:]:
        for family, path in _parts(root):
            if family in FAMILIES:
                parts.part(family, path.stem)
            else:
                parts.load(FOLDERS[family], path.stem)


def names(family: str) -> list[str]:
    """List the parts of a family that plugin folders in use have.

    Args:
        family: a key of `FOLDERS`.

    Returns:
        Their names, sorted.
    """
    return sorted(
        path.stem for root in parts.roots()[1:] for kind, path in _parts(root) if kind == family
    )


def modules(family: str) -> list[str]:
    """List the modules of a family's parts in the plugin folders in use, for fingerprints.

    Args:
        family: a key of `FOLDERS`.

    Returns:
        The names that they are imported under.
    """
    return [parts.module(FOLDERS[family], name) for name in names(family)]


def folders(settings: Mapping[str, Any]) -> list[str]:
    """Read the plugin folders of resolved settings.

    Args:
        settings: a resolved study.

    Returns:
        Paths. A study that an older version wrote has no such key, and so none.
    """
    return settings.get("plugins", [])
