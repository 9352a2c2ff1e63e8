"""The flight network of the hyperbolic graph networks, airports classed by their country.

The classes are those of the country's population.

I. Chami, R. Ying, C. Re, J. Leskovec, Hyperbolic Graph Convolutional Neural Networks, NeurIPS 2019.
"""

from pathlib import Path

import numpy as np

from hsac.data.sources._graphs import read_npz, undirected

NAMES = ("edge_index", "x", "y", "label_raw", "node_id")
CLASSES = ("below 7/7", "7/7 to 8/7", "8/7 to 9/7", "9/7 and above")


def build(folder: Path, file: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Make the graph from an .npz.

    Args:
        folder: Holds the file.
        file: An .npz with ``edge_index`` (2, M), ``x`` (3188, 4), ``y``, ``label_raw`` and
            ``node_id``.

    Returns:
        The stored arrays, and the file's own. ``x`` float32 are upstream's feature columns 0 to 3,
        ``y`` is digitize(label_raw, [7/7, 8/7, 9/7]).

    Raises:
        InputError: For a file that is missing, cannot be read or lacks an array.
    """
    decoded = read_npz(Path(folder) / file, NAMES)
    # Without label_raw, which would tell the class, and without upstream's split, which puts nodes
    # into both training and test.
    arrays = {
        "x": decoded["x"].astype(np.float32),
        "edge": undirected(decoded["edge_index"]),
        "y": decoded["y"].astype(np.int64),
        "classes": np.array(CLASSES),
    }
    return arrays, decoded
