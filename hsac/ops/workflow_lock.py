"""One workflow at a time in a folder, and no lock that a killed one leaves behind.

Snakemake's own lock is a list of files that stays when its process is killed, until somebody
unlocks the folder. The lock here is the kernel's (flock), which ends with its process however that
ends.
"""

import fcntl
import os
import platform
from pathlib import Path
from typing import TextIO

from hsac.errors import InputError

FOLDER = Path(".snakemake")


def clear(folder: Path = FOLDER) -> None:
    """Remove Snakemake's own locks, since `hold` keeps a second workflow out.

    They stay where `hold` might not: on a file system without locks, and when they may be those of
    a workflow on another machine, whose lock a file system need not show here.

    Args:
        folder: Snakemake's folder.
    """
    try:
        folder.mkdir(exist_ok=True)
        lock = _lock(folder)
    except OSError:
        return
    left = list((folder / "locks").glob("*.lock"))
    if lock is not None:
        with lock:
            if left and _owner(lock)[0] != platform.node():
                return
            # Signed before Snakemake locks the folder, so that the next run knows whose locks are
            # left.
            _sign(lock)
    for path in left:
        path.unlink(missing_ok=True)


def hold(folder: Path = FOLDER) -> TextIO | None:
    """Keep other workflows out of the working folder.

    Args:
        folder: Snakemake's folder.

    Returns:
        The locked file: the lock lasts until it is closed or this process ends. None where the file
        system has no locks.

    Raises:
        InputError: Another workflow is at work there.
    """
    try:
        lock = _lock(folder)
    except OSError:
        return None
    if lock is None:
        with open(folder / "workflow.lock", encoding="utf-8") as other:
            host, process = _owner(other)
        raise InputError(
            f"{folder.absolute().parent}: found another workflow at work here (process {process} on"
            f" {host}); allowed is one at a time: wait for it or stop it, then run again"
        )
    _sign(lock)
    return lock


def _lock(folder: Path) -> TextIO | None:
    """Lock the file.

    Returns:
        The locked file. None when another process has it.

    Raises:
        OSError: Files cannot be locked here.
    """
    # Opened to append, which keeps what the present owner has written.
    lock = open(folder / "workflow.lock", "a+", encoding="utf-8")  # noqa: SIM115 - open as long as it is locked
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        # Any other error means that this file system has no locks.
        if isinstance(error, BlockingIOError):
            return None
        raise
    return lock


def _owner(lock: TextIO) -> tuple[str, str]:
    """Return the host and process that signed the lock last."""
    lock.seek(0)
    host, _, process = lock.read().partition(" ")
    return host, process


def _sign(lock: TextIO) -> None:
    lock.seek(0)
    lock.truncate()
    lock.write(f"{platform.node()} {os.getpid()}")
    # Others read it while the file stays open here.
    lock.flush()
