"""What a recipe reads besides its dataset: the labels that people gave, and a file that lists
classes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hsac.data import catalogue, store
from hsac.data.variants._parts import PARTS, Arrays
from hsac.errors import InputError
from hsac.files import digest, read_json
from hsac.parts import nearest


def inputs(recipe: Mapping[str, Any]) -> tuple[list[str], list[Path]]:
    """Datasets, besides the one that the recipe is applied to, and files. A recipe names a dataset
    of labels under ``labels`` and a file under ``split``.
    """
    datasets = [recipe["labels"]] if recipe.get("labels") is not None else []
    files = [Path(recipe["split"])] if recipe.get("split") is not None else []
    return datasets, files


def check_inputs(recipe: Mapping[str, Any], key: str) -> None:
    """Raises InputError beginning with ``key`` for labels that are no dataset of labels and for a
    file that is missing or lists no classes.
    """
    if recipe.get("labels") is not None:
        known = [name for name in catalogue.names() if catalogue.entry(name).kind == "labels"]
        if recipe["labels"] not in known:
            raise InputError(
                f"{key}.labels: found {recipe['labels']!r}; {nearest(str(recipe['labels']), known)}"
            )
    if recipe.get("split") is not None:
        _lists(recipe["split"], f"{key}.split")


def read_inputs(recipe: Mapping[str, Any], root: Path, key: str) -> tuple[Arrays, dict[str, str]]:
    """Arrays that are added to the dataset's, and hashes of what they come from.

    ``labels/<column>`` (N,) for each column of the labels, with ``labels_sha256``;
    ``split/<part>``, names of classes, with ``split_sha256``. Raises InputError as
    ``check_inputs``, and for labels that were not fetched or were changed.
    """
    arrays: Arrays = {}
    hashes: dict[str, str] = {}
    if recipe.get("labels") is not None:
        columns, hashes["labels_sha256"] = store.load_arrays(recipe["labels"], root, "labels")
        arrays |= {f"labels/{name}": column for name, column in columns.items()}
    if recipe.get("split") is not None:
        lists = _lists(recipe["split"], f"{key}.split")
        hashes["split_sha256"] = digest(lists)
        arrays |= {f"split/{part}": np.array(names) for part, names in lists.items()}
    return arrays, hashes


def _lists(path: str, key: str) -> dict[str, list[str]]:
    """Names of the classes of each part."""
    if not (isinstance(path, str) and Path(path).is_file()):
        raise InputError(
            f"{key}: found {path!r}; allowed is the path of a JSON file that lists the classes of"
            " each part"
        )
    lists = read_json(Path(path))
    if not (isinstance(lists, dict) and set(lists) == set(PARTS)):
        found = ", ".join(map(repr, lists)) if isinstance(lists, dict) else type(lists).__name__
        raise InputError(
            f"{key}: found {found} in {path}; allowed is a mapping with {', '.join(PARTS)}"
        )
    owner: dict[str, str] = {}
    for part in PARTS:
        names = lists[part]
        if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
            raise InputError(
                f"{key}: found {str(names)[:40]!r} under {part} in {path}; allowed is a list of"
                " class names"
            )
        for name in names:
            if name in owner:
                where = (
                    f"twice in {part}"
                    if owner[name] == part
                    else f"in both {owner[name]} and {part}"
                )
                raise InputError(f"{key}: found class {name!r} {where} in {path}; allowed is once")
            owner[name] = part
    return lists
