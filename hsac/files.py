"""Files written whole or not at all, and the digests that name them."""

import csv
import fcntl
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from hsac.errors import InputError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends well and vanishes when
    it does not.

    Its bytes are on the disk before its name is, so that no loss of power leaves a name without
    them either. Raises InputError naming the file when the folder cannot be written or the disk is
    full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Wait until no other process is in such a block of ``folder`` and ``name``; one that was
    killed is not in it.

    A file system without locks lets everyone in. Raises InputError when the folder cannot be
    written.
    """
    path = Path(folder) / f".{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path, "a")  # noqa: SIM115 - closed below
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    with lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def together(folder: Path, name: str) -> Iterator[Path]:
    """A new folder whose files all move into ``folder`` when the block ends well, or none does,
    whatever ends the process at whatever moment: `settle` then finishes what was begun. Raises
    InputError when it cannot be written.
    """
    staged, whole = _staged(folder, name)
    try:
        settle(folder, name)
        staged.mkdir(parents=True)
        yield staged
        os.replace(staged, whole)  # from here on all of them count
        settle(folder, name)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def settle(folder: Path, name: str) -> None:
    """Move the files that a killed `together` had made whole to their places, and drop those that
    it had not.
    """
    staged, whole = _staged(folder, name)
    if whole.is_dir():
        for path in sorted(whole.iterdir()):
            os.replace(path, Path(folder) / path.name)
        whole.rmdir()
    shutil.rmtree(staged, ignore_errors=True)


def _staged(folder: Path, name: str) -> tuple[Path, Path]:
    return Path(folder) / f".{name}.staged", Path(folder) / f".{name}.whole"


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def canonical(value: Any) -> str:
    """JSON text that is the same for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as canonical JSON, atomically."""
    write_bytes(path, (canonical(value) + "\n").encode())


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows of the same keys as CSV, atomically; floats keep all their digits, None is an
    empty cell.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as .npy, atomically."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def read_array(path: Path) -> np.ndarray:
    """The array in a .npy file, without pickle. Raises InputError when it is missing, unreadable or
    cut short.
    """
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; a plain `snakemake` run makes it again") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); move it away and run again to remake it"
        ) from None


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises InputError when it is missing, unreadable or cut short."""
    try:
        return orjson.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} is missing; a plain `snakemake` run makes it again") from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); move it away and run again to remake it"
        ) from None


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes. Raises InputError when it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
