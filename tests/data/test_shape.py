"""The form of stored arrays: a bad value is named with its array and place."""

import logging
import re
from typing import Any

import numpy as np
import pytest

from hsac.data import shape
from hsac.errors import InputError

Arrays = dict[str, np.ndarray]


def images() -> Arrays:
    return {
        "image": np.random.default_rng(0).integers(0, 256, (12, 4, 4), dtype=np.uint8),
        "label": np.arange(12) % 3,
        "split": np.where(np.arange(12) < 9, 0, 2).astype(np.int8),
        "group": np.arange(12),
        "classes": np.array(["a", "b", "c"]),
    }


def graph() -> Arrays:
    return {
        "x": np.random.default_rng(0).standard_normal((6, 2)).astype(np.float32),
        "edge": np.array([[0, 1, 2], [1, 2, 3]]),
        "y": np.arange(6) % 3,
        "split": np.array([0, 0, 1, 1, 2, -1], np.int8),
        "classes": np.array(["a", "b", "c"]),
    }


def labels() -> Arrays:
    clean = np.arange(6, dtype=np.uint8)
    return {"clean_label": clean, "worse_label": clean[::-1].copy()}


KINDS = {"images": images, "graph": graph, "labels": labels}


def changed(array: np.ndarray, place: Any, value: Any) -> np.ndarray:
    made = array.copy()
    made[place] = value
    return made


BAD: list[tuple[str, str, Any, str]] = [
    ("graph", "y", lambda y: changed(y, 4, -1), "y: found -1 at [4]; allowed is 0 to 2"),
    ("graph", "y", lambda y: changed(y, 4, 3), "y: found 3 at [4]; allowed is 0 to 2"),
    (
        "graph",
        "y",
        lambda y: np.where(y == 1, 2, y),
        "y: found 3 classes, and no value is 1 ('b'); allowed is a row or more of each class",
    ),
    ("graph", "y", lambda y: y[:-1], "y: found 5 values for 6 nodes"),
    ("graph", "x", lambda x: changed(x, (3, 1), np.nan), "x: found nan at [3, 1]; allowed is a"),
    ("graph", "x", lambda x: changed(x, (0, 1), -np.inf), "x: found -inf at [0, 1]; allowed is a"),
    ("graph", "x", lambda x: x[:, :0], "x: found float32 (6, 0); allowed is float32 (N, F), none"),
    ("graph", "split", lambda s: s[:-1], "split: found 5 values for 6 nodes"),
    ("graph", "split", lambda s: np.append(s, s[:1]), "split: found 7 values for 6 nodes"),
    ("graph", "split", lambda s: s[:, None], "split: found int8 (6, 1); allowed is int8 (N,)"),
    ("graph", "split", lambda s: s.astype(int), "split: found int64 (6,); allowed is int8 (N,)"),
    ("graph", "split", lambda s: changed(s, 2, 3), "split: found 3 at [2]; allowed is -1 to 2"),
    ("graph", "classes", lambda c: c[:2], "y: found 2 at [2]; allowed is 0 to 1"),
    ("graph", "classes", lambda c: c[:0], "classes: found <U1 (0,); allowed is texts (K,), none"),
    (
        "graph",
        "classes",
        lambda c: np.append(c, "d"),
        "y: found 4 classes, and no value is 3 ('d')",
    ),
    (
        "graph",
        "edge",
        lambda e: changed(e, (1, 2), 6),
        "edge: found 6 at [1, 2]; allowed is 0 to 5",
    ),
    ("graph", "edge", lambda e: e.T, "edge: found int64 (3, 2); allowed is int64 (2, E)"),
    ("images", "label", lambda y: changed(y, 5, -1), "label: found -1 at [5]; allowed is 0 to 2"),
    (
        "images",
        "label",
        lambda y: np.where(y == 1, 2, y),
        "label: found 3 classes, and no value is 1 ('b')",
    ),
    (
        "images",
        "classes",
        lambda _: np.array(["a", "b", "a"]),
        "classes: found 'a' at [0] and at [2]; allowed is each name once",
    ),
    (
        "images",
        "image",
        lambda i: np.full_like(i, 255),
        "image: found only pictures of one value each, such as 255 at [0]; allowed are pictures",
    ),
    (
        "images",
        "image",
        lambda i: np.broadcast_to(i[:, :1, :1], i.shape).copy(),
        "image: found only pictures of one value each",
    ),
    (
        "images",
        "image",
        lambda i: np.stack([i] * 4, 3),
        "image: found uint8 (12, 4, 4, 4); allowed is uint8 (N, H, W) or (N, H, W, 3)",
    ),
    ("images", "image", lambda i: i.astype(float), "image: found float64 (12, 4, 4); allowed is u"),
    ("images", "image", lambda i: i[:0], "image: found uint8 (0, 4, 4); allowed is uint8"),
    ("images", "split", lambda s: changed(s, 3, 7), "split: found 7 at [3]; allowed is 0 to 2"),
    ("images", "group", lambda g: g[1:], "group: found 11 values for 12 images"),
    ("labels", "worse_label", lambda c: c[1:], "worse_label: found 5 values for 6 rows"),
    ("labels", "worse_label", lambda c: c.astype(float), "worse_label: found float64 (6,); allo"),
    (
        "labels",
        "worse_label",
        lambda c: changed(c.astype(int), 2, -1),
        "worse_label: found -1 at [2]; allowed is a class, numbered from 0",
    ),
]


@pytest.mark.parametrize(("kind", "key", "change", "line"), BAD)
def test_bad_value_is_named(kind: str, key: str, change: Any, line: str) -> None:
    """A bad value is refused with dataset, array, place and value."""
    arrays = KINDS[kind]()
    shape.check("d", kind, arrays)
    with pytest.raises(InputError, match=re.escape(f"dataset d: {line}")) as caught:
        shape.check("d", kind, arrays | {key: change(arrays[key])})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "key"),
    [("images", "classes"), ("graph", "edge"), ("labels", "clean_label")],
)
def test_missing_array_is_named(kind: str, key: str) -> None:
    arrays = KINDS[kind]()
    del arrays[key]
    with pytest.raises(InputError, match=f"dataset d: found no array '{key}'; {kind} have one"):
        shape.check("d", kind, arrays)


def test_only_clean_labels_are_refused() -> None:
    with pytest.raises(InputError, match="found clean_label alone"):
        shape.check("d", "labels", {"clean_label": np.arange(3)})


def test_graph_may_lack_edges_and_names() -> None:
    arrays = {key: graph()[key] for key in ("x", "y")} | {"edge": np.empty((2, 0), np.int64)}
    shape.check("d", "graph", arrays)
    with pytest.raises(InputError, match=re.escape("y: found 4 classes, and no value is 1;")):
        shape.check("d", "graph", arrays | {"y": np.array([0, 3, 2, 0, 3, 2])})


def test_some_flat_pictures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Real sets have pictures of one value, so that some of them are no fault."""
    arrays = images()
    arrays["image"][[4, 7]] = 255
    with caplog.at_level(logging.WARNING):
        shape.check("d", "images", arrays)
    assert "dataset d: image: found 2 pictures of one value, first 255 at [4]" in caplog.text
