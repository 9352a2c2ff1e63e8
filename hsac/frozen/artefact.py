"""Features on disk: arrays with a manifest beside them, checked by hash whenever they are read."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hsac.data.store import content_sha256
from hsac.errors import InputError
from hsac.files import JsonObject, atomic, digest, read_json, write_json
from hsac.frozen.features import Arrays, FeatureContent
from hsac.frozen.features._content import TEST
from hsac.study.frozen import Features

SCHEMA = 1
ARRAYS = ("x", "label", "split", "group", "classes")
ADVICE = "delete it and make it again"


@dataclass(frozen=True)
class StoredFeatures:
    """Features as they are stored.

    Attributes:
        arrays: ``x`` float32 (B, N, F), ``label`` (N,), ``split`` (N,), ``group`` (N,) and
            ``classes``, as `FeatureContent` has them.
        manifest: Dataset, recipe, words, counts, ``data_sha256``, ``sources`` (hashes of the
            backbones' weights), ``sha256`` of the arrays, and ``hash`` over all the rest.
    """

    arrays: Arrays
    manifest: JsonObject


def stored(
    made: FeatureContent,
    features: Features,
    data_sha256: str,
    sources: Mapping[str, str] | None = None,
) -> StoredFeatures:
    """Lay out features for storage.

    Args:
        made: What the recipe made.
        features: Dataset and recipe.
        data_sha256: Content hash of the dataset.
        sources: Hashes of the backbones' weights, by their record.

    Returns:
        Arrays and manifest.
    """
    arrays = {name: getattr(made, name) for name in ARRAYS}
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "dataset": features.dataset,
        "recipe": features.made_by(),
        "words": made.words,
        "counts": _counts(made),
        "data_sha256": data_sha256,
        "sources": dict(sources or {}),
        "sha256": content_sha256(arrays),
    }
    return StoredFeatures(arrays, {**manifest, "hash": digest(manifest)})


def _counts(made: FeatureContent) -> JsonObject:
    backbones, rows, width = made.x.shape
    test = int((made.split == TEST).sum())
    return {
        "backbones": backbones,
        "features": width,
        "rows": rows,
        "test": test,
        "classes": len(made.classes),
    }


def manifest_of(path: Path) -> Path:
    """Return the manifest beside the arrays of features.

    Args:
        path: The .npz file of the arrays.
    """
    return Path(path).with_suffix(".json")


def write(features: StoredFeatures, path: Path) -> None:
    """Write features, the arrays first and the manifest last.

    Args:
        features: What to write.
        path: The .npz file. Its manifest goes beside it.

    Raises:
        InputError: A file cannot be written.
    """
    with atomic(path) as temporary, open(temporary, "wb") as stream:
        # To a stream, as numpy would add an ending to the temporary name.
        np.savez(stream, allow_pickle=False, **features.arrays)
    write_json(manifest_of(path), features.manifest)


def read(path: Path) -> StoredFeatures:
    """Read features.

    Args:
        path: The .npz file of the arrays.

    Returns:
        The features.

    Raises:
        InputError: Naming the file that is missing, cut short, changed, or no such file.
    """
    beside = manifest_of(path)
    manifest = read_json(beside)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("sha256"), str):
        raise InputError(f"{beside} is no manifest of features; {ADVICE}")
    told = {key: value for key, value in manifest.items() if key != "hash"}
    if manifest.get("hash") != digest(told):
        raise InputError(f"{beside} was changed (its hash is not its content's); {ADVICE}")
    arrays = _arrays(path)
    if set(arrays) != set(ARRAYS) or content_sha256(arrays) != manifest["sha256"]:
        raise InputError(f"{path} was changed (its hash is not its manifest's); {ADVICE}")
    return StoredFeatures(arrays, manifest)


def _arrays(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise InputError(f"{path} is missing; make it again") from None
    # A damaged archive fails in whatever way its bytes lead to.
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile):
        raise InputError(f"{path} is cut short or no file of features; {ADVICE}") from None
