"""CIFAR-10N and CIFAR-100N: labels that people gave to the training images of CIFAR.

J. Wei, Z. Zhu, H. Cheng, T. Liu, G. Niu, Y. Liu, Learning with Noisy Labels Revisited: A Study
Using Real-World Human Annotations, ICLR 2022.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hsac.data.sources._graphs import read_npz
from hsac.errors import InputError

Arrays = dict[str, np.ndarray]


def build_npz(folder: Path, file: str, columns: Sequence[str]) -> tuple[Arrays, Arrays]:
    """Read the labels from an .npz with one array a column.

    Row i belongs to training image i in the order of CIFAR's official python version.

    Args:
        folder: Holds the file.
        file: The .npz.
        columns: Names of the columns.

    Returns:
        The columns, uint8 (50000,), twice: to store and as decoded.

    Raises:
        InputError: For a file that is missing, cannot be read or lacks a column.
    """
    return _stored(read_npz(Path(folder) / file, columns), Path(folder) / file)


def build_upstream(folder: Path, file: str, columns: Sequence[str]) -> tuple[Arrays, Arrays]:
    """Read the labels from upstream's .pt file, without running what a pickle names.

    Args:
        folder: Holds the file.
        file: A pickled dictionary of arrays.
        columns: Names of the columns.

    Returns:
        As `build_npz`.

    Raises:
        InputError: For a file that is missing, damaged, holds anything but plain arrays, or lacks
            a column.
    """
    import torch

    path = Path(folder) / file
    try:
        with torch.serialization.safe_globals(_array_makers()):
            read = torch.load(path, weights_only=True, map_location="cpu")
    # torch raises many kinds for a damaged file.
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: cannot be read as plain arrays ({reason})") from None
    missing = set(columns) - set(read if isinstance(read, dict) else ())
    if missing:
        raise InputError(f"{path}: {', '.join(sorted(missing))} is not in it")
    return _stored({name: np.asarray(read[name]) for name in columns}, path)


def _stored(found: Arrays, path: Path) -> tuple[Arrays, Arrays]:
    for name, column in found.items():
        is_row = column.ndim == 1 and column.dtype.kind in "iu"
        if not is_row or column.min() < 0 or column.max() > 255:
            kind = f"{column.dtype} {column.shape}"
            allowed = "a row of labels 0 to 255"
            raise InputError(f"{path}: {name}: found {kind}; allowed is {allowed}")
    arrays = {name: column.astype(np.uint8) for name, column in found.items()}
    return arrays, arrays


def _array_makers() -> list[Any]:
    """Return what numpy's own pickles of arrays name."""
    # Safe to allow: all of it makes arrays and nothing else.
    from numpy._core import multiarray

    rebuild = multiarray._reconstruct
    return [
        # numpy 2 renamed the module, and a pickle names that of its time.
        (rebuild, "numpy.core.multiarray._reconstruct"),
        (rebuild, "numpy._core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        *(type(np.dtype(kind)) for kind in ("int64", "int32", "uint8")),
    ]
