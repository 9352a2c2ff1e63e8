"""Filling a mirror: the files of datasets in the hub's layout, with their hashes."""

import os
import shutil
import tempfile
from pathlib import Path

from hsac.data import obtain, store
from hsac.data.catalogue import entry
from hsac.errors import InputError
from hsac.files import atomic, file_sha256


def fill(folder: Path, name: str, root: Path, mirror: Path | None) -> int:
    """Put a dataset's files, once they decode to the catalogue's content, into a mirror; returns how many it copied.

    They come from the present mirror, the downloads or the network. The folder's SHA256SUMS then lists them. Raises
    InputError when they cannot be had or are not the catalogue's, or when the folder cannot be written.
    """
    found = entry(name)
    if any(not form.files for form in found.forms):
        return 0
    made = store.make(found, root, mirror)
    copied, sums = 0, {}
    for file in made.form.files:
        source, target = made.folder / file.path, folder / file.path
        inside = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
        if not target.exists() or (target.is_file() and file_sha256(target) != file_sha256(source)):
            _copy_folder(source, target) if source.is_dir() else _copy_file(source, target)
            copied += 1
        for path in inside:
            relative = path.relative_to(made.folder)
            sums[relative.as_posix()] = file_sha256(folder / relative)
    with obtain.lock(root, "mirror"):
        listed = obtain.read_sums(folder)
        if listed | sums != listed:
            obtain.write_sums(folder, listed | sums)
    return copied


def _copy_file(source: Path, target: Path) -> None:
    with atomic(target) as temporary:
        shutil.copyfile(source, temporary)


def _copy_folder(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
            shutil.copytree(source, Path(temporary) / "copy", copy_function=shutil.copyfile)
            os.replace(Path(temporary) / "copy", target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error
