"""The manifest of a scale: the SHA-256 of every artefact, as the workflow left it.

It holds what is made of run records: gathered tables, studies of the theory, tables, claims,
figures and the page. Records are not in it, since the indexes of their bundles hold their hashes.
A run of the workflow removes the manifest when its first job starts and writes it last. So an
artefact that differs from a manifest was changed by somebody else.
"""

import shutil
from pathlib import Path

from hsac.errors import InputError
from hsac.files import file_sha256, read_json, write_json
from hsac.study.graph import Graph

NAME = "manifest.json"


def path(graph: Graph) -> Path:
    """Return where the manifest of a scale lies.

    Args:
        graph: the work of the scale.
    """
    return graph.results / NAME


def artefacts(graph: Graph) -> dict[Path, list[Path]]:
    """List the artefacts that are there.

    Args:
        graph: the work of the scale.

    Returns:
        The files of each output, a file or a folder, of the jobs that make artefacts.
    """
    found = {}
    for job in graph.artefacts:
        made = [file for one in (job.output, *job.beside) for file in (one, *one.rglob("*"))]
        found[job.output] = sorted(file for file in made if file.is_file())
    return found


def write(graph: Graph) -> None:
    """Write the manifest of the artefacts that are there.

    Args:
        graph: the work of the scale.

    Raises:
        InputError: An artefact cannot be read, or the manifest cannot be written.
    """
    files = [file for made in artefacts(graph).values() for file in made]
    hashes = {file.relative_to(graph.results).as_posix(): file_sha256(file) for file in files}
    write_json(path(graph), hashes)


def differing(graph: Graph) -> dict[Path, list[Path]]:
    """Find the artefacts that are not as the manifest says.

    Args:
        graph: the work of the scale.

    Returns:
        The files that were changed, added or lost, by the output that holds them. Empty where there
        is no manifest. An output that is not there at all is left out: the workflow misses it
        anyway.

    Raises:
        InputError: The manifest or an artefact cannot be read.
    """
    if not path(graph).exists():
        return {}
    hashes = read_json(path(graph))
    if not isinstance(hashes, dict):
        raise InputError(f"{path(graph)}: found no object of SHA-256 by file; delete it")
    known = {graph.results / name: sha256 for name, sha256 in hashes.items()}
    found = {}
    for output, files in artefacts(graph).items():
        listed = [file for file in known if file == output or output in file.parents]
        # What the manifest never saw is newer than it, for instance a job's of another override.
        if not output.exists() or not listed:
            continue
        changed = [file for file in files if known.get(file) != file_sha256(file)]
        lost = [file for file in listed if not file.is_file()]
        if changed or lost:
            found[output] = [*changed, *lost]
    return found


def remove(output: Path) -> None:
    """Delete an artefact, so that the workflow makes it again.

    Args:
        output: a file or a folder.
    """
    if output.is_dir() and not output.is_symlink():
        shutil.rmtree(output)
    else:
        output.unlink(missing_ok=True)
