"""Raw data on disk: made once from its source, checked by hash each time it is read.

``<root>/raw/<name>/`` holds ``manifest.json`` and ``arrays.npz``.
"""

import hashlib
import logging
import os
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hsac import imports, parts
from hsac.data import obtain, shape
from hsac.data.catalogue import FOLDER, Arrays, Entry, Form, entry
from hsac.errors import InputError
from hsac.files import MACHINE, JsonObject, file_sha256, read_json, write_json
from hsac.study.fingerprint import of_modules

if TYPE_CHECKING:
    from torch_geometric.data import Data

log = logging.getLogger(__name__)

PARTS = ("train", "validation", "test")  # names of the values of a ``split`` array
ARRAYS = "arrays.npz"
SCHEMA = 2  # of the manifest and the files beside it; another one is fetched again


@dataclass(frozen=True)
class Images:
    """A set of images.

    Attributes:
        image: uint8, grey (N, H, W) or RGB (N, H, W, 3).
        label: int64 (N,) into ``classes``.
        split: int8 (N,), 0 train, 1 validation, 2 test.
        group: int64 (N,). Rows of one group are near copies of one another.
        classes: Names of the classes.
        sha256: Hash of the content.
    """

    image: np.ndarray
    label: np.ndarray
    split: np.ndarray
    group: np.ndarray
    classes: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class Made:
    """A dataset as made from its source, not yet stored.

    Attributes:
        form: The form that it was made from.
        folder: The folder of the form's files.
        arrays: The arrays to store.
        upstream: Hash of each upstream array by name.
        reordered: Whether the rows came in another order than the catalogue's.
    """

    form: Form
    folder: Path
    arrays: Arrays
    upstream: dict[str, str]
    reordered: bool


@dataclass(frozen=True)
class Manifest:
    """What is recorded beside a dataset's stored arrays.

    Attributes:
        dataset: Name of the dataset.
        kind: images, graph or labels.
        sha256: Hash of the content (`content_sha256`).
        matches_catalogue: Whether it is the catalogue's. None where that has no hash.
        counts: Sizes (`counts_of`).
        build: The function that made the arrays.
        upstream: Hash of each upstream array by name.
        versions: Versions of the packages that the content depends on.
        files: Hash of each file by name.
        order: ``other`` where the rows come in another order than the catalogue's.
        code: Fingerprint of a plugin's source. None for the package's datasets, whose content
            hashes tell.
    """

    dataset: str
    kind: str
    sha256: str
    matches_catalogue: bool | None
    counts: Mapping[str, Any]
    build: str
    upstream: Mapping[str, str]
    versions: Mapping[str, str]
    files: Mapping[str, str]
    order: str | None = None
    code: str | None = None

    def write(self, path: Path) -> None:
        """Write the manifest as JSON.

        Args:
            path: The file.
        """
        written = {"schema": SCHEMA, **vars(self)}
        for key in ("order", "code"):
            # Absent where they say nothing, so that manifests without them keep their bytes.
            if written[key] is None:
                del written[key]
        write_json(path, written)


def content_sha256(arrays: Arrays) -> str:
    """Hash a dataset's content, the same on every machine.

    Args:
        arrays: The stored arrays by name.

    Returns:
        SHA-256 over name, dtype, shape and C-order little-endian bytes of each array, by name.
        Fields end in a NUL.
    """
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        little = _little_endian(array)
        # Each field ends in a NUL, so that no two lists of fields read the same.
        total.update(f"{name}\0{little.dtype.str}\0{little.shape}\0".encode())
        total.update(little.tobytes())
    return total.hexdigest()


def array_sha256(array: np.ndarray) -> str:
    """Hash one array, whatever its shape.

    Args:
        array: Numbers of any type, or texts.

    Returns:
        SHA-256 of the C-order little-endian bytes. Of texts: of the lines, joined by newlines, in
        UTF-8.
    """
    if array.dtype.kind == "U":
        return hashlib.sha256("\n".join(array.tolist()).encode()).hexdigest()
    return hashlib.sha256(_little_endian(array).tobytes()).hexdigest()


def _little_endian(array: np.ndarray) -> np.ndarray:
    # Byte and memory order are the machine's and the library's choice, not content.
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def rows_sha256(image: np.ndarray, label: np.ndarray) -> str:
    """Hash labelled images, the same in any order.

    Args:
        image: uint8 (N, ...).
        label: (N,), each below 256.

    Returns:
        SHA-256 of the sorted SHA-256 digests of each row's pixel bytes and one label byte.
    """
    digests = []
    for pixels, number in zip(image, label, strict=True):
        digests.append(hashlib.sha256(pixels.tobytes() + bytes([int(number)])).digest())
    # Sorted, so that the order of the rows does not show.
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def counts_of(kind: str, arrays: Arrays) -> dict[str, Any]:
    """Count what the catalogue states of a dataset.

    Args:
        kind: images, graph or labels.
        arrays: The stored arrays.

    Returns:
        For labels rows and columns. For a graph nodes, edges, features and classes. For images
        ``images`` and ``classes`` by part, ``side`` ([height, width] unless square) and, for
        colour, ``channels``.
    """
    if kind == "labels":
        return {"rows": len(next(iter(arrays.values()))), "columns": sorted(arrays)}
    if kind == "graph":
        nodes, features = arrays["x"].shape
        sizes = {"nodes": nodes, "edges": arrays["edge"].shape[1], "features": features}
        return {**sizes, "classes": int(arrays["y"].max()) + 1}
    height, width, *channels = arrays["image"].shape[1:]
    images, classes = {}, {}
    for code, part in enumerate(PARTS):
        inside = arrays["split"] == code
        if inside.any():
            images[part] = int(inside.sum())
            classes[part] = int(np.unique(arrays["label"][inside]).size)
    side = height if height == width else [height, width]
    colours = {"channels": channels[0]} if channels else {}
    return {"images": images, "classes": classes, "side": side, **colours}


def fetch(name: str, root: Path, mirror: Path | None = None) -> Path:
    """Make ``<root>/raw/<name>`` unless it is there and intact.

    The files are looked for in the mirror, in ``<root>/downloads`` and in the network. The folder
    appears complete or not at all, and a damaged one is replaced. Rendered sets may differ from the
    catalogue where fonts or Pillow do: the manifest then says ``matches_catalogue: false`` and the
    log warns. It says null where the catalogue has no hash to compare with.

    Args:
        name: Name of the dataset.
        root: The data folder.
        mirror: The mirror. None takes the one that ``HSAC_MIRROR`` names.

    Returns:
        The folder.

    Raises:
        InputError: For an unknown name, for files that could not be obtained, for content that is
            not the catalogue's, or for a folder that cannot be written.
    """
    found, folder = entry(name), raw_folder(name, root)
    # First without the lock, so that readers of what is there do not wait for one another.
    if is_intact(name, root):
        return folder
    with obtain.lock(root, name):
        # Another process may have made it while this one waited.
        if not is_intact(name, root):
            _store(found, folder, make(found, root, mirror or obtain.mirror_root()))
    return folder


def make(found: Entry, root: Path, mirror: Path | None) -> Made:
    """Obtain a dataset's files and decode them.

    Args:
        found: The dataset.
        root: The data folder.
        mirror: The mirror, if there is one.

    Returns:
        The arrays and what is known of them.

    Raises:
        InputError: When the files could not be obtained or do not hold the catalogue's content.
    """
    form, folder = obtain.obtain(found, root, mirror)
    arrays, decoded = _decode(found, form, folder, root)
    upstream = {name: array_sha256(array) for name, array in sorted(decoded.items())}
    # Upstream arrays are compared before the stored ones, so that a damaged file is not taken for a
    # source that has changed.
    differ = [name for name, sha256 in found.arrays.items() if upstream.get(name) != sha256]
    if not differ or found.any_order:
        shape.check(found.name, found.kind, arrays)
    reordered = bool(differ and found.any_order) and same_rows(found, arrays)
    if differ and not reordered:
        reason = f"{', '.join(differ)} decode to another content than the catalogue's"
        raise obtain.refuse(found, form, folder, root, reason)
    counts = counts_of(found.kind, arrays)
    # How many characters can be told apart depends on the fonts.
    if counts != found.counts and not found.rendered:
        reason = f"found {counts}; the catalogue says {found.counts}"
        raise obtain.refuse(found, form, folder, root, reason)
    return Made(form, folder, arrays, upstream, reordered)


def _decode(found: Entry, form: Form, folder: Path, root: Path) -> tuple[Arrays, Arrays]:
    try:
        return form.make(folder)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{folder}: cannot be decoded: the memory is full") from error
    # Decoders fail in every way on a damaged file. Without files the fault is the source's own.
    except Exception as error:
        # An intact file must not be set aside because the disk is full.
        if isinstance(error, OSError) and error.errno in MACHINE:
            at = os.fsdecode(error.filename or folder)
            raise InputError(f"{at}: {error.strerror}; so {found.name} is not decoded") from error
        if not form.files:
            raise
        words = (str(error).strip() or type(error).__name__).splitlines()[0]
        reason = f"its files cannot be decoded ({words})"
        raise obtain.refuse(found, form, folder, root, reason) from error


def _store(found: Entry, folder: Path, new: Made) -> None:
    matches = _compare(found, new)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that moving it there is one rename on one file system.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{found.name}.") as temporary:
            made = Path(temporary) / found.name
            made.mkdir()
            np.savez(made / ARRAYS, allow_pickle=False, **new.arrays)
            files = {ARRAYS: file_sha256(made / ARRAYS)}
            _manifest(found, new, matches, files).write(made / "manifest.json")
            # A folder cannot be renamed onto one that is not empty.
            if folder.exists():
                os.replace(folder, Path(temporary) / "old")
            os.replace(made, folder)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from error


def _compare(found: Entry, new: Made) -> bool | None:
    """Tell whether arrays are the catalogue's, None where it has no hash; the log warns of less.

    Raises InputError when they are not the catalogue's and nothing excuses it.
    """
    sha256 = content_sha256(new.arrays)
    matches = None if found.sha256 is None else sha256 == found.sha256
    made_with = ", ".join(f"{package} {number}" for package, number in _versions(found).items())
    if matches is False and not found.rendered and not new.reordered:
        raise InputError(
            f"dataset {found.name}: content hash {sha256} is not the catalogue's {found.sha256}; "
            f"check the installed versions against requirements.lock (here {made_with})"
        )
    if new.reordered:
        words = "the catalogue's rows in another order; row numbers mean other rows here"
        log.warning("%s: %s", found.name, words)
    elif matches is False:
        words = "the bitmaps differ from the catalogue's"
        log.warning("%s: rendered with %s, %s", found.name, made_with, words)
    elif matches is None:
        log.warning("%s: not verified, the catalogue has no hash of its content", found.name)
    log.info("%s: %s", found.name, counts_of(found.kind, new.arrays))
    return matches


def _versions(found: Entry) -> dict[str, str]:
    """Return the versions of the packages that a dataset's content may depend on."""
    # Numbers from a file depend on no more than numpy, drawn ones on what draws.
    makers = ("numpy", "pillow", "matplotlib", "fonttools") if found.rendered else ("numpy",)
    return {package: version(package) for package in makers}


def _manifest(found: Entry, new: Made, matches: bool | None, files: Mapping[str, str]) -> Manifest:
    return Manifest(
        dataset=found.name,
        kind=found.kind,
        sha256=content_sha256(new.arrays),
        matches_catalogue=matches,
        counts=counts_of(found.kind, new.arrays),
        build=new.form.build,
        upstream=new.upstream,
        versions=_versions(found),
        files=files,
        order="other" if new.reordered else None,
        code=_plugin_code(found.name),
    )


def _plugin_code(name: str) -> str | None:
    """Return the fingerprint of a plugin's source; None for the package's datasets."""
    if not parts.from_plugin(FOLDER, name):
        return None
    return of_modules([parts.module(FOLDER, name)])


def same_rows(found: Entry, arrays: Arrays) -> bool:
    """Check whether each part holds the catalogue's rows, in whatever order.

    Args:
        found: The dataset, an image set.
        arrays: Its arrays.

    Returns:
        True when the rows of each part are those of ``any_order``.
    """
    for part, sha256 in found.any_order.items():
        rows = arrays["split"] == PARTS.index(part)
        if rows_sha256(arrays["image"][rows], arrays["label"][rows]) != sha256:
            return False
    return True


def is_intact(name: str, root: Path) -> bool:
    """Check whether a dataset is there and every one of its files is as it was written.

    Args:
        name: Name of the dataset.
        root: The data folder.

    Returns:
        False for one that is missing, damaged, or of another version.
    """
    try:
        _verified(name, root)
    except InputError:
        return False
    return True


def raw_folder(name: str, root: Path) -> Path:
    """Return the folder of a dataset's stored files.

    Args:
        name: Name of the dataset.
        root: The data folder.

    Returns:
        The folder, which may not exist yet.
    """
    return Path(root) / "raw" / name


def _fetch(name: str) -> str:
    """Return the command that fetches a dataset, in backticks."""
    return f"`hsac data fetch {shlex.quote(name)}`"


def load_images(name: str, root: Path) -> Images:
    """Read an image set.

    Args:
        name: Name of the dataset.
        root: The data folder.

    Returns:
        The images.

    Raises:
        InputError: For a name that is no image set, and for a missing, cut or changed file.
    """
    arrays, sha256 = load_arrays(name, root, "images")
    classes = tuple(str(word) for word in arrays["classes"])
    return Images(
        arrays["image"], arrays["label"], arrays["split"], arrays["group"], classes, sha256
    )


def load_graph(name: str, root: Path) -> "Data":
    """Read a graph.

    Args:
        name: Name of the dataset.
        root: The data folder.

    Returns:
        ``x`` float32 (N, F), ``edge_index`` int64 (2, 2E) with both directions, ``y`` int64 (N,)
        and ``sha256``. Where the dataset has them, ``split`` int8 (N,), 0 train, 1 validation, 2
        test, -1 unused, and ``classes``, names.

    Raises:
        InputError: For a name that is no graph, and for a missing, cut or changed file.
    """
    import torch

    with imports.quiet():
        from torch_geometric.data import Data
        from torch_geometric.utils import to_undirected

    arrays, sha256 = load_arrays(name, root, "graph")
    x, edge, y = (torch.from_numpy(arrays[key]) for key in ("x", "edge", "y"))
    # Stored is each edge once; message passing needs both directions.
    graph = Data(x=x, edge_index=to_undirected(edge, num_nodes=x.shape[0]), y=y, sha256=sha256)
    if "split" in arrays:
        graph.split = torch.from_numpy(arrays["split"])
    if "classes" in arrays:
        graph.classes = tuple(str(word) for word in arrays["classes"])
    return graph


def load_arrays(name: str, root: Path, kind: str | None = None) -> tuple[Arrays, str]:
    """Read a dataset's arrays as its source made them, a graph's without torch.

    Args:
        name: Name of the dataset.
        root: The data folder.
        kind: The kind that it must be of, if any.

    Returns:
        The arrays by name, and their content hash.

    Raises:
        InputError: For a name of another kind, and for a missing, cut or changed file.
    """
    found = entry(name)
    if kind is not None and found.kind != kind:
        raise InputError(
            f"dataset: found {name!r}, which is of kind {found.kind}; allowed is one of kind {kind}"
        )
    manifest, folder = _verified(name, root), raw_folder(name, root)
    with np.load(folder / ARRAYS, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}, manifest.sha256


def read_manifest(name: str, root: Path) -> Manifest | None:
    """Read the manifest beside a dataset's arrays, which are not looked at.

    Args:
        name: Name of the dataset.
        root: The data folder.

    Returns:
        The manifest. None where there is none of this version.

    Raises:
        InputError: For a file that cannot be read or is no manifest.
    """
    path = raw_folder(name, root) / "manifest.json"
    return _parse_manifest(path) if path.exists() else None


def _parse_manifest(path: Path) -> Manifest | None:
    given = read_json(path)
    if isinstance(given, dict) and given.get("schema", SCHEMA) != SCHEMA:
        return None
    if not (isinstance(given, dict) and _is_manifest(given)):
        raise InputError(f"{path} is no manifest; {_advice(path.parent)}")
    # Keys that are not known are passed over: another version may write more.
    known = [field.name for field in fields(Manifest)]
    return Manifest(**{name: given[name] for name in known if name in given})


def _is_manifest(given: JsonObject) -> bool:
    """Tell whether a value has the fields of a manifest, each of its type."""
    kinds: dict[str, Any] = dict.fromkeys(("dataset", "kind", "sha256", "build"), str)
    kinds |= dict.fromkeys(("counts", "upstream", "versions", "files"), dict)
    kinds |= dict.fromkeys(("order", "code"), str | None)
    kinds["matches_catalogue"] = bool | None
    for field in fields(Manifest):
        if field.name not in given and field.default is MISSING:
            return False
        if not isinstance(given.get(field.name, field.default), kinds[field.name]):
            return False
    files = given["files"]
    return ARRAYS in files and all(isinstance(sha256, str) for sha256 in files.values())


def _advice(folder: Path) -> str:
    return f"delete the folder {folder} and fetch again"


def _verified(name: str, root: Path) -> Manifest:
    """Return the manifest, once every file it lists has the hash it states."""
    # An unknown name should be told from a dataset that was not fetched.
    entry(name)
    folder = raw_folder(name, root)
    path = folder / "manifest.json"
    if not path.exists():
        raise InputError(f"{path} is missing; fetch dataset {name} ({_fetch(name)})")
    manifest, advice = _parse_manifest(path), _advice(folder)
    if manifest is None:
        raise InputError(f"{path} was written by another version of hsac; {advice}")
    # The catalogue's hashes do not cover a plugin, whose author changes it at will.
    if manifest.code != _plugin_code(name):
        source = parts.find(FOLDER, name)[1]
        again = f"fetch again ({_fetch(name)})"
        raise InputError(f"{path} was not made by the present {source}; {again}")
    for relative, sha256 in sorted(manifest.files.items()):
        file = folder / relative
        if not file.is_file():
            raise InputError(f"{file} is missing; {advice}")
        if file_sha256(file) != sha256:
            changed = "is cut short or changed (its hash is not the manifest's)"
            raise InputError(f"{file} {changed}; {advice}")
    return manifest
