"""Image sets as parquet files in the layout of the Hugging Face hub, read through ``datasets``.

CIFAR-10 and CIFAR-100 (A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images,
technical report, University of Toronto, 2009); Fashion-MNIST (H. Xiao, K. Rasul, R. Vollgraf,
arXiv:1708.07747, 2017); Tiny ImageNet (Y. Le, X. Yang, Tiny ImageNet Visual Recognition Challenge,
Stanford CS 231N, 2015).
"""

from collections.abc import Mapping
from itertools import chain, islice
from pathlib import Path

import numpy as np

from hsac.data.sources._images import image_set, read_table, shards
from hsac.data.store import PARTS

Arrays = dict[str, np.ndarray]


def build(
    folder: Path,
    data: str,
    image: str,
    label: str,
    mode: str = "RGB",
    parts: Mapping[str, str] | None = None,
) -> tuple[Arrays, Arrays]:
    """Read the parts of a set, one below the other.

    Args:
        folder: Holds the folder below.
        data: Folder of the parquet files.
        image: Their column of images.
        label: Their column of labels.
        mode: L for grey, RGB for colour.
        parts: train, validation or test for each part by the hub's name. None takes train and test.

    Returns:
        The stored arrays, ``image`` uint8 (N, H, W) or (N, H, W, 3), and views of them by the names
        of the hub (``train/img``).

    Raises:
        InputError: For files that are missing or cannot be read.
    """
    parts = parts or {"train": "train", "test": "test"}
    files = [shards(Path(folder) / data, part) for part in parts]
    table = read_table(list(chain.from_iterable(files)), image, mode)
    rows = iter(table.sizes)
    # A part may lie in several files, read one after the other.
    sizes = [sum(islice(rows, len(some))) for some in files]
    split = np.repeat([PARTS.index(stored) for stored in parts.values()], sizes)
    arrays = image_set(table.image, table.columns[label], split, table.names[label])
    ends = np.cumsum(sizes)[:-1]
    decoded = {}
    for name, key in ((image, "image"), (label, "label")):
        for part, piece in zip(parts, np.split(arrays[key], ends), strict=True):
            decoded[f"{part}/{name}"] = piece
    return arrays, decoded
