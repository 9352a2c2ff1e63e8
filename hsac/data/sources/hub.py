"""Image sets as parquet files in the layout of the Hugging Face hub, read through ``datasets``.

CIFAR-10 and CIFAR-100 (A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images,
technical report, University of Toronto, 2009); Fashion-MNIST (H. Xiao, K. Rasul, R. Vollgraf,
arXiv:1708.07747, 2017); Tiny ImageNet (Y. Le, X. Yang, Tiny ImageNet Visual Recognition Challenge,
Stanford CS 231N, 2015).
"""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from hsac.data.sources._images import assembled, read_table, shards
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
    """The parts of a set below one another, and what they decoded to.

    ``data``: the folder of the parquet files below ``folder``; ``image`` and ``label``: their
    columns; ``mode``: L for grey, RGB for colour; ``parts``: the hub's name of each part → train,
    validation or test, where they differ.

    Returns the stored arrays (``image`` uint8 (N, H, W) or (N, H, W, 3), ``label``, ``split``,
    ``group``, ``classes``) and views of them by the names of the hub (``train/img``). Raises
    InputError for files that are missing or cannot be read.
    """
    parts = parts or {"train": "train", "test": "test"}
    files = [shards(Path(folder) / data, part) for part in parts]
    table = read_table([path for some in files for path in some], image, mode)
    rows = iter(table.sizes)
    sizes = [sum(islice(rows, len(some))) for some in files]
    split = np.repeat([PARTS.index(stored) for stored in parts.values()], sizes)
    arrays = assembled(table.image, table.columns[label], split, table.names[label])
    ends = np.cumsum(sizes)[:-1]
    pieces = {
        name: np.split(arrays[key], ends) for name, key in ((image, "image"), (label, "label"))
    }
    return arrays, {
        f"{part}/{name}": piece[i] for name, piece in pieces.items() for i, part in enumerate(parts)
    }
