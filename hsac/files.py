"""Write files whole or not at all, and compute the digests that identify them."""

import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import stat
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

    A link is followed, and what it points to is replaced. Mode and owner of a file that is there
    stay. Its other hard links keep the old content, as a backup made of hard links needs. What is
    no regular file, such as a device, a pipe or an open descriptor, stays too: it is written to.

    Args:
        path: the file. Its folder is made if need be.

    Yields:
        A temporary path to be written to. It lies beside a regular file.

    Raises:
        InputError: The file cannot be written, the disk is full, or another file that the block
            reads or writes has a fault. The line names that file.
    """
    path = Path(path)
    temporary = None
    try:
        with _writing(path):
            target = _followed(path)
            through = _is_open(target) or (target.exists() and not target.is_file())
            _check_replaceable(path, target)
            # Beside the file, as a rename is atomic only within one file system.
            folder = None if through else target.parent
            handle, name = tempfile.mkstemp(dir=folder, prefix=f".{target.name}.")
            os.close(handle)
            temporary = Path(name)
        with _writing(path, temporary):
            yield temporary
        with _writing(path):
            if through:
                _copy_into(temporary, target)
            else:
                _replace(temporary, target)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


# Errors of the disk that is written to, whichever file a library names beside them.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Errors that say nothing of the content of a file that is read.
MACHINE = (*FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
OPEN_FILES = re.compile(r"/proc/(self|thread-self|\d+)(/task/\d+)?/fd")  # what /dev/fd links to
LINKS = 40  # that one path may lead through, as in Linux


@contextmanager
def _writing(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Report an error of the system in one line that names the file at fault.

    Args:
        path: what is written.
        temporary: what is written in its place. None where no other file can be at fault.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        own = temporary is None or error.filename is None
        if own or error.errno in FULL or os.fsdecode(error.filename).startswith(str(temporary)):
            raise InputError(f"cannot write {path}: {reason}") from error
        raise InputError(
            f"{os.fsdecode(error.filename)}: {reason}; so {path} is not written"
        ) from error


def _followed(path: Path) -> Path:
    """Return what a path's links lead to; an open file is not followed further."""
    target = path
    for _ in range(LINKS):
        if _is_open(target) or not target.is_symlink():
            if target != path and not target.parent.is_dir():
                raise InputError(
                    f"cannot write {path}: it links to {target}, whose folder is missing"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            return target
        target = target.parent / target.readlink()
    raise InputError(f"cannot write {path}: {os.strerror(errno.ELOOP)}")


def _is_open(path: Path) -> bool:
    """Tell whether a path names an open file of a process, such as /dev/fd/1."""
    return bool(OPEN_FILES.fullmatch(os.path.realpath(path.parent)))


def _check_replaceable(path: Path, target: Path) -> None:
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    # A rename asks for no permission of the file that it replaces.
    if target.is_file() and not _is_open(target) and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def _replace(temporary: Path, target: Path) -> None:
    """Rename a file onto another, whose mode and owner stay."""
    try:
        old = target.stat()
    except FileNotFoundError:
        # mkstemp lets its owner alone read it.
        temporary.chmod(0o644)
    else:
        try:
            os.chown(temporary, old.st_uid, old.st_gid)
        except OSError as error:
            # Only root may give a file away, and in a container some owners have no number.
            if error.errno not in (errno.EPERM, errno.EINVAL):
                raise
        temporary.chmod(old.st_mode & 0o777)
    # The bytes go to the disk before the name, or a loss of power could leave an empty file.
    with open(temporary, "rb") as stream:
        os.fsync(stream.fileno())
    os.replace(temporary, target)


def _copy_into(temporary: Path, target: Path) -> None:
    """Write a file's bytes to a device, a pipe or an open descriptor."""
    folder = os.path.realpath(target.parent)
    if _is_open(target) and folder.startswith(f"/proc/{os.getpid()}/"):
        # To open it anew would cut a file that is appended to, and fail for a socket.
        handle = os.dup(int(target.name))
    else:
        handle = os.open(target, os.O_WRONLY)
    with open(handle, "wb") as stream, open(temporary, "rb") as source:
        shutil.copyfileobj(source, stream)


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
        lock = open(path, "ab")  # noqa: SIM115 - closed below, outside of this try
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
        with _writing(folder):
            # A whole set that a killed writer left would stop the renaming below.
            recover(folder, name)
            staged.mkdir(parents=True)
        with _writing(folder, staged):
            yield staged
        with _writing(folder):
            # One renaming decides: before it none of the files counts, after it all do.
            os.replace(staged, complete)
            recover(folder, name)
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


def home_expanded(given: str, key: str) -> Path:
    """Return a path with the home folder in place of a leading `~`, as a shell would.

    Args:
        given: the path.
        key: where it was given, for the error line.

    Raises:
        InputError: Nobody here has such a home.
    """
    path = os.path.expanduser(given)
    # What cannot be expanded is left as it is, and would be the name of a folder.
    if path.startswith("~"):
        raise InputError(f"{key}: found {given!r}, the home of nobody here; allowed is a folder")
    return Path(path)


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


def read_bytes(path: Path) -> bytes:
    """Read a file whole.

    Args:
        path: the file, or a pipe.

    Returns:
        What is in it.

    Raises:
        OSError: It cannot be read.
        InputError: It is a device, some of which never end.
    """
    with open(path, "rb") as opened:
        mode = os.fstat(opened.fileno()).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise InputError(f"{path}: found a device; allowed is a file")
        return opened.read()


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
        return orjson.loads(read_bytes(path))
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
