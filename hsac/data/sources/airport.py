"""The flight network of the hyperbolic graph networks: airports, classed by the population of their
country.

I. Chami, R. Ying, C. Re, J. Leskovec, Hyperbolic Graph Convolutional Neural Networks, NeurIPS 2019.
"""

from pathlib import Path

import numpy as np

from hsac.data.sources._graphs import read_npz, undirected

NAMES = ("edge_index", "x", "y", "label_raw", "node_id")
CLASSES = ("below 7/7", "7/7 to 8/7", "8/7 to 9/7", "9/7 and above")


def build(folder: Path, file: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """From an .npz with ``edge_index`` (2, M), ``x`` (3188, 4), ``y``, ``label_raw`` and
    ``node_id``.

    Returns the stored arrays (``x`` float32, upstream's feature columns 0 to 3; ``y`` =
    digitize(label_raw, [7/7, 8/7, 9/7]); ``label_raw`` is never a feature) and the file's own. No
    split: upstream's puts nodes into both training and test.
    """
    decoded = read_npz(Path(folder) / file, NAMES)
    arrays = {
        "x": decoded["x"].astype(np.float32),
        "edge": undirected(decoded["edge_index"]),
        "y": decoded["y"].astype(np.int64),
        "classes": np.array(CLASSES),
    }
    return arrays, decoded
