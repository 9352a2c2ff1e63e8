"""Unpack archives so that nothing lands outside the folder it is meant for."""

import os
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from hsac.errors import InputError

MEMBERS = 100_000  # of an archive, three times as many as Omniglot has
SIZE = 1 << 30  # bytes that an archive may unpack to
ENCRYPTED = 1  # the bit of a member's flags
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip archive into a new folder, which appears complete or not at all.

    All members are checked before one is written.

    Args:
        archive: The zip archive.
        folder: The folder to make.

    Raises:
        InputError: Naming the archive, and the member where it is one: a path that leaves the
            folder, no name, a link, a device, what needs a password or an unknown method. Also for
            an archive that is no zip, is cut short or too large, and for a folder that is there
            already or cannot be written.
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
    except InputError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{archive}: cannot be unpacked into {folder} ({reason})") from error
    # zipfile and the decompressors raise many kinds for a damaged archive.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{archive}: cannot be unpacked ({reason})") from error


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        # Empty members cost no bytes, and yet a file each.
        if len(members) > MEMBERS:
            raise InputError(f"{archive}: found {len(members)} members; allowed are {MEMBERS}")
        size = sum(member.file_size for member in members)
        if size > SIZE:
            raise InputError(f"{archive}: found {size} bytes unpacked; allowed are {SIZE}")
        for member in members:
            _check_path(archive, member.filename)
            _check_kind(archive, member)
        # zipfile writes no more of a member than its size says.
        opened.extractall(folder)


def _check_path(archive: Path, name: str) -> None:
    # Some archives part folders by backslashes. A colon is a drive on Windows.
    path = PurePosixPath(name.replace("\\", "/"))
    outside = path.is_absolute() or ".." in path.parts or ":" in name
    # An empty name, or a dot, is the folder itself.
    if outside or not path.parts:
        raise InputError(
            f"{archive}: found the member {name!r}; allowed are paths that stay in the folder"
        )


def _check_kind(archive: Path, member: zipfile.ZipInfo) -> None:
    # The upper half holds Unix's file mode. It is 0 in archives made elsewhere.
    kind = stat.S_IFMT(member.external_attr >> 16)
    found, allowed = "", ""
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        found, allowed = "a link or device", "files and folders"
    elif member.flag_bits & ENCRYPTED:
        found, allowed = "which needs a password", "members that need none"
    elif member.compress_type not in METHODS:
        found = f"compressed by method {member.compress_type}"
        allowed = "stored, deflated, bzip2 and lzma"
    if found:
        raise InputError(
            f"{archive}: found the member {member.filename!r}, {found}; allowed are {allowed}"
        )
