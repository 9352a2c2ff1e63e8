"""What a recipe reads besides its dataset: the labels that people gave, and lists of classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hsac import documents
from hsac.data import catalogue, store
from hsac.data.variants._parts import PARTS, Arrays
from hsac.errors import InputError
from hsac.files import digest
from hsac.parts import nearest


def inputs(recipe: Mapping[str, Any]) -> tuple[list[str], list[Path]]:
    """Return what a recipe reads besides the dataset that it is applied to.

    Args:
        recipe: Its parameters. A dataset of labels is named under ``labels``, a file that lists
            classes under ``split``.

    Returns:
        Datasets and files.
    """
    datasets = [recipe["labels"]] if recipe.get("labels") is not None else []
    files = [Path(recipe["split"])] if recipe.get("split") is not None else []
    return datasets, files


def check_inputs(recipe: Mapping[str, Any], key: str) -> None:
    """Check that what a recipe reads is there and is of its kind.

    Args:
        recipe: Its parameters.
        key: The key of the recipe, which error lines begin with.

    Raises:
        InputError: For labels that are no dataset of labels, and for a file that is missing or
            lists no classes.
    """
    if recipe.get("labels") is not None:
        known = [name for name in catalogue.names() if catalogue.entry(name).kind == "labels"]
        if recipe["labels"] not in known:
            found = recipe["labels"]
            raise InputError(f"{key}.labels: found {found!r}; {nearest(str(found), known)}")
    if recipe.get("split") is not None:
        _read_class_lists(recipe["split"], f"{key}.split")


def read_inputs(recipe: Mapping[str, Any], root: Path, key: str) -> tuple[Arrays, dict[str, str]]:
    """Read what a recipe needs besides its dataset.

    Args:
        recipe: Its parameters.
        root: The data folder.
        key: The key of the recipe, which error lines begin with.

    Returns:
        Arrays that are added to the dataset's, and hashes of what they come from:
        ``labels/<column>`` (N,) for each column of the labels, with ``labels_sha256``, and
        ``split/<part>``, names of classes, with ``split_sha256``.

    Raises:
        InputError: As `check_inputs`, and for labels that were not fetched or were changed.
    """
    arrays: Arrays = {}
    hashes: dict[str, str] = {}
    if recipe.get("labels") is not None:
        columns, hashes["labels_sha256"] = store.load_arrays(recipe["labels"], root, "labels")
        # The prefix keeps them apart from the dataset's arrays, which they are put beside.
        arrays |= {f"labels/{name}": column for name, column in columns.items()}
    if recipe.get("split") is not None:
        lists = _read_class_lists(recipe["split"], f"{key}.split")
        # Of the lists and not of the file: other white space is no other split.
        hashes["split_sha256"] = digest(lists)
        arrays |= {f"split/{part}": np.array(names) for part, names in lists.items()}
    return arrays, hashes


def _read_class_lists(path: str, key: str) -> dict[str, list[str]]:
    """Return the names of the classes of each part."""
    if not (isinstance(path, str) and Path(path).is_file()):
        allowed = "the path of a JSON file that lists the classes of each part"
        raise InputError(f"{key}: found {path!r}; allowed is {allowed}")
    lists = documents.read_json(Path(path))
    if not (isinstance(lists, dict) and set(lists) == set(PARTS)):
        found = ", ".join(map(repr, lists)) if isinstance(lists, dict) else type(lists).__name__
        allowed = f"a mapping with {', '.join(PARTS)}"
        raise InputError(f"{key}: found {found} in {path}; allowed is {allowed}")
    owner: dict[str, str] = {}
    for part in PARTS:
        names = lists[part]
        if not _is_class_list(names):
            found = f"{str(names)[:40]!r} under {part} in {path}"
            raise InputError(f"{key}: found {found}; allowed is a list of class names")
        for name in names:
            # A class in two parts would be tested after it was trained on.
            if name in owner:
                other = owner[name]
                where = f"twice in {part}" if other == part else f"in both {other} and {part}"
                raise InputError(f"{key}: found class {name!r} {where} in {path}; allowed is once")
            owner[name] = part
    return lists


def _is_class_list(names: Any) -> bool:
    if not isinstance(names, list) or not names:
        return False
    return all(isinstance(name, str) for name in names)
