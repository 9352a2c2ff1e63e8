"""The public simulated disease tree that comes with features (upstream's link prediction set).

I. Chami, R. Ying, C. Re, J. Leskovec, Hyperbolic Graph Convolutional Neural Networks, NeurIPS 2019.
Simulated by its authors, not real data; their tree for node classification was published without
its features.
"""

from pathlib import Path

import numpy as np

from hsac.data.sources._graphs import read_npz, undirected
from hsac.errors import InputError

Arrays = dict[str, np.ndarray]


def build_npz(folder: Path, file: str) -> tuple[Arrays, Arrays]:
    """From an .npz with ``parent_child`` (2, 2664), ``edge_index`` (both directions), ``x`` (2665,
    11) and ``y``.

    Returns the stored arrays (``x`` float32, ``edge``, ``y`` 1 for infected) and what was decoded.
    """
    decoded = read_npz(Path(folder) / file, ("edge_index", "parent_child", "x", "y"))
    return _stored(decoded), decoded


def build_upstream(folder: Path, data: str) -> tuple[Arrays, Arrays]:
    """From upstream's ``disease_lp.edges.csv``, ``.feats.npz`` (a sparse matrix) and
    ``.labels.npy``, without pickle.

    Returns as `build_npz`. Raises InputError naming the file that is missing or cannot be read.
    """
    from scipy import sparse

    edges, feats, labels = (
        Path(folder) / data / f"disease_lp.{end}"
        for end in ("edges.csv", "feats.npz", "labels.npy")
    )
    readers = {
        edges: lambda path: np.loadtxt(path, delimiter=",", dtype=np.int64, ndmin=2).T,
        feats: lambda path: sparse.load_npz(path).toarray(),
        labels: lambda path: np.load(path, allow_pickle=False),
    }
    found = []
    for path, read in readers.items():
        try:
            found.append(read(path))
        except Exception as error:  # numpy, scipy and zipfile raise many kinds for a damaged file
            raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    parent_child, x, y = (
        np.ascontiguousarray(found[0]),
        found[1].astype(np.float64),
        found[2].astype(np.int64),
    )
    both = np.unique(np.hstack([parent_child, parent_child[::-1]]), axis=1)
    decoded = {"edge_index": both, "parent_child": parent_child, "x": x, "y": y}
    return _stored(decoded), decoded


def _stored(decoded: Arrays) -> Arrays:
    return {
        "x": decoded["x"].astype(np.float32),
        "edge": undirected(decoded["edge_index"]),
        "y": decoded["y"].astype(np.int64),
        "classes": np.array(["not infected", "infected"]),
    }
