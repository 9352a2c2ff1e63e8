"""The catalogue for people: a table of all datasets, everything about one."""

import textwrap
from pathlib import Path
from typing import Any

from hsac.data import obtain, store
from hsac.data.catalogue import Entry, File, Form, entry, names
from hsac.files import read_json

WIDTH = 100


def table(root: Path, mirror: Path | None) -> list[str]:
    """Lines of an aligned table: name, kind, size, where its files are, whether its content was
    verified, licence.
    """
    rows = [("name", "kind", "size", "state", "verified", "licence")]
    for found in map(entry, names()):
        licence = textwrap.shorten(found.licence, 48, placeholder=" …")
        where = state(found, root, mirror)
        rows.append((found.name, found.kind, size(found), where, verdict(found, root), licence))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def size(found: Entry) -> str:
    """How large a dataset is, in words."""
    counts = found.counts
    if found.kind == "graph":
        return f"{counts['nodes']:,} nodes, {counts['edges']:,} edges"
    if found.kind == "labels":
        return f"{counts['rows']:,} rows, {len(counts['columns'])} columns"
    height, width = counts["side"] if isinstance(counts["side"], list) else [counts["side"]] * 2
    colours = f" x {counts['channels']}" if "channels" in counts else ""
    return f"{sum(counts['images'].values()):,} images, {height} x {width}{colours}"


def state(found: Entry, root: Path, mirror: Path | None) -> str:
    """Where a dataset is to be had: here, in the mirror, downloaded, can be made, can be fetched,
    by hand.
    """
    here = obtain.downloads(root)

    def within_reach(file: File) -> bool:
        return bool(file.urls) or any(
            f is not None and (f / file.path).exists() for f in (mirror, here)
        )

    if _manifest(found, root):
        return "here"
    if not all(form.files for form in found.forms):
        return "can be made"
    if mirror is not None and any(obtain.present(form, mirror) for form in found.forms):
        return "in the mirror"
    if any(obtain.present(form, here) for form in found.forms):
        return "downloaded"
    return (
        "can be fetched"
        if any(all(map(within_reach, form.files)) for form in found.forms)
        else "by hand"
    )


def verdict(found: Entry, root: Path) -> str:
    """How the content that is here compared with the catalogue when it was made; ``-`` when it is
    not here.
    """
    manifest = _manifest(found, root)
    if not manifest:
        return "-"
    if "order" in manifest:
        return "other order"
    return {True: "yes", False: "rendered otherwise", None: "no hash known"}[
        manifest["matches_catalogue"]
    ]


def info(name: str, root: Path, mirror: Path | None) -> str:
    """Everything that the catalogue says of a dataset, and what is here of it.

    Raises InputError for an unknown name.
    """
    found = entry(name)
    lines = [
        *_paragraph("name", found.name),
        *_paragraph("kind", found.kind),
        *_paragraph("about", found.about),
        *_paragraph("size", size(found)),
        *_paragraph(
            "counts", "; ".join(f"{key}: {_plain(value)}" for key, value in found.counts.items())
        ),
        *_paragraph("source", found.source),
        *_paragraph("licence", found.licence),
        *_paragraph("citation", found.citation),
        *(line for form in found.forms for line in _form(form)),
        *(_paragraph("by hand", found.by_hand) if found.by_hand else []),
        *_paragraph("content", f"SHA-256 {found.sha256 or 'not recorded'}"),
        *(
            line
            for array, sha256 in found.arrays.items()
            for line in _paragraph("upstream", f"{array} {sha256}")
        ),
        *(
            line
            for part, sha256 in found.any_order.items()
            for line in _paragraph("any order", f"{part} {sha256}")
        ),
        *_paragraph("state", state(found, root, mirror)),
        *_paragraph("verified", verdict(found, root)),
    ]
    manifest = _manifest(found, root)
    if manifest:
        lines += [
            *_paragraph("folder", str(store.raw_folder(name, root))),
            *_paragraph("stored", manifest["sha256"]),
        ]
    return "\n".join(lines)


def _form(form: Form) -> list[str]:
    from hsac.data.download import address

    options = ", ".join(f"{key}={value!r}" for key, value in form.options.items())
    lines = _paragraph(
        "form", f"{form.build}({options})" + ("" if form.files else ", from installed packages")
    )
    for file in form.files:
        lines.append(f"{'':12}{file.path}" + (f"  SHA-256 {file.sha256}" if file.sha256 else ""))
        lines += [f"{'':14}{address(url, file.path)}" for url in file.urls]
    return lines


def _paragraph(key: str, text: str) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        WIDTH,
        initial_indent=f"{key:<12}",
        subsequent_indent=" " * 12,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _manifest(found: Entry, root: Path) -> dict[str, Any]:
    """The manifest beside a dataset's arrays; empty when this version has not made it."""
    path = store.raw_folder(found.name, root) / "manifest.json"
    manifest = read_json(path) if path.exists() else {}
    return manifest if isinstance(manifest, dict) and manifest.get("schema") == store.SCHEMA else {}
