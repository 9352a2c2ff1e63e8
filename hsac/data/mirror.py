"""Fill a mirror: the files of datasets in the hub's layout, with their hashes."""

import shutil
from pathlib import Path

from hsac.data import obtain, store
from hsac.data.catalogue import entry
from hsac.files import atomic, file_sha256


def fill(folder: Path, name: str, root: Path, mirror: Path | None) -> int | None:
    """Put a dataset's files into a mirror, once they decode to the catalogue's content.

    They come from the present mirror, the downloads or the network. The folder's SHA256SUMS then
    lists them.

    Args:
        folder: The mirror to fill.
        name: Name of the dataset.
        root: The data folder.
        mirror: The present mirror, if there is one.

    Returns:
        How many files were copied. None for a dataset that is made without any.

    Raises:
        InputError: When the files could not be obtained or are not the catalogue's, or when the
            folder cannot be written.
    """
    found = entry(name)
    if any(not form.files for form in found.forms):
        return None
    # Decoded before anything is copied: a mirror must not pass damage on.
    made = store.make(found, root, mirror)
    copied, sums = 0, {}
    for named in made.form.files:
        for file in obtain.expanded(named, made.folder):
            source, target = made.folder / file.path, folder / file.path
            sums[file.path] = file_sha256(source)
            if not target.is_file() or file_sha256(target) != sums[file.path]:
                with atomic(target) as temporary:
                    shutil.copyfile(source, temporary)
                copied += 1
    # Others may fill the same mirror with other datasets.
    with obtain.lock(root, "mirror"):
        listed = obtain.read_sums(folder)
        if listed | sums != listed:
            obtain.write_sums(folder, listed | sums)
    return copied
