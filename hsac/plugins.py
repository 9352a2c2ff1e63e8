"""Parts from outside the package: `plugins: [folder, …]` in a configuration.

A plugin folder is laid out like the package: `rules/curvature/mine.py` defines the curvature rule
`mine`, as the package's own files define theirs, and `data/sources/mine.py` the dataset `mine`.
Files whose names begin with `_` are helpers, imported by `from ._helper import …`. What an author
gets wrong is said in one line: all that the syntax tree shows when the configuration is read, the
rest when the part is first imported.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

from hsac import parts
from hsac.data import catalogue
from hsac.errors import InputError
from hsac.files import digest, file_sha256
from hsac.parts import FAMILIES, Root

Loose = tuple[str, ...] | None


@dataclass(frozen=True)
class Interface:
    """What a family's classes have: methods with their arguments (without self; None: any), class
    attributes; what they may have; and the fields, without default, that the caller fills in (None:
    any, a configuration must give them).
    """

    methods: dict[str, Loose]
    attributes: tuple[str, ...] = ()
    optional: tuple[tuple[str, Loose], ...] = ()
    filled: Loose = ()


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
        optional=(("init", ("runs",)), ("observe", ("state", "logits")), ("adjust", ("logits",))),
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
}
FOLDERS = {**FAMILIES, "dataset": catalogue.FOLDER}
NAME = re.compile(r"[a-z][a-z0-9_]*")


@contextmanager
def using(folders: Iterable[str | Path], key: str = "plugins") -> Iterator[None]:
    """Inside the block the parts of these plugin folders are known beside the package's.

    Raises InputError, naming `key` or the file, for a folder that is missing or holds no part, for
    a part that is not as its family's are, and for a name that the package or another plugin has.
    """
    found = [_root(Path(folder), key) for folder in dict.fromkeys(map(str, folders))]
    for root in found:
        for family, path in _parts(root):
            _check(family, path)
    _check_distinct((parts.PACKAGE, *found))
    with parts.rooted(found):
        catalogue.names()  # reads every plugin's entry
        yield


def _root(folder: Path, key: str) -> Root:
    if not folder.is_dir():
        raise InputError(
            f"{key}: found {str(folder)!r}, which is no folder; allowed is a folder of plugins"
        )
    where = [f"{path.replace('.', '/')}/" for path in FOLDERS.values()]
    root = Root("", folder)
    paths = [path for _, path in _parts(root, helpers=True)]
    if not any(_parts(root)):
        raise InputError(
            f"{key}: found no part in {folder}; parts are files in {', '.join(where)} of a plugin"
            " folder"
        )
    stamp = digest([str(folder.resolve()), *(f"{path} {file_sha256(path)}" for path in paths)])
    return Root(f"hsac_plugin_{stamp}", folder)


def _parts(root: Root, helpers: bool = False) -> Iterator[tuple[str, Path]]:
    """Family and file of each part of a plugin folder."""
    for family, folder in FOLDERS.items():
        for path in sorted(root.path.joinpath(*folder.split(".")).glob("*.py")):
            if helpers or not path.name.startswith("_"):
                yield family, path


def _check_distinct(roots: Iterable[Root]) -> None:
    seen: dict[tuple[str, str], Path] = {}
    for root in roots:
        for family, path in _parts(root):
            other = seen.setdefault((family, path.stem), path)
            if other != path:
                raise InputError(
                    f"{path}: found the name {path.stem!r}, which {other} has; allowed is one of"
                    " its own"
                )


def _check(family: str, path: Path) -> None:
    """Raises InputError naming the file unless its syntax tree is that of a part of the family."""
    if not NAME.fullmatch(path.stem):
        raise InputError(
            f"{path}: found the file name {path.stem!r}; allowed are lower case letters, digits"
            " and _"
        )
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise InputError(
            f"{path}: line {error.lineno}: {type(error).__name__}: {error.msg}"
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: no Python source: {error}") from None
    if family == "dataset":
        return  # the catalogue's to read
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
    _check_fields(node, where, INTERFACES[family], family)
    _check_members(node, where, INTERFACES[family], family)


def _is_frozen(decorator: ast.expr) -> bool:
    if not (
        isinstance(decorator, ast.Call)
        and ast.unparse(decorator.func).split(".")[-1] == "dataclass"
    ):
        return False
    return any(
        k.arg == "frozen" and isinstance(k.value, ast.Constant) and k.value.value
        for k in decorator.keywords
    )


def _check_fields(node: ast.ClassDef, where: str, interface: Interface, family: str) -> None:
    for item in parts.fields_of(node):
        name, annotation = item.target.id, ast.unparse(item.annotation)
        if item.value is None:
            if interface.filled is not None and name not in interface.filled:
                given = (
                    f"; filled in by the caller are {', '.join(interface.filled)}"
                    if interface.filled
                    else ""
                )
                raise InputError(
                    f"{where}: found {name} without a default; a parameter has one{given}"
                )
            continue
        types = parts.accepted(annotation)
        if types is None:
            known = "bool, int, float, str, tuple[...], dict[...] and these with | None"
            raise InputError(
                f"{where}: {name}: found the annotation {annotation}; allowed are {known}"
            )
        try:
            value = ast.literal_eval(item.value)
        except ValueError:
            continue  # an expression: dataclasses.field, a name
        if value is not None and not parts.fits(value, annotation):
            raise InputError(
                f"{where}: {name}: found the default {value!r}; allowed is {annotation}"
            )
    for item in node.body:
        if isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant):
            for target in item.targets:
                name = ast.unparse(target)
                if name not in interface.attributes and name.islower() and not name.startswith("_"):
                    raise InputError(
                        f"{where}: found {name} without a type, so no parameter; allowed is"
                        f" {ast.unparse(target)}: {type(item.value.value).__name__} ="
                        f" {item.value.value!r}, or ClassVar for a constant"
                    )


def _check_members(node: ast.ClassDef, where: str, interface: Interface, family: str) -> None:
    methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
    others = {
        ast.unparse(t) for item in node.body if isinstance(item, ast.Assign) for t in item.targets
    }
    others |= {ast.unparse(item.target) for item in node.body if isinstance(item, ast.AnnAssign)}
    if not node.bases:  # else they may be inherited: seen when it is imported
        _check_present({*methods, *others}, where, interface, family)
    for name, arguments in (*interface.methods.items(), *interface.optional):
        if name not in methods or arguments is None:
            continue
        given = methods[name].args
        positional = [argument.arg for argument in (*given.posonlyargs, *given.args)][1:]
        least = len(positional) - len(given.defaults)
        if not (least <= len(arguments) and (given.vararg or len(positional) >= len(arguments))):
            raise InputError(
                f"{where}: {name}: found the arguments ({', '.join(positional)}) after self; "
                f"allowed are ({', '.join(arguments)})"
            )


def _check_present(found: Iterable[str], where: str, interface: Interface, family: str) -> None:
    missing = [name for name in (*interface.methods, *interface.attributes) if name not in found]
    if missing:
        arguments = interface.methods.get(missing[0])
        what = f"{missing[0]}(self, {', '.join(arguments)})" if arguments else missing[0]
        raise InputError(f"{where}: found no {what}; a {family} has one")


def check_class(family: str, name: str, made: Any) -> None:
    """Raises InputError naming the file unless the imported class is a frozen dataclass with all
    that its family's have, inherited or its own.
    """
    where = f"{parts.file(family, name)}: class {parts.class_name(name)}"
    if not (isinstance(made, type) and is_dataclass(made) and made.__dataclass_params__.frozen):  # type: ignore[attr-defined]
        raise InputError(f"{where}: found no frozen dataclass; a {family} is one")
    _check_present(dir(made), where, INTERFACES[family], family)


def check_imports() -> None:
    """Import every part of the plugin folders in use. Raises InputError for the first that cannot
    be.
    """
    for root in parts.roots()[1:]:
        for family, path in _parts(root):
            if family == "dataset":
                parts.load(FOLDERS[family], path.stem)
            else:
                parts.part(family, path.stem)


def folders(settings: dict[str, Any]) -> list[str]:
    """The plugin folders of resolved settings; those of an older version have none."""
    return settings.get("plugins", [])
