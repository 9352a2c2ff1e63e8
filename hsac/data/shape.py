"""The form of a dataset's stored arrays, by its kind."""

import logging
from dataclasses import dataclass

import numpy as np

from hsac.errors import InputError

log = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Stored:
    """The form of one stored array.

    Attributes:
        dtype: Data type. ``str`` stands for texts of any length, ``integer`` for whole numbers of
            any width.
        words: Data type and shape, for people.
        axes: Allowed numbers of axes.
        needed: Whether every dataset of the kind has the array.
        may_be_empty: Whether it may hold no values.
    """

    dtype: str
    words: str
    axes: tuple[int, ...]
    needed: bool = True
    may_be_empty: bool = False

    def fits(self, array: np.ndarray) -> bool:
        """Check an array's data type, its number of axes, and that it holds values.

        Args:
            array: The array.

        Returns:
            Whether it has this form.
        """
        # numpy's data type of texts holds the length of the longest, such as <U7.
        kinds = {"str": "U", "integer": "iu"}.get(self.dtype)
        type_fits = array.dtype.kind in kinds if kinds else array.dtype == self.dtype
        filled = self.may_be_empty or array.size > 0
        return bool(type_fits) and array.ndim in self.axes and filled


IMAGES = {
    "image": Stored("uint8", "uint8 (N, H, W) or (N, H, W, 3)", (3, 4)),
    "label": Stored("int64", "int64 (N,)", (1,)),
    "split": Stored("int8", "int8 (N,)", (1,)),
    "group": Stored("int64", "int64 (N,)", (1,)),
    "classes": Stored("str", "texts (K,)", (1,)),
}
GRAPH = {
    "x": Stored("float32", "float32 (N, F)", (2,)),
    "edge": Stored("int64", "int64 (2, E)", (2,), may_be_empty=True),
    "y": Stored("int64", "int64 (N,)", (1,)),
    "split": Stored("int8", "int8 (N,)", (1,), needed=False),
    "classes": Stored("str", "texts (K,)", (1,), needed=False),
}
# Other columns of labels are named by their dataset.
LABELS = {"clean_label": Stored("integer", "whole numbers (N,)", (1,))}
STORED: dict[str, dict[str, Stored]] = {"images": IMAGES, "graph": GRAPH, "labels": LABELS}


def check(name: str, kind: str, arrays: Arrays) -> None:
    """Check that a dataset's arrays have the form of its kind and fit one another.

    Pictures of a single value are logged as a warning, unless there are no others.

    Args:
        name: Name of the dataset.
        kind: images, graph or labels.
        arrays: The arrays by name. For images and graphs those that the kind does not know are not
            looked at.

    Raises:
        InputError: Naming the dataset and its array that is missing, of another type or shape, or
            whose values point beyond the others, leave a class out, or tell nothing. Of a bad value
            its place, too.
    """
    where = f"dataset {name}"
    forms = STORED[kind]
    if kind == "labels":
        forms = dict.fromkeys(arrays, LABELS["clean_label"]) | LABELS
    for key, wanted in forms.items():
        if key in arrays:
            _check_form(where, key, arrays[key], wanted)
        elif wanted.needed:
            raise InputError(f"{where}: found no array {key!r}; {kind} have one, {wanted.words}")
    CHECKS[kind](where, arrays)


def _check_form(where: str, key: str, array: np.ndarray, wanted: Stored) -> None:
    if not wanted.fits(array):
        found = f"{array.dtype} {array.shape}"
        empty = "" if array.size else ", none of the sizes 0"
        raise InputError(f"{where}: {key}: found {found}; allowed is {wanted.words}{empty}")


def _check_images(where: str, arrays: Arrays) -> None:
    image = arrays["image"]
    if image.shape[3:] not in ((), (3,)):
        found, allowed = f"uint8 {image.shape}", IMAGES["image"].words
        raise InputError(f"{where}: image: found {found}; allowed is {allowed}")
    for key in ("label", "split", "group"):
        _check_length(where, key, arrays[key], len(image), "images")
    _check_names(where, arrays["classes"])
    _check_classes(where, "label", arrays["label"], arrays["classes"])
    _check_range(where, "split", arrays["split"], 0, 2)
    _check_pixels(where, image)


def _check_graph(where: str, arrays: Arrays) -> None:
    x, edge, y = (arrays[key] for key in ("x", "edge", "y"))
    if len(edge) != 2:
        allowed = GRAPH["edge"].words
        raise InputError(f"{where}: edge: found int64 {edge.shape}; allowed is {allowed}")
    _check_length(where, "y", y, len(x), "nodes")
    _check_values(where, "x", x, ~np.isfinite(x), "a finite number")
    _check_range(where, "edge", edge, 0, len(x) - 1)
    if "classes" in arrays:
        _check_names(where, arrays["classes"])
    _check_classes(where, "y", y, arrays.get("classes"))
    if "split" in arrays:
        _check_length(where, "split", arrays["split"], len(x), "nodes")
        _check_range(where, "split", arrays["split"], -1, 2)


def _check_labels(where: str, arrays: Arrays) -> None:
    rows = len(arrays["clean_label"])
    if all(key.startswith("clean") for key in arrays):
        found = ", ".join(arrays)
        raise InputError(f"{where}: found {found} alone; allowed is a column of given labels, too")
    for key, column in arrays.items():
        _check_length(where, key, column, rows, "rows of clean_label")
        _check_values(where, key, column, column < 0, "a class, numbered from 0")


CHECKS = {"images": _check_images, "graph": _check_graph, "labels": _check_labels}


def _check_length(where: str, key: str, values: np.ndarray, rows: int, of: str) -> None:
    if len(values) != rows:
        raise InputError(f"{where}: {key}: found {len(values)} values for {rows} {of}")


def _check_range(where: str, key: str, values: np.ndarray, low: int, high: int) -> None:
    _check_values(where, key, values, (values < low) | (values > high), f"{low} to {high}")


def _check_values(where: str, key: str, values: np.ndarray, bad: np.ndarray, allowed: str) -> None:
    """Raise InputError for the first value that is marked as bad."""
    if not bad.any():
        return
    place = [int(position) for position in np.unravel_index(bad.argmax(), bad.shape)]
    found = f"{values[tuple(place)]} at {place}"
    raise InputError(f"{where}: {key}: found {found}; allowed is {allowed}")


def _check_names(where: str, classes: np.ndarray) -> None:
    seen: dict[str, int] = {}
    for place, name in enumerate(classes.tolist()):
        first = seen.setdefault(name, place)
        if first != place:
            found = f"{name!r} at [{first}] and at [{place}]"
            raise InputError(f"{where}: classes: found {found}; allowed is each name once")


def _check_classes(where: str, key: str, label: np.ndarray, classes: np.ndarray | None) -> None:
    """Raise InputError for a label beyond the classes, and for a class that no row has."""
    present = np.unique(label)
    # Without names the classes are those up to the largest label.
    count = int(present[-1]) + 1 if classes is None else len(classes)
    _check_range(where, key, label, 0, max(count - 1, 0))
    if len(present) == count:
        return
    lacking = next(number for number in range(count) if number not in present)
    name = "" if classes is None else f" ({str(classes[lacking])!r})"
    found = f"{count} classes, and no value is {lacking}{name}"
    raise InputError(f"{where}: {key}: found {found}; allowed is a row or more of each class")


def _check_pixels(where: str, image: np.ndarray) -> None:
    pixels = image.reshape(len(image), -1)
    flat = np.flatnonzero(pixels.min(1) == pixels.max(1))
    if not flat.size:
        return
    first = int(flat[0])
    value = f"{pixels[first, 0]} at [{first}]"
    if len(flat) == len(image):
        found = f"pictures of one value each, such as {value}"
        allowed = "pictures of several"
        raise InputError(f"{where}: image: found only {found}; allowed are {allowed}")
    # Real sets have a few of them, such as a white patch of a scan.
    log.warning("%s: image: found %d pictures of one value, first %s", where, len(flat), value)
