"""The public simulated disease tree that comes with features (upstream's link prediction set).

I. Chami, R. Ying, C. Re, J. Leskovec, Hyperbolic Graph Convolutional Neural Networks, NeurIPS 2019.
Simulated by its authors, not real data; their tree for node classification was published without
its features.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hsac.data.sources._graphs import read_npz, undirected
from hsac.errors import InputError

Arrays = dict[str, np.ndarray]


def build_npz(folder: Path, file: str) -> tuple[Arrays, Arrays]:
    """Make the graph from an .npz.

    Args:
        folder: Holds the file.
        file: An .npz with ``parent_child`` (2, 2664), ``edge_index`` (both directions), ``x``
            (2665, 11) and ``y``.

    Returns:
        The stored arrays (``x`` float32, ``edge``, ``y`` 1 for infected), and what was decoded.

    Raises:
        InputError: For a file that is missing, cannot be read or lacks an array.
    """
    decoded = read_npz(Path(folder) / file, ("edge_index", "parent_child", "x", "y"))
    return _stored(decoded), decoded


def build_upstream(folder: Path, data: str) -> tuple[Arrays, Arrays]:
    """Make the graph from upstream's files, without pickle.

    Args:
        folder: Holds the folder below.
        data: Folder of ``disease_lp.edges.csv``, ``disease_lp.feats.npz`` (a sparse matrix) and
            ``disease_lp.labels.npy``.

    Returns:
        As `build_npz`.

    Raises:
        InputError: Naming the file that is missing or cannot be read.
    """
    from scipy import sparse

    readers: dict[str, Callable[[Path], np.ndarray]] = {
        "edges.csv": lambda path: np.loadtxt(path, delimiter=",", dtype=np.int64, ndmin=2).T,
        "feats.npz": lambda path: sparse.load_npz(path).toarray(),
        "labels.npy": lambda path: np.load(path, allow_pickle=False),
    }
    found = []
    for ending, read in readers.items():
        path = Path(folder) / data / f"disease_lp.{ending}"
        try:
            found.append(read(path))
        # numpy, scipy and zipfile raise many kinds for a damaged file.
        except Exception as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: cannot be read ({reason})") from None
    parent_child = np.ascontiguousarray(found[0])
    x, y = found[1].astype(np.float64), found[2].astype(np.int64)
    # As the .npz lists them: both containers must decode to the catalogue's hashes.
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
