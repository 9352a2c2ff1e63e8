"""The form of a dataset's stored arrays, by its kind."""

from dataclasses import dataclass

import numpy as np

from hsac.errors import InputError

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Stored:
    """The form of one stored array.

    Attributes:
        dtype: Data type. ``str`` stands for texts of any length.
        words: Data type and shape, for people.
        axes: Allowed numbers of axes.
    """

    dtype: str
    words: str
    axes: tuple[int, ...]

    def fits(self, array: np.ndarray) -> bool:
        """Check an array's data type and number of axes.

        Args:
            array: The array.

        Returns:
            Whether it has this form.
        """
        # numpy's data type of texts holds the length of the longest, such as <U7.
        type_fits = array.dtype.kind == "U" if self.dtype == "str" else array.dtype == self.dtype
        return bool(type_fits) and array.ndim in self.axes


IMAGES = {
    "image": Stored("uint8", "uint8 (N, H, W) or (N, H, W, 3)", (3, 4)),
    "label": Stored("int64", "int64 (N,)", (1,)),
    "split": Stored("int8", "int8 (N,)", (1,)),
    "group": Stored("int64", "int64 (N,)", (1,)),
    "classes": Stored("str", "texts (K,)", (1,)),
}
# What every graph has. A split and the names of classes may be there, too.
GRAPH = {
    "x": Stored("float32", "float32 (N, F)", (2,)),
    "edge": Stored("int64", "int64 (2, E)", (2,)),
    "y": Stored("int64", "int64 (N,)", (1,)),
}
# Columns of labels are named by their dataset, and their source checks them.
STORED: dict[str, dict[str, Stored]] = {"images": IMAGES, "graph": GRAPH, "labels": {}}


def check(name: str, kind: str, arrays: Arrays) -> None:
    """Check that a dataset's arrays have the form of its kind and fit one another.

    Args:
        name: Name of the dataset.
        kind: images, graph or labels.
        arrays: The arrays by name. Those that the kind does not ask for are not looked at.

    Raises:
        InputError: Naming the dataset and its array that is missing, of another type or shape, or
            whose values point beyond the others.
    """
    where = f"dataset {name}"
    for key, wanted in STORED[kind].items():
        array = arrays.get(key)
        if not isinstance(array, np.ndarray):
            raise InputError(f"{where}: found no array {key!r}; {kind} have one, {wanted.words}")
        if not wanted.fits(array):
            found = f"{array.dtype} {array.shape}"
            raise InputError(f"{where}: {key}: found {found}; allowed is {wanted.words}")
    if kind == "images":
        _check_images(where, arrays)
    if kind == "graph":
        _check_graph(where, arrays)


def _check_images(where: str, arrays: Arrays) -> None:
    rows = len(arrays["image"])
    for key in ("label", "split", "group"):
        values = len(arrays[key])
        if values != rows:
            raise InputError(f"{where}: {key}: found {values} values for {rows} images")
    _check_range(where, "label", arrays["label"], len(arrays["classes"]))
    _check_range(where, "split", arrays["split"], 3)


def _check_graph(where: str, arrays: Arrays) -> None:
    nodes, edge, y = len(arrays["x"]), arrays["edge"], arrays["y"]
    if len(edge) != 2 or len(y) != nodes:
        found = f"edge {edge.shape} and y {y.shape}"
        raise InputError(f"{where}: found {found} for {nodes} nodes")
    _check_range(where, "edge", edge, nodes)


def _check_range(where: str, key: str, values: np.ndarray, bound: int) -> None:
    # A graph may have no edges, and no values have no smallest one.
    if values.size and (values.min() < 0 or values.max() >= bound):
        raise InputError(
            f"{where}: {key}: found {values.min()} to {values.max()}; allowed is 0 to {bound - 1}"
        )
