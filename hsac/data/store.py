"""Raw data on disk: made once from its source, checked by hash each time it is read.

``<root>/raw/<name>/`` holds ``manifest.json`` and either ``images/`` (a Hugging Face dataset in Arrow, columns image,
label, split, group) or ``graph.npz``.
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

from hsac.data.catalogue import Entry, entry
from hsac.errors import InputError
from hsac.files import file_sha256, read_json, write_json

if TYPE_CHECKING:
    from torch_geometric.data import Data

log = logging.getLogger(__name__)

PARTS = ("train", "validation", "test")
"""Names of the values of a ``split`` array."""


@dataclass(frozen=True)
class Images:
    """A set of grey images: ``image`` uint8 (N, H, W); ``label`` int64 (N,) into ``classes``; ``split`` int8 (N,),
    0 train, 1 validation, 2 test; ``group`` int64 (N,), rows of one group are near copies of one another;
    ``sha256`` of the content."""

    image: np.ndarray
    label: np.ndarray
    split: np.ndarray
    group: np.ndarray
    classes: tuple[str, ...]
    sha256: str


def content_sha256(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over name, dtype, shape and C-order little-endian bytes of each array, by name; fields end in a NUL."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        total.update(f"{name}\0{little.dtype.str}\0{little.shape}\0".encode())
        total.update(little.tobytes())
    return total.hexdigest()


def counts_of(kind: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Sizes that the catalogue states: rows and classes by part, or nodes, edges, features and classes."""
    if kind == "graph":
        nodes, features = arrays["x"].shape
        sizes = {"nodes": nodes, "edges": arrays["edge"].shape[1], "features": features}
        return {**sizes, "classes": int(arrays["y"].max()) + 1}
    split, label = arrays["split"], arrays["label"]
    present = [part for part in range(3) if (split == part).any()]
    return {
        "images": {PARTS[part]: int((split == part).sum()) for part in present},
        "classes": {PARTS[part]: int(np.unique(label[split == part]).size) for part in present},
        "side": arrays["image"].shape[1],
    }


def fetch(name: str, root: Path) -> Path:
    """Make ``<root>/raw/<name>`` unless it is there and whole; returns the folder.

    The folder appears complete or not at all; a damaged one is replaced. Raises InputError for an unknown name, for
    content that is not the catalogue's, or for a folder that cannot be written. Rendered sets may differ from the
    catalogue where fonts or Pillow do: the manifest then says ``matches_catalogue: false`` and the log warns.
    """
    found, folder = entry(name), raw_folder(name, root)
    try:
        _verified(name, root)
        return folder
    except InputError:
        pass
    arrays = found.arrays()
    manifest = _manifest(found, arrays)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}.") as temporary:
            made = Path(temporary) / name
            made.mkdir()
            _write_graph(arrays, made) if found.kind == "graph" else _write_images(arrays, made, manifest["sha256"])
            stored = sorted(path for path in made.rglob("*") if path.is_file())
            manifest["files"] = {path.relative_to(made).as_posix(): file_sha256(path) for path in stored}
            write_json(made / "manifest.json", manifest)
            if folder.exists():
                os.replace(folder, Path(temporary) / "old")
            os.replace(made, folder)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from error
    return folder


def raw_folder(name: str, root: Path) -> Path:
    """Where a dataset's files are."""
    return Path(root) / "raw" / name


def load_images(name: str, root: Path) -> Images:
    """Read an image set. Raises InputError for a name that is no image set, a missing, cut or changed file."""
    arrays, sha256 = load_arrays(name, root, "images")
    classes = tuple(str(word) for word in arrays["classes"])
    return Images(arrays["image"], arrays["label"], arrays["split"], arrays["group"], classes, sha256)


def load_graph(name: str, root: Path) -> "Data":
    """Read a graph: x float32 (N, F), edge_index int64 (2, 2E) with both directions, y int64 (N,), sha256.

    Raises InputError for a name that is no graph, a missing, cut or changed file.
    """
    import torch
    from torch_geometric.data import Data
    from torch_geometric.utils import to_undirected

    arrays, sha256 = load_arrays(name, root, "graph")
    x, edge, y = (torch.from_numpy(arrays[key]) for key in ("x", "edge", "y"))
    return Data(x=x, edge_index=to_undirected(edge, num_nodes=x.shape[0]), y=y, sha256=sha256)


def load_arrays(name: str, root: Path, kind: str | None = None) -> tuple[dict[str, np.ndarray], str]:
    """A dataset's arrays as its source made them, and their content hash; without torch for a graph."""
    found = entry(name)
    if kind is not None and found.kind != kind:
        raise InputError(f"dataset: found {name!r}, which is of kind {found.kind}; allowed is one of kind {kind}")
    manifest, folder = _verified(name, root), raw_folder(name, root)
    arrays = _read_graph(folder) if found.kind == "graph" else _read_images(folder)
    return arrays, manifest["sha256"]


def _manifest(found: Entry, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    sha256, counts = content_sha256(arrays), counts_of(found.kind, arrays)
    matches = sha256 == found.sha256
    makers = ("numpy", "pillow", "matplotlib", "fonttools") if found.rendered else ("numpy",)
    versions = {package: version(package) for package in makers}
    if not matches and not found.rendered:
        raise InputError(
            f"dataset {found.name}: content hash {sha256} is not the catalogue's {found.sha256}; "
            f"check the installed versions against requirements.lock (here {_words(versions)})"
        )
    if not matches:
        log.warning("%s: rendered with %s, the bitmaps differ from the catalogue's", found.name, _words(versions))
    log.info("%s: %s", found.name, counts)
    return {
        "schema": 1,
        "dataset": found.name,
        "kind": found.kind,
        "sha256": sha256,
        "matches_catalogue": matches,
        "counts": counts,
        "versions": versions,
    }


def _words(versions: dict[str, str]) -> str:
    return ", ".join(f"{package} {number}" for package, number in versions.items())


def _verified(name: str, root: Path) -> dict[str, Any]:
    """The manifest, once every file it lists has the hash it states."""
    entry(name)
    folder = raw_folder(name, root)
    manifest_path = folder / "manifest.json"
    if not manifest_path.exists():
        raise InputError(f"{manifest_path} is missing; fetch dataset {name} (`hsac data fetch {name}`)")
    manifest = read_json(manifest_path)
    advice = f"delete the folder {folder} and fetch again"
    if not (isinstance(manifest, dict) and {"files", "sha256"} <= manifest.keys()):
        raise InputError(f"{manifest_path} is no manifest; {advice}")
    for relative, sha256 in sorted(manifest["files"].items()):
        path = folder / relative
        if not path.is_file():
            raise InputError(f"{path} is missing; {advice}")
        if file_sha256(path) != sha256:
            raise InputError(f"{path} is cut short or changed (its hash is not the manifest's); {advice}")
    return manifest


def _datasets() -> Any:
    """The `datasets` library, offline and without progress bars."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import datasets

    datasets.disable_progress_bars()
    return datasets


def _write_images(arrays: dict[str, np.ndarray], folder: Path, sha256: str) -> None:
    hf = _datasets()
    side = arrays["image"].shape[1:]
    features = hf.Features(
        {
            "image": hf.Array2D(shape=side, dtype="uint8"),
            "label": hf.ClassLabel(names=[str(word) for word in arrays["classes"]]),
            "split": hf.ClassLabel(names=list(PARTS)),
            "group": hf.Value("int64"),
        }
    )
    columns = {name: arrays[name] for name in features}
    table = hf.Dataset.from_dict(columns, features=features)
    # the fingerprint of from_dict is drawn anew each time and would be stored
    hf.Dataset(table.data, info=table.info, fingerprint=sha256[:16]).save_to_disk(folder / "images")


def _read_images(folder: Path) -> dict[str, np.ndarray]:
    table = _datasets().load_from_disk(folder / "images")
    columns = table.with_format("numpy")[:]
    types = {"image": np.uint8, "label": np.int64, "split": np.int8, "group": np.int64}
    arrays = {name: np.ascontiguousarray(columns[name], dtype=dtype) for name, dtype in types.items()}
    return {**arrays, "classes": np.array(table.features["label"].names)}


def _write_graph(arrays: dict[str, np.ndarray], folder: Path) -> None:
    np.savez(folder / "graph.npz", allow_pickle=False, **arrays)


def _read_graph(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "graph.npz", allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
