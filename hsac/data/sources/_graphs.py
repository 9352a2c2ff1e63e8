"""What the graph sources share."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from hsac.errors import InputError


def undirected(edge_index: np.ndarray) -> np.ndarray:
    """Each edge once, int64 (2, E): smaller node first, sorted, without self-loops. ``edge_index``:
    (2, M).
    """
    ends = np.sort(edge_index, axis=0)
    return np.unique(ends[:, ends[0] != ends[1]], axis=1).astype(np.int64)


def read_npz(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Arrays of an .npz by name, without pickle. Raises InputError when the file or one of them is
    not there.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            missing = set(names) - set(stored.files)
            if missing:
                raise InputError(
                    f"{path}: found {', '.join(stored.files)}; {', '.join(sorted(missing))} is"
                    " needed"
                )
            return {name: stored[name] for name in names}
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except InputError:
        raise
    except Exception as error:  # zlib, zipfile and numpy raise many kinds for a damaged file
        raise InputError(
            f"{path}: cannot be read as an .npz without pickle ({' '.join(str(error).split())})"
        ) from None
