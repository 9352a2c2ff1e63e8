"""Unpack archives so that nothing lands outside the folder it is meant for."""

import os
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from hsac.errors import InputError


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip archive into a new folder, which appears complete or not at all.

    All members are checked before one is written.

    Args:
        archive: The zip archive.
        folder: The folder to make.

    Raises:
        InputError: Naming the archive, and the member where it is one: a path that leaves the
            folder, a link, a device. Also for an archive that is no zip or is cut short, and for a
            folder that is there already or cannot be written.
    """
    if folder.exists():
        raise InputError(
            f"{folder}: found something there; allowed is a new folder to unpack {archive} into"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that moving it there is one rename on one file system.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            made = Path(temporary) / "unpacked"
            made.mkdir()
            _unzip(archive, made)
            os.replace(made, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{archive}: cannot be unpacked ({error})") from error
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{archive}: cannot be unpacked into {folder} ({reason})") from error


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            # The upper half holds Unix's file mode. It is 0 in archives made elsewhere.
            kind = stat.S_IFMT(member.external_attr >> 16)
            _check_member(archive, member.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
        opened.extractall(folder)


def _check_member(archive: Path, name: str, plain: bool) -> None:
    # Some archives part folders by backslashes. A colon is a drive on Windows.
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name:
        raise InputError(
            f"{archive}: found the member {name!r}; allowed are paths that stay in the folder"
        )
    if not plain:
        raise InputError(
            f"{archive}: found the member {name!r}, a link or device; allowed are files and folders"
        )
