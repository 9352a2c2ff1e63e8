"""The catalogue: what is known of each dataset before anything of it is read.

The package's datasets stand in ``catalogue.yaml``. A plugin's dataset carries its entry in its own
file, as ``ENTRY``.
"""

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from hsac import documents, parts
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
    """A file of a form, or a folder that is put there by hand.

    Attributes:
        path: Its path below a mirror or ``<data>/downloads``, in the hub's own layout.
        urls: Addresses, tried in order. Each is an https address, or ``hub:`` and the path within
            the Hugging Face dataset whose id is the first two parts of ``path``.
        sha256: Hash of the file itself, where the container is fixed.
    """

    path: str
    urls: tuple[str, ...] = ()
    sha256: str | None = None


@dataclass(frozen=True)
class Form:
    """A container that a dataset comes in.

    Attributes:
        build: The function that makes the arrays, as ``module:function`` in ``hsac.data.sources``.
        options: Its keyword arguments.
        files: The files that it reads. None for a dataset made from installed packages alone.
    """

    build: str
    options: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[File, ...] = ()

    def make(self, folder: Path | None = None) -> tuple[Arrays, Arrays]:
        """Make the arrays of the dataset from this form.

        Args:
            folder: Holds the form's files at their paths. It is only read. A form without files
                needs none.

        Returns:
            The arrays to store, and the upstream arrays that were decoded on the way, by the
            catalogue's names.

        Raises:
            InputError: For files that the source refuses, for whatever a plugin's source raises,
                and for what are no arrays that can be stored.
        """
        module, _, function = self.build.partition(":")
        build = getattr(parts.load(FOLDER, module), function)
        root, path = parts.find(FOLDER, module)
        try:
            made = build(folder, **self.options) if self.files else build(**self.options)
        except InputError:
            raise
        except Exception as error:
            # A fault of the package should show its traceback, one of a plugin its file and line.
            if root is parts.PACKAGE:
                raise
            said = parts.exception_line(error, root)
            raise InputError(f"{path}: {function} raised {said}") from error
        arrays, decoded = made if isinstance(made, tuple) and len(made) == 2 else (made, {})
        for given in (arrays, decoded):
            _check_arrays(f"{path}: what {function} returned", given)
        return arrays, decoded


# numpy's own names for what it stores arrays with.
RESERVED = ("file", "allow_pickle")


def _check_arrays(where: str, made: Any) -> None:
    """Check that a source made arrays by name, all of which can be stored without pickle."""
    allowed = "numpy arrays of numbers or texts"
    _require(isinstance(made, dict), where, type(made).__name__, f"a dict of {allowed}")
    for name, array in made.items():
        named = isinstance(name, str) and name.isprintable() and name not in RESERVED
        _require(named, f"{where}: name of an array", name, f"a text other than {RESERVED}")
        # What is no array has no type, and is stored as little as an array of objects.
        kind = array.dtype.kind if isinstance(array, np.ndarray) else "O"
        found = str(getattr(array, "dtype", type(array).__name__))
        _require(kind in "biufU", f"{where}: {name}", found, allowed)


@dataclass(frozen=True)
class Entry:
    """What the catalogue says of a dataset.

    Attributes:
        name: Name of the dataset.
        kind: images, graph or labels.
        about: What it is, for people, as are source, licence and citation.
        source: Where it comes from.
        licence: Terms of use.
        citation: The work to cite.
        forms: Containers that the dataset comes in, tried in order.
        counts: Sizes that must come out. Their names depend on the kind (``store.counts_of``).
        sha256: Hash of what is stored (``store.content_sha256``). None where it is not recorded.
        by_hand: What to put where when nothing may or can be downloaded.
        rendered: Whether the content depends on the versions of fonts, renderer or resampling
            library.
        arrays: Hash of each upstream array by name (``store.array_sha256``).
        any_order: Hash of the rows of each part whatever their order (``store.rows_sha256``).
    """

    name: str
    kind: str
    about: str
    source: str
    licence: str
    citation: str
    forms: tuple[Form, ...]
    counts: Mapping[str, Any]
    sha256: str | None
    by_hand: str | None = None
    rendered: bool = False
    arrays: Mapping[str, str] = field(default_factory=dict)
    any_order: Mapping[str, str] = field(default_factory=dict)


def parse(name: str, given: Any, file: str = "catalogue.yaml") -> Entry:
    """Check an entry's YAML and return the entry.

    Args:
        name: Name of the dataset.
        given: The fields as read.
        file: What error lines name as the place of the entry.

    Returns:
        The entry, its defaults filled in.

    Raises:
        InputError: Naming the field, what was found and what is allowed.
    """
    where = f"{file}: {name}"
    checked = _fields(where, {"name": name, **_mapping(where, given)}, Entry)
    _require(checked["kind"] in KINDS, f"{where}.kind", checked["kind"], ", ".join(KINDS))
    for key in ("about", "source", "licence", "citation"):
        _text(f"{where}.{key}", checked[key])
    if checked["by_hand"] is not None:
        _text(f"{where}.by_hand", checked["by_hand"])
    rendered = checked["rendered"]
    _require(isinstance(rendered, bool), f"{where}.rendered", rendered, "true or false")
    _counts(f"{where}.counts", checked["kind"], checked["counts"])
    _hash(f"{where}.sha256", checked["sha256"])
    for key in ("arrays", "any_order"):
        for array, sha256 in _mapping(f"{where}.{key}", checked[key]).items():
            # `_hash` alone would let null pass.
            _text(f"{where}.{key}.{array}", sha256)
            _hash(f"{where}.{key}.{array}", sha256)
    forms = _list(f"{where}.forms", checked["forms"], _form)
    _require(bool(forms), f"{where}.forms", [], "one form or more")
    return Entry(**{**checked, "forms": forms})


def _is_number(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and given >= 0


def _is_by_part(given: Any) -> bool:
    numbers = isinstance(given, dict) and all(map(_is_number, given.values()))
    return numbers and given.keys() <= {"train", "validation", "test"}


def _is_side(given: Any) -> bool:
    both = isinstance(given, list) and len(given) == 2 and all(map(_is_number, given))
    return both or _is_number(given)


def _is_texts(given: Any) -> bool:
    return isinstance(given, list) and all(isinstance(word, str) for word in given)


NUMBER = (_is_number, "a whole number")
BY_PART = (_is_by_part, "a whole number for each of train, validation and test that there is")
# The counts of each kind that `hsac.data.store.counts_of` makes.
COUNTS: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = {
    "images": {
        "images": BY_PART,
        "classes": BY_PART,
        "side": (_is_side, "a whole number, or two for height and width"),
        "channels": NUMBER,
    },
    "graph": dict.fromkeys(("nodes", "edges", "features", "classes"), NUMBER),
    "labels": {"rows": NUMBER, "columns": (_is_texts, "a list of names")},
}


def _counts(where: str, kind: str, given: Any) -> None:
    known = COUNTS[kind]
    for key, value in _mapping(where, given).items():
        _require(key in known, where, f"the count {key}", f"one of {', '.join(known)}")
        fits, allowed = known[key]
        _require(fits(value), f"{where}.{key}", value, allowed)


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
    _require(_is_path_below(path), f"{where}.path", path, "a path below the mirror")
    urls = _list(f"{where}.urls", checked["urls"], _url)
    hub = [url for url in urls if url.startswith("hub:")]
    # The hub's layout is kept so that a mirror can be served as one.
    in_repo = path.split("/", 2)[2:] == [hub[0].removeprefix("hub:")] if hub else True
    _require(in_repo, f"{where}.urls", hub, "hub: and the part of `path` after the repository's id")
    _hash(f"{where}.sha256", checked["sha256"])
    return File(path, urls, checked["sha256"])


def _is_path_below(path: Any) -> bool:
    """Tell whether this is a relative POSIX path in its shortest form that leaves no folder."""
    # A backslash would part folders on some machines and not on others.
    if not isinstance(path, str) or path.startswith("/") or "\\" in path:
        return False
    pure = PurePosixPath(path)
    return bool(pure.parts) and ".." not in pure.parts and str(pure) == path


def _url(where: str, given: Any) -> str:
    ok = isinstance(given, str) and given.startswith(("https://", "hub:"))
    _require(ok, where, given, "an https address, or hub: and a path")
    return str(given)


def _fields(where: str, given: Any, kind: type[Entry | Form | File]) -> Mapping[str, Any]:
    """Return the fields of a dataclass: none unknown, none missing that has no default."""
    known: dict[str, Any] = {}
    for f in fields(kind):
        known[f.name] = f.default_factory() if f.default_factory is not MISSING else f.default
    for key in _mapping(where, given):
        _require(key in known, where, f"the field {key}", f"one of {', '.join(known)}")
    for key, default in known.items():
        present = key in given or default is not MISSING
        _require(present, where, f"no {key}", "every field without a default")
    return known | given


def _mapping(where: str, given: Any) -> Mapping[str, Any]:
    ok = isinstance(given, dict) and all(isinstance(key, str) for key in given)
    _require(ok, where, given, "a mapping")
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
    listed = documents.read_yaml(CATALOGUE)
    return {name: parse(name, given) for name, given in listed.items()}


@cache
def _plugin_entries(root: parts.Root) -> dict[str, Entry]:
    # A root's name changes with its files, so that what is cached is never of an older one.
    paths = sorted(root.path.joinpath(*FOLDER.split(".")).glob("[!_]*.py"))
    return {path.stem: _of_plugin(path) for path in paths}


def _of_plugin(path: Path) -> Entry:
    """Return the entry of a plugin's dataset.

    Its forms need not name the function ``build``. It may leave out ``sha256``, and ``forms`` where
    the dataset is made from installed packages alone.
    """
    given = _literal_entry(path)
    _require(isinstance(given, dict), f"{path}: ENTRY", given, "a dict of the catalogue's fields")
    forms = given.get("forms", [{}])
    if isinstance(forms, list):
        build = {"build": f"{path.stem}:build"}
        forms = [build | form if isinstance(form, dict) else form for form in forms]
    return parse(path.stem, {"sha256": None, **given, "forms": forms}, f"{path}: ENTRY")


def _literal_entry(path: Path) -> Any:
    """Return the value of ``ENTRY`` in a file that also defines ``build``; None without one."""
    # The syntax tree tells it: a listing must neither run a plugin nor load what it imports.
    body = ast.parse(path.read_bytes()).body
    given: Any = None
    for node in body:
        if not isinstance(node, ast.Assign):
            continue
        if [ast.unparse(target) for target in node.targets] != ["ENTRY"]:
            continue
        try:
            given = ast.literal_eval(node.value)
        except ValueError:
            line = f"{path}: line {node.lineno}"
            raise InputError(f"{line}: ENTRY: allowed is a dict of plain values") from None
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    if isinstance(given, dict):
        allowed = "one that makes the dataset's arrays"
        _require("build" in functions, f"{path}", "no function build", allowed)
    return given


def _all() -> dict[str, Entry]:
    """Return every entry. Raises InputError for a plugin's whose name the catalogue has."""
    entries = dict(_entries())
    for root in parts.roots()[1:]:
        added = _plugin_entries(root)
        for name in _entries().keys() & added.keys():
            path = parts.find(FOLDER, name)[1]
            has = f"found the name {name!r}, which {CATALOGUE} has"
            raise InputError(f"{path}: {has}; allowed is one of its own")
        entries |= added
    return entries


def names() -> tuple[str, ...]:
    """Return the names of the datasets, those of plugins in use included.

    Returns:
        The names, sorted.

    Raises:
        InputError: For a plugin's entry that is not as it should be.
    """
    return tuple(sorted(_all()))


def entry(name: str) -> Entry:
    """Return a dataset's entry.

    Args:
        name: Name of the dataset.

    Returns:
        What the catalogue says of it.

    Raises:
        InputError: With the nearest name when there is no such dataset.
    """
    known = _all()
    if name not in known:
        raise InputError(f"dataset: found {name!r}; {nearest(name, known)}")
    return known[name]
