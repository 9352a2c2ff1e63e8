"""Raw data on disk: made once from its source, checked by hash each time it is read.

``<root>/raw/<name>/`` holds ``manifest.json`` and ``arrays.npz``.
"""

import hashlib
import logging
import os
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hsac import parts
from hsac.data import obtain, shape
from hsac.data.catalogue import FOLDER, Arrays, Entry, Form, entry
from hsac.errors import InputError
from hsac.files import file_sha256, read_json, write_json
from hsac.study.fingerprint import of_modules

if TYPE_CHECKING:
    from torch_geometric.data import Data

log = logging.getLogger(__name__)

PARTS = ("train", "validation", "test")
"""Names of the values of a ``split`` array."""
SCHEMA = 2
"""Of the manifest and the files beside it; another one is fetched again."""


@dataclass(frozen=True)
class Images:
    """A set of images: ``image`` uint8, grey (N, H, W) or RGB (N, H, W, 3); ``label`` int64 (N,)
    into ``classes``; ``split`` int8 (N,), 0 train, 1 validation, 2 test; ``group`` int64 (N,), rows
    of one group are near copies of one another; ``sha256`` of the content.
    """

    image: np.ndarray
    label: np.ndarray
    split: np.ndarray
    group: np.ndarray
    classes: tuple[str, ...]
    sha256: str


def content_sha256(arrays: Arrays) -> str:
    """SHA-256 over name, dtype, shape and C-order little-endian bytes of each array, by name;
    fields end in a NUL.
    """
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        total.update(f"{name}\0{little.dtype.str}\0{little.shape}\0".encode())
        total.update(little.tobytes())
    return total.hexdigest()


def array_sha256(array: np.ndarray) -> str:
    """SHA-256 of an array's C-order little-endian bytes; of a text array's lines, joined by
    newlines, in UTF-8.
    """
    if array.dtype.kind == "U":
        return hashlib.sha256("\n".join(array.tolist()).encode()).hexdigest()
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return hashlib.sha256(little.tobytes()).hexdigest()


def rows_sha256(image: np.ndarray, label: np.ndarray) -> str:
    """SHA-256 of the sorted SHA-256 digests of each row's pixel bytes and one label byte: the same
    in any order.
    """
    rows = zip(image, label, strict=True)
    digests = sorted(
        hashlib.sha256(pixels.tobytes() + bytes([int(number)])).digest() for pixels, number in rows
    )
    return hashlib.sha256(b"".join(digests)).hexdigest()


def counts_of(kind: str, arrays: Arrays) -> dict[str, Any]:
    """Sizes that the catalogue states: images and classes by part, side ([height, width] unless
    square) and, for colour, channels; or nodes, edges, features and classes; or rows and columns of
    labels.
    """
    if kind == "labels":
        return {"rows": len(next(iter(arrays.values()))), "columns": sorted(arrays)}
    if kind == "graph":
        nodes, features = arrays["x"].shape
        sizes = {"nodes": nodes, "edges": arrays["edge"].shape[1], "features": features}
        return {**sizes, "classes": int(arrays["y"].max()) + 1}
    split, label = arrays["split"], arrays["label"]
    height, width, *channels = arrays["image"].shape[1:]
    present = [part for part in range(3) if (split == part).any()]
    return {
        "images": {PARTS[part]: int((split == part).sum()) for part in present},
        "classes": {PARTS[part]: int(np.unique(label[split == part]).size) for part in present},
        "side": height if height == width else [height, width],
        **({"channels": channels[0]} if channels else {}),
    }


def fetch(name: str, root: Path, mirror: Path | None = None) -> Path:
    """Make ``<root>/raw/<name>`` unless it is there and whole; returns the folder.

    Files are looked for in ``mirror`` (None: the one that ``HSAC_MIRROR`` names),
    ``<root>/downloads``, the network. The folder appears complete or not at all; a damaged one is
    replaced. Raises InputError for an unknown name, for files that cannot be had, for content that
    is not the catalogue's, or for a folder that cannot be written. Rendered sets may differ from
    the catalogue where fonts or Pillow do: the manifest then says ``matches_catalogue: false`` and
    the log warns; it says null where the catalogue has no hash to compare with.
    """
    found, folder = entry(name), raw_folder(name, root)
    if whole(name, root):
        return folder
    with obtain.lock(root, name):
        if not whole(name, root):  # another process may have made it meanwhile
            _store(found, folder, make(found, root, mirror or obtain.mirror_root()))
    return folder


@dataclass(frozen=True)
class Made:
    """A dataset as made from its source: the ``form`` and the ``folder`` of its files, the
    ``arrays`` to store, the hashes of the ``upstream`` arrays by name, and whether their rows came
    in another order than the catalogue's.
    """

    form: Form
    folder: Path
    arrays: Arrays
    upstream: dict[str, str]
    reordered: bool


def make(found: Entry, root: Path, mirror: Path | None) -> Made:
    """Have a dataset's files and decode them. Raises InputError when they do not hold the
    catalogue's content.
    """
    form, folder = obtain.obtain(found, root, mirror)
    try:
        arrays, decoded = form.make(folder)
    except InputError:
        raise
    except Exception as error:  # decoders fail in every way on a damaged file
        if not form.files:
            raise
        words = (str(error).strip() or type(error).__name__).splitlines()[0]
        reason = f"its files cannot be decoded ({words})"
        raise obtain.refuse(found, form, folder, root, reason) from error
    shape.check(found.name, found.kind, arrays)
    upstream = {name: array_sha256(array) for name, array in sorted(decoded.items())}
    differ = [name for name, sha256 in found.arrays.items() if upstream.get(name) != sha256]
    reordered = bool(differ and found.any_order) and same_rows(found, arrays)
    counts = counts_of(found.kind, arrays)
    if differ and not reordered:
        reason = f"{', '.join(differ)} decode to another content than the catalogue's"
        raise obtain.refuse(found, form, folder, root, reason)
    if counts != found.counts and not found.rendered:
        raise obtain.refuse(
            found, form, folder, root, f"found {counts}; the catalogue says {found.counts}"
        )
    return Made(form, folder, arrays, upstream, reordered)


def _store(found: Entry, folder: Path, new: Made) -> None:
    manifest = _manifest(found, new)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{found.name}.") as temporary:
            made = Path(temporary) / found.name
            made.mkdir()
            np.savez(made / "arrays.npz", allow_pickle=False, **new.arrays)
            manifest["files"] = {"arrays.npz": file_sha256(made / "arrays.npz")}
            write_json(made / "manifest.json", manifest)
            if folder.exists():
                os.replace(folder, Path(temporary) / "old")
            os.replace(made, folder)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from error


def whole(name: str, root: Path) -> bool:
    """Whether a dataset is there and every one of its files is as it was written."""
    try:
        _verified(name, root)
    except InputError:
        return False
    return True


def raw_folder(name: str, root: Path) -> Path:
    """Where a dataset's files are."""
    return Path(root) / "raw" / name


def load_images(name: str, root: Path) -> Images:
    """Read an image set. Raises InputError for a name that is no image set, a missing, cut or
    changed file.
    """
    arrays, sha256 = load_arrays(name, root, "images")
    classes = tuple(str(word) for word in arrays["classes"])
    return Images(
        arrays["image"], arrays["label"], arrays["split"], arrays["group"], classes, sha256
    )


def load_graph(name: str, root: Path) -> "Data":
    """Read a graph: x float32 (N, F), edge_index int64 (2, 2E) with both directions, y int64 (N,),
    sha256; where the dataset has them, split int8 (N,), 0 train, 1 validation, 2 test, -1 unused,
    and classes, names.

    Raises InputError for a name that is no graph, a missing, cut or changed file.
    """
    import torch
    from torch_geometric.data import Data
    from torch_geometric.utils import to_undirected

    arrays, sha256 = load_arrays(name, root, "graph")
    x, edge, y = (torch.from_numpy(arrays[key]) for key in ("x", "edge", "y"))
    more: dict[str, Any] = {"split": torch.from_numpy(arrays["split"])} if "split" in arrays else {}
    if "classes" in arrays:
        more["classes"] = tuple(str(word) for word in arrays["classes"])
    return Data(
        x=x, edge_index=to_undirected(edge, num_nodes=x.shape[0]), y=y, sha256=sha256, **more
    )


def load_arrays(name: str, root: Path, kind: str | None = None) -> tuple[Arrays, str]:
    """A dataset's arrays as its source made them, and their content hash; without torch for a
    graph.
    """
    found = entry(name)
    if kind is not None and found.kind != kind:
        raise InputError(
            f"dataset: found {name!r}, which is of kind {found.kind}; allowed is one of kind {kind}"
        )
    manifest, folder = _verified(name, root), raw_folder(name, root)
    with np.load(folder / "arrays.npz", allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}, manifest["sha256"]


def _manifest(found: Entry, new: Made) -> dict[str, Any]:
    """What is known of the arrays, compared with the catalogue. Raises InputError when they are not
    the catalogue's.
    """
    sha256, counts = content_sha256(new.arrays), counts_of(found.kind, new.arrays)
    matches = None if found.sha256 is None else sha256 == found.sha256
    makers = ("numpy", "pillow", "matplotlib", "fonttools") if found.rendered else ("numpy",)
    versions = {package: version(package) for package in makers}
    if matches is False and not found.rendered and not new.reordered:
        raise InputError(
            f"dataset {found.name}: content hash {sha256} is not the catalogue's {found.sha256}; "
            f"check the installed versions against requirements.lock (here {_words(versions)})"
        )
    if new.reordered:
        log.warning(
            "%s: the catalogue's rows in another order; row numbers mean other rows here",
            found.name,
        )
    elif matches is False:
        log.warning(
            "%s: rendered with %s, the bitmaps differ from the catalogue's",
            found.name,
            _words(versions),
        )
    elif matches is None:
        log.warning("%s: not verified, the catalogue has no hash of its content", found.name)
    log.info("%s: %s", found.name, counts)
    return {
        "schema": SCHEMA,
        "dataset": found.name,
        "kind": found.kind,
        "sha256": sha256,
        "matches_catalogue": matches,
        **({"order": "other"} if new.reordered else {}),
        "counts": counts,
        "build": new.form.build,
        **_code(found.name),
        "upstream": new.upstream,
        "versions": versions,
    }


def _code(name: str) -> dict[str, str]:
    """The fingerprint of a plugin's file, under `code`; nothing for the package's datasets, told by
    their hashes.
    """
    return (
        {"code": of_modules([parts.module(FOLDER, name)])}
        if parts.from_plugin(FOLDER, name)
        else {}
    )


def same_rows(found: Entry, arrays: Arrays) -> bool:
    """Whether each part holds the catalogue's rows, in whatever order."""
    for part, sha256 in found.any_order.items():
        rows = arrays["split"] == PARTS.index(part)
        if rows_sha256(arrays["image"][rows], arrays["label"][rows]) != sha256:
            return False
    return True


def _words(versions: dict[str, str]) -> str:
    return ", ".join(f"{package} {number}" for package, number in versions.items())


def _verified(name: str, root: Path) -> dict[str, Any]:
    """The manifest, once every file it lists has the hash it states."""
    entry(name)
    folder = raw_folder(name, root)
    manifest_path = folder / "manifest.json"
    if not manifest_path.exists():
        raise InputError(
            f"{manifest_path} is missing; fetch dataset {name} (`hsac data fetch {name}`)"
        )
    manifest = read_json(manifest_path)
    advice = f"delete the folder {folder} and fetch again"
    if not (isinstance(manifest, dict) and {"files", "sha256"} <= manifest.keys()):
        raise InputError(f"{manifest_path} is no manifest; {advice}")
    if manifest.get("schema") != SCHEMA:
        raise InputError(f"{manifest_path} was written by another version of hsac; {advice}")
    if {key: manifest[key] for key in ("code",) if key in manifest} != _code(name):
        path = parts.find(FOLDER, name)[1]
        raise InputError(
            f"{manifest_path} was not made by the present {path}; fetch again (`hsac data fetch"
            f" {name}`)"
        )
    for relative, sha256 in sorted(manifest["files"].items()):
        path = folder / relative
        if not path.is_file():
            raise InputError(f"{path} is missing; {advice}")
        if file_sha256(path) != sha256:
            raise InputError(
                f"{path} is cut short or changed (its hash is not the manifest's); {advice}"
            )
    return manifest
