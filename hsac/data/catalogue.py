"""What the catalogue says of each dataset, and each plugin of its own."""

import ast
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
import yaml

from hsac import parts
from hsac.errors import InputError
from hsac.parts import nearest

FOLDER = "data.sources"
CATALOGUE = Path(__file__).with_suffix(".yaml")
KINDS = ("images", "graph", "labels")
SHA256 = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class File:
    """One file of a form, or a folder that is put there by hand.

    ``path`` is relative to a mirror or to ``<data>/downloads``, in the hub's own layout. ``urls``
    are addresses, tried in order: https ones, or ``hub:`` and the path within the Hugging Face
    dataset whose id is the first two parts of ``path``. ``sha256`` is the file's own hash, where
    the container is fixed.
    """

    path: str
    urls: tuple[str, ...] = ()
    sha256: str | None = None


@dataclass(frozen=True)
class Form:
    """One container a dataset comes in.

    ``build`` names the function that makes the arrays (module:function, in ``hsac.data.sources``),
    ``options`` its keyword arguments, ``files`` what it reads; none for a dataset made from
    installed packages alone.
    """

    build: str
    options: dict[str, Any] = field(default_factory=dict)
    files: tuple[File, ...] = ()

    def make(self, folder: Path | None = None) -> tuple[Arrays, Arrays]:
        """The arrays to store, and the upstream arrays that were decoded on the way, by the
        catalogue's names.

        ``folder`` holds the form's files at their paths and is only read.
        """
        module, _, function = self.build.partition(":")
        build = getattr(parts.load(FOLDER, module), function)
        root, path = parts.find(FOLDER, module)
        try:
            made = build(folder, **self.options) if self.files else build(**self.options)
        except InputError:
            raise
        except Exception as error:
            if root is parts.PACKAGE:
                raise
            said = parts.exception_line(error, root)
            raise InputError(f"{path}: {function} raised {said}") from error
        return made if isinstance(made, tuple) else (made, {})


@dataclass(frozen=True)
class Entry:
    """One dataset.

    ``kind`` is images, graph or labels; ``forms`` are the containers it comes in, tried in order;
    ``by_hand`` says what to put where when nothing may or can be downloaded. ``counts`` is what
    must come out (``store.counts_of``). ``arrays`` holds the SHA-256 of the upstream arrays by name
    (``store.array_sha256``), ``any_order`` by part that of the rows whatever their order
    (``store.rows_sha256``), ``sha256`` that of what is stored (``store.content_sha256``), None
    where nobody has recorded it. ``rendered`` marks content that depends on the versions of fonts,
    renderer or resampling library. ``about``, ``source``, ``licence`` and ``citation`` are for
    people.
    """

    name: str
    kind: str
    about: str
    source: str
    licence: str
    citation: str
    forms: tuple[Form, ...]
    counts: dict[str, Any]
    sha256: str | None
    by_hand: str | None = None
    rendered: bool = False
    arrays: dict[str, str] = field(default_factory=dict)
    any_order: dict[str, str] = field(default_factory=dict)


def parse(name: str, given: Any, file: str = "catalogue.yaml") -> Entry:
    """An entry from its YAML. Raises InputError naming the field, what was found and what is
    allowed.
    """
    where = f"{file}: {name}"
    checked = _fields(where, {"name": name, **_mapping(where, given)}, Entry)
    _require(checked["kind"] in KINDS, f"{where}.kind", checked["kind"], ", ".join(KINDS))
    for key in ("about", "source", "licence", "citation"):
        _text(f"{where}.{key}", checked[key])
    if checked["by_hand"] is not None:
        _text(f"{where}.by_hand", checked["by_hand"])
    _require(
        isinstance(checked["rendered"], bool),
        f"{where}.rendered",
        checked["rendered"],
        "true or false",
    )
    _mapping(f"{where}.counts", checked["counts"])
    _hash(f"{where}.sha256", checked["sha256"])
    for key in ("arrays", "any_order"):
        for array, sha256 in _mapping(f"{where}.{key}", checked[key]).items():
            _text(f"{where}.{key}.{array}", sha256)
            _hash(f"{where}.{key}.{array}", sha256)
    checked["forms"] = _list(f"{where}.forms", checked["forms"], _form)
    _require(bool(checked["forms"]), f"{where}.forms", [], "one form or more")
    return Entry(**checked)


def _form(where: str, given: Any) -> Form:
    checked = _fields(where, given, Form)
    build = checked["build"]
    ok = isinstance(build, str) and re.fullmatch(r"\w+:\w+", build)
    _require(bool(ok), f"{where}.build", build, "module:function of hsac.data.sources")
    _mapping(f"{where}.options", checked["options"])
    return Form(build, checked["options"], _list(f"{where}.files", checked["files"], _file))


def _file(where: str, given: Any) -> File:
    checked = _fields(where, given, File)
    path = checked["path"]
    inside = (
        isinstance(path, str)
        and PurePosixPath(path).parts
        and ".." not in PurePosixPath(path).parts
    )
    relative = (
        inside
        and not path.startswith("/")
        and "\\" not in path
        and str(PurePosixPath(path)) == path
    )
    _require(bool(relative), f"{where}.path", path, "a path below the mirror")
    urls = _list(f"{where}.urls", checked["urls"], _url)
    hub = [url for url in urls if url.startswith("hub:")]
    in_repo = path.split("/", 2)[2:] == [hub[0].removeprefix("hub:")] if hub else True
    _require(in_repo, f"{where}.urls", hub, "hub: and the part of `path` after the repository's id")
    _hash(f"{where}.sha256", checked["sha256"])
    return File(path, urls, checked["sha256"])


def _url(where: str, given: Any) -> str:
    ok = isinstance(given, str) and given.startswith(("https://", "hub:"))
    _require(ok, where, given, "an https address, or hub: and a path")
    return str(given)


def _fields(where: str, given: Any, kind: type[Entry | Form | File]) -> dict[str, Any]:
    """The fields of a dataclass from a mapping: none unknown, none missing that has no default."""
    known: dict[str, Any] = {}
    for f in fields(kind):
        known[f.name] = f.default_factory() if f.default_factory is not MISSING else f.default
    for key in _mapping(where, given):
        _require(key in known, where, f"the field {key}", f"one of {', '.join(known)}")
    for key, default in known.items():
        _require(
            key in given or default is not MISSING,
            where,
            f"no {key}",
            "every field without a default",
        )
    return known | given


def _mapping(where: str, given: Any) -> dict[str, Any]:
    _require(
        isinstance(given, dict) and all(isinstance(key, str) for key in given),
        where,
        given,
        "a mapping",
    )
    return dict(given)


def _list(where: str, given: Any, parse_one: Callable[[str, Any], T]) -> tuple[T, ...]:
    _require(isinstance(given, list | tuple), where, given, "a list")
    return tuple(parse_one(f"{where}[{i}]", item) for i, item in enumerate(given))


def _text(where: str, given: Any) -> None:
    _require(isinstance(given, str) and bool(given.strip()), where, given, "a text")


def _hash(where: str, given: Any) -> None:
    ok = given is None or (isinstance(given, str) and SHA256.fullmatch(given) is not None)
    _require(ok, where, given, "64 hexadecimal digits")


def _require(ok: bool, where: str, found: Any, allowed: str) -> None:
    if not ok:
        raise InputError(f"{where}: found {found!r}; allowed is {allowed}")


@cache
def _entries() -> dict[str, Entry]:
    listed = yaml.safe_load(CATALOGUE.read_text(encoding="utf-8"))
    return {name: parse(name, given) for name, given in listed.items()}


@cache
def _plugin_entries(root: parts.Root) -> dict[str, Entry]:
    paths = sorted(root.path.joinpath(*FOLDER.split(".")).glob("[!_]*.py"))
    return {path.stem: _of_plugin(path) for path in paths}


def _of_plugin(path: Path) -> Entry:
    """The entry in a plugin's file, which is not imported: its `ENTRY`, a literal dict whose forms
    need not name the function `build` beside it; it may leave out `forms`, made from installed
    packages alone, and `sha256`.
    """
    tree = ast.parse(path.read_bytes())
    given: Any = None
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [
            "ENTRY"
        ]:
            try:
                given = ast.literal_eval(node.value)
            except ValueError:
                raise InputError(
                    f"{path}: line {node.lineno}: ENTRY: allowed is a dict of plain values"
                ) from None
    _require(isinstance(given, dict), f"{path}: ENTRY", given, "a dict of the catalogue's fields")
    has_build = any(
        isinstance(node, ast.FunctionDef) and node.name == "build" for node in tree.body
    )
    _require(has_build, f"{path}", "no function build", "one that makes the dataset's arrays")
    forms = given.get("forms", [{}])
    if isinstance(forms, list):
        forms = [
            {"build": f"{path.stem}:build", **form} if isinstance(form, dict) else form
            for form in forms
        ]
    return parse(path.stem, {"sha256": None, **given, "forms": forms}, f"{path}: ENTRY")


def _all() -> dict[str, Entry]:
    """Every entry. Raises InputError for a plugin's whose name the catalogue has."""
    package, *plugins = _entries(), *map(_plugin_entries, parts.roots()[1:])
    for name in package.keys() & {name for entries in plugins for name in entries}:
        path = parts.find(FOLDER, name)[1]
        raise InputError(
            f"{path}: found the name {name!r}, which {CATALOGUE} has; allowed is one of its own"
        )
    return {name: one for entries in (package, *plugins) for name, one in entries.items()}


def names() -> tuple[str, ...]:
    """Names of the datasets, sorted."""
    return tuple(sorted(_all()))


def entry(name: str) -> Entry:
    """A dataset's entry. Raises InputError with the nearest name when there is none."""
    known = _all()
    if name not in known:
        raise InputError(f"dataset: found {name!r}; {nearest(name, known)}")
    return known[name]
