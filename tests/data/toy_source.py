"""A small dataset with a file, for tests of fetching: twelve 4 x 4 images in an npz."""

import io
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

from hsac.data import store
from hsac.data.catalogue import Entry, File, Form

PATH = "org/toy/plain/toy.npz"


def upstream(seed: int = 0) -> dict[str, np.ndarray]:
    image = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (12, 4, 4), dtype=np.uint8)
    return {"image": image, "label": np.arange(12) % 3}


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def build(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    with np.load(folder / PATH, allow_pickle=False) as stored:
        image, label = stored["image"], stored["label"]
    count = len(label)
    arrays = {
        "image": image,
        "label": label,
        "split": np.zeros(count, dtype=np.int8),
        "group": np.arange(count),
        "classes": np.array(["a", "b", "c"]),
    }
    return arrays, {"train/image": image, "train/label": label}


def toy(*urls: str, sha256: str | None = None, **changes: object) -> Entry:
    """The dataset's entry, and its source where the store looks for sources."""
    module = ModuleType("hsac.data.sources.toy")
    module.build = build  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    arrays = upstream()
    words = {key: "x" for key in ("about", "source", "licence", "citation")}
    given = {
        "counts": {"images": {"train": 12}, "classes": {"train": 3}, "side": 4},
        "sha256": None,
        "arrays": {f"train/{name}": store.array_sha256(array) for name, array in arrays.items()},
        "any_order": {"train": store.rows_sha256(arrays["image"], arrays["label"])},
        **changes,
    }
    return Entry(
        "toy",
        "images",
        **words,
        forms=(Form("toy:build", {}, (File(PATH, urls, sha256),)),),
        **given,
    )
