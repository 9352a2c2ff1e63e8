"""Files dated in the future, as a clock that was ahead leaves them."""

import os
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

AHEAD = 60.0  # seconds by which a file system's clock may go before this machine's


def ahead(folders: Iterable[Path], most: int | None = None) -> Iterator[Path]:
    """Find files that are dated more than `AHEAD` seconds from now.

    Args:
        folders: Where to look, folders below them included.
        most: How many files to look at. None looks at all.

    Yields:
        Such files.
    """
    limit = time.time() + AHEAD
    # A generator, so that no more of a large folder is walked than `most` asks for.
    every = (Path(at, name) for top in folders for at, _, names in os.walk(top) for name in names)
    for path in islice(every, most):
        if path.exists() and path.lstat().st_mtime > limit:
            yield path


def redate(folders: Iterable[Path]) -> int:
    """Date such files now.

    Snakemake refuses what is made of them, because it is the older of the two.

    Args:
        folders: Where to look, folders below them included.

    Returns:
        How many files there were.
    """
    found = list(ahead(folders))
    for path in found:
        os.utime(path)
    return len(found)
