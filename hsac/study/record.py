"""Run records on disk: a bundle's index names each with the digest of its bytes, so that an edit is
seen.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hsac.errors import InputError
from hsac.files import file_sha256, read_json, write_json

FINAL = (
    "ok",
    "diverged",
)  # statuses that say something of the method; a run with another is tried again


def write_index(index: Path, cell: dict[str, Any], paths: dict[int, Path]) -> None:
    """The bundle's index: each run's record, by seed, and the digest of its bytes."""
    runs = [
        {"seed": seed, "path": path.name, "sha256": file_sha256(path)}
        for seed, path in sorted(paths.items())
    ]
    write_json(
        index,
        {"schema": 1, "experiment": cell["experiment"], "method": cell["method"], "runs": runs},
    )


def write_point_index(index: Path, cell: dict[str, Any], runs: list[tuple[int, Path]]) -> None:
    """The index of a bundle of points: seed and record of each run; the records lie in their
    points' folders.
    """
    listed = [
        {
            "seed": seed,
            "path": Path(os.path.relpath(path, index.parent)).as_posix(),
            "sha256": file_sha256(path),
        }
        for seed, path in runs
    ]
    write_json(
        index,
        {"schema": 1, "experiment": cell["experiment"], "method": cell["method"], "runs": listed},
    )


def read_index(index: Path) -> tuple[tuple[str, str], list[tuple[int, Path, str]]]:
    """Experiment and method of a bundle; seed, record's path and SHA-256 of each run. Raises
    InputError naming the index when it is missing, cut short or no index.
    """
    content = read_json(index)
    try:
        place = [Path(os.path.normpath(index.parent / run["path"])) for run in content["runs"]]
        listed = [
            (run["seed"], path, run["sha256"])
            for path, run in zip(place, content["runs"], strict=True)
        ]
        return (content["experiment"], content["method"]), listed
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{index}: not a bundle index ({error}); delete it and run `snakemake` again"
        ) from None


def read_records(index: Path) -> Iterator[tuple[Path, Any]]:
    """Path and content of every record that a bundle's index names.

    Raises InputError naming the file when a record is missing or differs from the index's SHA-256,
    when weights beside it differ from the record's, or when it is another cell's or seed's. Weights
    may be absent.
    """
    cell, listed = read_index(index)
    for seed, path, sha256 in listed:
        yield path, read_record(index, cell, seed, path, sha256)


def read_record(
    index: Path, cell: tuple[str, str], seed: int, path: Path, sha256: str
) -> dict[str, Any]:
    """One record, as `index` lists it (`read_index`); raises InputError as `read_records` does."""
    if not path.is_file():
        raise InputError(
            f"{path}: missing, though {index} lists it; delete that index and run `snakemake` again"
        )
    if file_sha256(path) != sha256:
        raise InputError(f"{path}: edited or damaged since its run (SHA-256 differs from {index}); "
                         "delete it and that index and run `snakemake` again")  # fmt: skip
    record = read_json(path)
    if not isinstance(record, dict):
        raise InputError(f"{path}: no run record; delete it and {index} and run `snakemake` again")
    weights = path.with_suffix(".npy")
    if weights.is_file() and file_sha256(weights) != record.get("weights"):
        raise InputError(f"{weights}: edited or damaged since its run (SHA-256 differs from {path}); "
                         f"delete it and {index} and run `snakemake` again")  # fmt: skip
    found = tuple(record.get(key) for key in ("experiment", "method", "seed"))
    if found != (*cell, seed):
        raise InputError(f"{path}: is {found}, while {index} lists it as {(*cell, seed)}")
    return record


def same_cell(record: Any, identity: dict[str, str]) -> bool:
    """Whether a record is of this configuration, code and variant (`config_hash`, `code`,
    `variant_hash`).
    """
    return isinstance(record, dict) and all(
        record.get(key) == value for key, value in identity.items()
    )


def whole(path: Path, record: dict[str, Any]) -> bool:
    """Whether the weights that the record at `path` was written with lie beside it."""
    weights = path.with_suffix(".npy")
    return weights.is_file() and file_sha256(weights) == record.get("weights")
