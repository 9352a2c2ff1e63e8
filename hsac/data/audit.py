"""What is here, and in the mirror, hashed again and held against the catalogue."""

from dataclasses import dataclass, field
from pathlib import Path

from hsac.data import obtain, store
from hsac.data.catalogue import Entry, entry
from hsac.errors import InputError


@dataclass
class Audit:
    """One dataset: what was looked at, what is worth knowing, what is wrong."""

    name: str
    looked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The findings in a line."""
        verdict = (
            "differs: " + "; ".join(self.problems)
            if self.problems
            else "; ".join(self.notes) or "as catalogued"
        )
        return f"{self.name}: {verdict} ({', '.join(self.looked)})"


def audit(name: str, root: Path, mirror: Path | None) -> Audit:
    """Hash a dataset's stored files and arrays, its downloads and its files in the mirror again.

    Raises InputError for an unknown name.
    """
    found = entry(name)
    result = Audit(name)
    if store.raw_folder(name, root).exists():
        result.looked.append(str(store.raw_folder(name, root)))
        try:
            _stored(found, root, result)
        except InputError as error:
            result.problems.append(str(error))
    for folder in (mirror, obtain.downloads(root)):
        for form in found.forms:
            if folder is not None and form.files and obtain.present(form, folder):
                result.looked.append(f"files in {folder}")
                result.problems += obtain.problems(form, folder)
    return result


def _stored(found: Entry, root: Path, result: Audit) -> None:
    arrays, sha256 = store.load_arrays(found.name, root)
    content = store.content_sha256(arrays)
    if content != sha256:
        result.problems.append(f"content hash {content} is not {sha256}, the manifest's")
    elif found.sha256 is None:
        result.notes.append("not verified, the catalogue has no hash of its content")
    elif content != found.sha256 and found.rendered:
        result.notes.append("rendered otherwise than the catalogue's")
    elif content != found.sha256 and found.any_order and store.same_rows(found, arrays):
        result.notes.append("the catalogue's rows in another order")
    elif content != found.sha256:
        result.problems.append(f"content hash {content} is not {found.sha256}, the catalogue's")
