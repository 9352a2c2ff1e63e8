"""Hash again what is stored here and in the mirror, and compare it with the catalogue."""

from dataclasses import dataclass, field
from pathlib import Path

from hsac.data import obtain, store
from hsac.data.catalogue import Entry, entry
from hsac.errors import InputError


@dataclass
class Audit:
    """The findings about one dataset.

    Attributes:
        name: Name of the dataset.
        looked: Places that were looked at.
        notes: What is worth knowing.
        problems: What is wrong.
    """

    name: str
    looked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return the findings in a line.

        Returns:
            Name, findings and the places that were looked at.
        """
        if self.problems:
            findings = f"differs: {'; '.join(self.problems)}"
        else:
            findings = "; ".join(self.notes) or "as catalogued"
        return f"{self.name}: {findings} ({', '.join(self.looked)})"


def audit(name: str, root: Path, mirror: Path | None) -> Audit:
    """Hash a dataset's stored files and arrays, its downloads and its files in the mirror again.

    Args:
        name: Name of the dataset.
        root: The data folder.
        mirror: The mirror, if there is one.

    Returns:
        What was found. A dataset of which nothing is here has an empty ``looked``.

    Raises:
        InputError: For an unknown name.
    """
    found = entry(name)
    result = Audit(name)
    built = store.raw_folder(name, root).exists()
    if built:
        result.looked.append(str(store.raw_folder(name, root)))
        try:
            _audit_stored(found, root, result)
        except InputError as error:
            result.problems.append(str(error))
    unknown: list[str] = []
    for folder in (mirror, obtain.downloads(root)):
        for form in found.forms:
            # Of a form that is only partly here nothing can be said.
            if folder is not None and form.files and obtain.holds(folder, form):
                result.looked.append(f"files in {folder}")
                result.problems += obtain.problems(form, folder)
                unknown += [f"{folder}/{path}" for path in obtain.unstated(form, folder)]
    # What is built was compared with the catalogue. Otherwise only the files can be spoken of.
    if not built and unknown:
        result.notes.append(f"no hash is recorded of {', '.join(unknown)}")
    elif not built:
        result.notes.append("the files are as recorded, and nothing is built of them")
    return result


def _audit_stored(found: Entry, root: Path, result: Audit) -> None:
    arrays, sha256 = store.load_arrays(found.name, root)
    # Reading compared the files with the manifest, but not the manifest with the content.
    content = store.content_sha256(arrays)
    if content != sha256:
        result.problems.append(f"content hash {content} is not {sha256}, the manifest's")
    elif found.sha256 is None:
        result.notes.append("not verified, the catalogue has no hash of its content")
    # Fonts and Pillow decide the bitmaps, so this is no damage.
    elif content != found.sha256 and found.rendered:
        result.notes.append("rendered otherwise than the catalogue's")
    elif content != found.sha256 and found.any_order and store.same_rows(found, arrays):
        result.notes.append("the catalogue's rows in another order")
    elif content != found.sha256:
        result.problems.append(f"content hash {content} is not {found.sha256}, the catalogue's")
