"""What a dataset's stored arrays look like, by its kind."""

import numpy as np

from hsac.errors import InputError

Arrays = dict[str, np.ndarray]

Stored = dict[str, tuple[str, str, tuple[int, ...]]]
"""Name -> data type, the same in words, allowed numbers of axes."""

IMAGES: Stored = {
    "image": ("uint8", "uint8 (N, H, W) or (N, H, W, 3)", (3, 4)),
    "label": ("int64", "int64 (N,)", (1,)),
    "split": ("int8", "int8 (N,)", (1,)),
    "group": ("int64", "int64 (N,)", (1,)),
    "classes": ("str", "texts (K,)", (1,)),
}
GRAPH: Stored = {
    "x": ("float32", "float32 (N, F)", (2,)),
    "edge": ("int64", "int64 (2, E)", (2,)),
    "y": ("int64", "int64 (N,)", (1,)),
}
STORED: dict[str, Stored] = {"images": IMAGES, "graph": GRAPH, "labels": {}}


def check(name: str, kind: str, arrays: Arrays) -> None:
    """Raises InputError naming the dataset and its array that is missing, of another type or shape,
    or whose values point beyond the others.
    """
    where = f"dataset {name}"
    for key, (dtype, words, axes) in STORED[kind].items():
        array = arrays.get(key)
        if not isinstance(array, np.ndarray):
            raise InputError(f"{where}: found no array {key!r}; {kind} have one, {words}")
        type_fits = array.dtype.kind == "U" if dtype == "str" else array.dtype == dtype
        if not (type_fits and array.ndim in axes):
            raise InputError(
                f"{where}: {key}: found {array.dtype} {array.shape}; allowed is {words}"
            )
    if kind == "images":
        rows, classes = len(arrays["image"]), len(arrays["classes"])
        for key in ("label", "split", "group"):
            if len(arrays[key]) != rows:
                raise InputError(
                    f"{where}: {key}: found {len(arrays[key])} values for {rows} images"
                )
        for key, bound in (("label", classes), ("split", 3)):
            _check_range(where, key, arrays[key], bound)
    if kind == "graph":
        nodes = len(arrays["x"])
        if len(arrays["edge"]) != 2 or len(arrays["y"]) != nodes:
            raise InputError(
                f"{where}: found edge {arrays['edge'].shape} and y {arrays['y'].shape} for {nodes}"
                " nodes"
            )
        _check_range(where, "edge", arrays["edge"], nodes)


def _check_range(where: str, key: str, values: np.ndarray, bound: int) -> None:
    if values.size and (values.min() < 0 or values.max() >= bound):
        raise InputError(
            f"{where}: {key}: found {values.min()} to {values.max()}; allowed is 0 to {bound - 1}"
        )
