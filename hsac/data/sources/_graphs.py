"""What the graph sources share."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from hsac.errors import InputError


def undirected(edge_index: np.ndarray) -> np.ndarray:
    """List each edge once, without self-loops.

    Args:
        edge_index: Pairs of nodes (2, M), in one or both directions.

    Returns:
        Edges int64 (2, E), smaller node first, sorted.
    """
    ends = np.sort(edge_index, axis=0)
    return np.unique(ends[:, ends[0] != ends[1]], axis=1).astype(np.int64)


def read_npz(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Read arrays of an .npz, without pickle.

    Args:
        path: The file.
        names: Names of the arrays.

    Returns:
        The arrays by name.

    Raises:
        InputError: When the file or one of the arrays is not there or cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            missing = ", ".join(sorted(set(names) - set(stored.files)))
            if missing:
                found = ", ".join(stored.files)
                raise InputError(f"{path}: found {found}; {missing} is needed")
            return {name: stored[name] for name in names}
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except InputError:
        raise
    # zlib, zipfile and numpy raise many kinds for a damaged file.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as an .npz without pickle ({reason})") from None
