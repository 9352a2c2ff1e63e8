"""Where a dataset's files come from: the mirror, what lies in ``<data>/downloads``, the network."""

import os
from pathlib import Path

from hsac.data.catalogue import Entry, Form
from hsac.errors import InputError
from hsac.files import file_sha256


def mirror_root() -> Path | None:
    """The mirror that ``HSAC_MIRROR`` names; None when it is not set or empty.

    Raises InputError when it names no folder.
    """
    return mirror_folder(os.environ.get("HSAC_MIRROR"), "HSAC_MIRROR")


def mirror_folder(given: str | None, key: str) -> Path | None:
    """A mirror's folder from a setting. Raises InputError naming the setting when there is no such folder."""
    if not given:
        return None
    if not Path(given).is_dir():
        raise InputError(f"{key}: found {given!r}; allowed is a folder that holds a mirror")
    return Path(given)


def downloads(root: Path) -> Path:
    """Where downloaded files, and files put there by hand, lie; laid out like a mirror."""
    return Path(root) / "downloads"


def obtain(entry: Entry, root: Path, mirror: Path | None) -> tuple[Form, Path]:
    """A form of the dataset and the folder its files are in. Raises InputError when no form can be had."""
    for folder in (mirror, downloads(root)):
        for form in entry.forms:
            if not form.files:
                return form, Path(root)
            if folder is not None and all((folder / file.path).exists() for file in form.files):
                for file in form.files:
                    if file.sha256 is not None and file_sha256(folder / file.path) != file.sha256:
                        raise InputError(f"dataset {entry.name}: {folder / file.path} has not the catalogue's hash")
                return form, folder
    raise InputError(f"dataset {entry.name}: its files are in no mirror and not in {downloads(root)}")
