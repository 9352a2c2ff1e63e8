"""The catalogue for people: a table of all datasets, everything about one."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hsac.data import obtain, store
from hsac.data.catalogue import Entry, Form, entry, names
from hsac.errors import InputError

WIDTH = 100
INDENT = 12
# The counts that a size is made of.
SIZED = {"images": ("images", "side"), "graph": ("nodes", "edges"), "labels": ("rows", "columns")}


def table(root: Path, mirror: Path | None) -> list[str]:
    """Write a table of all datasets.

    Args:
        root: The data folder.
        mirror: The mirror, if there is one.

    Returns:
        Aligned lines: name, kind, size, where its files are, whether its content was verified,
        licence. Then a line for each dataset that is damaged.
    """
    rows = [("name", "kind", "size", "state", "verified", "licence")]
    for found in map(entry, names()):
        licence = textwrap.shorten(found.licence, 48, placeholder=" …")
        where, verified = state(found, root, mirror), verification(found, root)
        rows.append((found.name, found.kind, size(found), where, verified, licence))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        words = [word.ljust(width) for word, width in zip(row, widths, strict=True)]
        lines.append("  ".join(words).rstrip())
    for found in map(entry, names()):
        if said := damage(found, root):
            again = f"`hsac data fetch {found.name}` makes it again"
            lines.append(f"{found.name} is damaged, {again}: {said}")
    return lines


def size(found: Entry) -> str:
    """Tell how large a dataset is.

    Args:
        found: The dataset.

    Returns:
        Its size in words, by the catalogue's counts. A plugin may leave these out.
    """
    counts = found.counts
    if not counts.keys() >= set(SIZED[found.kind]):
        return "not stated"
    if found.kind == "graph":
        return f"{counts['nodes']:,} nodes, {counts['edges']:,} edges"
    if found.kind == "labels":
        return f"{counts['rows']:,} rows, {len(counts['columns'])} columns"
    height, width = counts["side"] if isinstance(counts["side"], list) else [counts["side"]] * 2
    colours = f" x {counts['channels']}" if "channels" in counts else ""
    return f"{sum(counts['images'].values()):,} images, {height} x {width}{colours}"


def damage(found: Entry, root: Path) -> str | None:
    """Tell what is wrong with the manifest of a dataset.

    Args:
        found: The dataset.
        root: The data folder.

    Returns:
        The error line. None where it can be read, and where there is none.
    """
    try:
        store.read_manifest(found.name, root)
    except InputError as error:
        return str(error)
    return None


def state(found: Entry, root: Path, mirror: Path | None) -> str:
    """Tell where a dataset can be obtained from.

    Args:
        found: The dataset.
        root: The data folder.
        mirror: The mirror, if there is one.

    Returns:
        ``damaged``, ``here``, ``can be made``, ``in the mirror``, ``downloaded``, ``can be
        fetched`` or ``by hand``.
    """
    here = obtain.downloads(root)
    if damage(found, root):
        return "damaged"
    # In the order in which `fetch` would take them.
    if store.read_manifest(found.name, root):
        return "here"
    if not all(form.files for form in found.forms):
        return "can be made"
    if mirror is not None and any(obtain.holds(mirror, form) for form in found.forms):
        return "in the mirror"
    if any(obtain.holds(here, form) for form in found.forms):
        return "downloaded"
    # A form may be here in part: fetching brings the rest.
    folders = [here] if mirror is None else [mirror, here]
    fetchable = any(_is_within_reach(form, folders) for form in found.forms)
    return "can be fetched" if fetchable else "by hand"


def _is_within_reach(form: Form, folders: list[Path]) -> bool:
    """Tell whether each file of a form has an address or lies in one of the folders."""
    for file in form.files:
        if not file.urls and not any((folder / file.path).exists() for folder in folders):
            return False
    return True


def verification(found: Entry, root: Path) -> str:
    """Tell how the stored content compared with the catalogue when it was made.

    Args:
        found: The dataset.
        root: The data folder.

    Returns:
        ``yes``, ``rendered otherwise``, ``no hash known`` or ``other order``. ``-`` when it is not
        here or damaged.
    """
    if damage(found, root):
        return "-"
    manifest = store.read_manifest(found.name, root)
    if manifest is None:
        return "-"
    # First, as reordered rows do not match the catalogue's hash either.
    if manifest.order is not None:
        return "other order"
    words = {True: "yes", False: "rendered otherwise", None: "no hash known"}
    return words[manifest.matches_catalogue]


def info(name: str, root: Path, mirror: Path | None) -> str:
    """Write everything that the catalogue says of a dataset, and what is here of it.

    Args:
        name: Name of the dataset.
        root: The data folder.
        mirror: The mirror, if there is one.

    Returns:
        Lines, joined.

    Raises:
        InputError: For an unknown name.
    """
    return "\n".join(_lines(entry(name), root, mirror))


def _lines(found: Entry, root: Path, mirror: Path | None) -> Iterator[str]:
    counts = [f"{key}: {_plain(value)}" for key, value in found.counts.items()]
    yield from _paragraph("name", found.name)
    yield from _paragraph("kind", found.kind)
    yield from _paragraph("about", found.about)
    yield from _paragraph("size", size(found))
    yield from _paragraph("counts", "; ".join(counts))
    yield from _paragraph("source", found.source)
    yield from _paragraph("licence", found.licence)
    yield from _paragraph("citation", found.citation)
    for form in found.forms:
        yield from _paragraph("form", _form(form))
        yield from _files(form)
    if found.by_hand:
        yield from _paragraph("by hand", found.by_hand)
    yield from _paragraph("content", f"SHA-256 {found.sha256 or 'not recorded'}")
    for array, sha256 in found.arrays.items():
        yield from _paragraph("upstream", f"{array} {sha256}")
    for part, sha256 in found.any_order.items():
        yield from _paragraph("any order", f"{part} {sha256}")
    yield from _paragraph("state", state(found, root, mirror))
    yield from _paragraph("verified", verification(found, root))
    if said := damage(found, root):
        yield from _paragraph("stored", said)
        return
    manifest = store.read_manifest(found.name, root)
    if manifest is not None:
        yield from _paragraph("folder", str(store.raw_folder(found.name, root)))
        yield from _paragraph("stored", manifest.sha256)


def _form(form: Form) -> str:
    options = ", ".join(f"{key}={value!r}" for key, value in form.options.items())
    made = f"{form.build}({options})"
    return made if form.files else f"{made}, from installed packages"


def _files(form: Form) -> Iterator[str]:
    """Yield lines with the files of a form and their addresses."""
    # Not above: a table of datasets should not wait for the network's libraries.
    from hsac.data.download import address

    for file in form.files:
        stated = f"  SHA-256 {file.sha256}" if file.sha256 else ""
        yield f"{'':{INDENT}}{file.path}{stated}"
        for url in file.urls:
            yield f"{'':{INDENT + 2}}{address(url, file.path)}"


def _paragraph(key: str, text: str) -> list[str]:
    # Addresses and hashes are to be copied, so they are never broken.
    return textwrap.wrap(
        " ".join(text.split()),
        WIDTH,
        initial_indent=f"{key:<{INDENT}}",
        subsequent_indent=" " * INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
