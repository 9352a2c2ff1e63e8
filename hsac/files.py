"""Write files whole or not at all, and compute the digests that identify them."""

import csv
import fcntl
import hashlib
import io
import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from hsac.errors import InputError

JsonObject = dict[str, Any]  # what a JSON file holds; its reader turns it into a typed noun


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Replace a file when the block ends well, and leave it as it was when the block raises.

    Args:
        path: the file. Its folder is made if need be.

    Yields:
        A temporary path beside the file, to be written to.

    Raises:
        InputError: The folder cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside the file, as a rename is atomic only within one file system.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp lets its owner alone read it.
        temporary.chmod(0o644)
        # The bytes go to the disk before the name, or a loss of power could leave an empty file.
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def exclusive(folder: Path, name: str) -> Iterator[None]:
    """Wait until no other process is in such a block of the same folder and name.

    Args:
        folder: where the lock file lies. It is made if need be.
        name: what is locked in it.

    Raises:
        InputError: The folder cannot be written.
    """
    path = Path(folder) / f".{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path, "a")  # noqa: SIM115 - closed below, outside of this try
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    with lock:
        # The kernel drops the lock of a killed process. A file system without locks lets everyone
        # in: there two processes at worst do the same work twice.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def all_or_none(folder: Path, name: str) -> Iterator[Path]:
    """Write several files of a folder so that all of them are new or none is.

    This holds whenever the process is killed: `recover` then finishes what was begun.

    Args:
        folder: where the files end.
        name: what the files are together. It must differ between concurrent writers of one folder.

    Yields:
        A new folder to write the files to. They move when the block ends well.

    Raises:
        InputError: The folder cannot be written.
    """
    staged, complete = _staging(folder, name)
    try:
        # A whole set that a killed writer left would stop the renaming below.
        recover(folder, name)
        staged.mkdir(parents=True)
        yield staged
        # One renaming decides: before it none of the files counts, after it all do.
        os.replace(staged, complete)
        recover(folder, name)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def recover(folder: Path, name: str) -> None:
    """Finish what a killed `all_or_none` left.

    Files that it had written completely move to their places, an incomplete set is deleted.

    Args:
        folder: where the files end.
        name: what the files are together.
    """
    staged, complete = _staging(folder, name)
    if complete.is_dir():
        # If this is killed, the next call moves the rest: what has moved is no longer listed.
        for path in sorted(complete.iterdir()):
            os.replace(path, Path(folder) / path.name)
        complete.rmdir()
    shutil.rmtree(staged, ignore_errors=True)


def _staging(folder: Path, name: str) -> tuple[Path, Path]:
    """Return the folder that files are written to, and its name once they are all there."""
    return Path(folder) / f".{name}.staged", Path(folder) / f".{name}.whole"


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically.

    Args:
        path: the file.
        data: its content.
    """
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def canonical(value: Any) -> str:
    """Write a value as the JSON text that equal values share.

    Args:
        value: what JSON can hold.

    Returns:
        Text with sorted keys and no spaces.

    Raises:
        ValueError: A number is NaN or infinite, which JSON has no word for.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def write_json(path: Path, value: Any) -> None:
    """Write a value as canonical JSON, atomically.

    Args:
        path: the file.
        value: what JSON can hold.
    """
    write_bytes(path, (canonical(value) + "\n").encode())


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, atomically.

    Args:
        path: the file.
        rows: mappings with the same keys. Floats keep all their digits, None is an empty cell.
    """
    text = io.StringIO()
    # The csv module's own line end is CRLF.
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as .npy, atomically.

    Args:
        path: the file.
        array: of any shape, but not of objects.
    """
    buffer = io.BytesIO()
    # Not to the temporary path, to whose name np.save would append .npy.
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def read_array(path: Path) -> np.ndarray:
    """Read an array from a .npy file.

    Args:
        path: the file.

    Returns:
        The array. Objects are refused, as unpickling them could run code.

    Raises:
        InputError: The file is missing, unreadable or cut short.
    """
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise _missing(path) from None
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Args:
        path: the file.

    Returns:
        The value in it.

    Raises:
        InputError: The file is missing, unreadable or cut short.
    """
    try:
        # Several times as fast as json, which counts when thousands of records are gathered.
        return orjson.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise _missing(path) from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def workflow_of(path: Path) -> str:
    """Name the command that makes a result again.

    Args:
        path: The result, under `results/<scale>`. Elsewhere the scale is not known.

    Returns:
        The command in backticks. It names the scale unless that is the default one.
    """
    parts = Path(path).absolute().parts
    # The last folder `results` counts: the project may lie in one of that name itself.
    places = [k for k, part in enumerate(parts[:-1]) if part == "results"]
    scale = parts[places[-1] + 1] if places else "default"
    named = "" if scale == "default" else f" --config scale={shlex.quote(scale)}"
    return f"`snakemake{named}`"


def _missing(path: Path) -> InputError:
    return InputError(f"{path} is missing; {workflow_of(path)} makes it again")


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read ({error}); move it away and run again to remake it")


def digest(value: Any) -> str:
    """Compute the digest that equal values share.

    Args:
        value: what JSON can hold.

    Returns:
        The first 16 hexadecimal digits of the SHA-256 of its canonical JSON.
    """
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes.

    Args:
        path: the file.

    Returns:
        64 hexadecimal digits.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
