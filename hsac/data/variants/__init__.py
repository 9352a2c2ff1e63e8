"""Variants: a recipe applied to a dataset gives rows, labels or episodes, in one JSON file with a
hash.

A recipe is a file of this folder: its ``build(arrays, *, ...)`` is a pure function of a dataset's
arrays and the recipe's parameters. In a configuration a recipe is ``{recipe: long_tail, factor: 50,
...}``.
"""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from hsac.data import store
from hsac.data.variants._inputs import check_inputs, inputs, read_inputs
from hsac.data.variants._parts import check_disjoint
from hsac.errors import InputError
from hsac.files import digest, read_json, write_json
from hsac.parts import nearest

__all__ = ["build_variant", "check_recipe", "inputs", "load_variant", "names", "write_variant"]

Recipe = Callable[..., dict[str, Any]]


def names() -> tuple[str, ...]:
    """Names of the recipes, sorted."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py")))


def check_recipe(recipe: Mapping[str, Any], key: str = "recipe") -> tuple[Recipe, dict[str, Any]]:
    """The function of a recipe and its parameters. Raises InputError beginning with ``key`` for a
    name or a parameter that is unknown or missing, and for other inputs (``inputs``) that are not
    there; other values are checked against the data when the recipe is built.
    """
    name = recipe.get("recipe")
    if name not in names():
        raise InputError(f"{key}.recipe: found {name!r}; {nearest(str(name), names())}")
    module = import_module(f"{__name__}.{name}")
    build: Recipe = module.build
    known = {
        parameter.name: parameter.default is parameter.empty
        for parameter in inspect.signature(build).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    of = f"recipe {name}"
    if hasattr(module, "more"):  # parameters that a kind brings along
        known |= module.more(recipe, key)
        of += f" of kind {recipe['kind']}" if "kind" in recipe else ""
    given = {parameter: value for parameter, value in recipe.items() if parameter != "recipe"}
    for parameter in given:
        if parameter not in known:
            raise InputError(
                f"{key}.{parameter}: found an unknown parameter; {of} {nearest(parameter, known)}"
            )
    for parameter, needed in known.items():
        if needed and parameter not in given:
            raise InputError(f"{key}.{parameter}: found nothing; {of} needs it")
    check_inputs(given, key)
    return build, given


def build_variant(dataset: str, name: str, recipe: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Apply ``recipe`` (its name under ``recipe``, beside its parameters) to a fetched dataset.

    Returns the variant as it is written: schema, dataset, name, recipe, words, counts, data_sha256,
    then indices, labels or episodes (with shot and query) as nested lists, labels_sha256 or
    split_sha256 where the recipe reads labels or a class split, and hash over all the rest. Raises
    InputError for an unknown recipe, parameter or dataset, and for parts that cannot be cut.
    """
    key = f"variant {name}"
    build, given = check_recipe(recipe, key)
    arrays, sha256 = store.load_arrays(dataset, root)
    others, hashes = read_inputs(given, root, key)
    try:
        made = build(arrays | others, **given)
        check_disjoint(made, arrays)
    except InputError as error:
        raise InputError(f"{key} of {dataset}: {error}") from None
    variant = {
        "schema": 1,
        "dataset": dataset,
        "name": name,
        "recipe": dict(recipe),
        "data_sha256": sha256,
        **hashes,
        **{field: _lists(value) for field, value in made.items()},
    }
    return {**variant, "hash": digest(variant)}


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(inner) for key, inner in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def write_variant(variant: dict[str, Any], path: Path) -> Path:
    """Write a variant as JSON, atomically."""
    write_json(path, variant)
    return Path(path)


def load_variant(path: Path, data_sha256: str | None = None) -> dict[str, Any]:
    """Read a variant; rows, labels and episodes come as int64 arrays.

    Raises InputError naming the file when it is missing, cut short or edited (its hash is not its
    content's), and, where ``data_sha256`` is given, when it was cut from other data.
    """
    advice = "delete it and make it again"
    variant = read_json(path)
    if not (
        isinstance(variant, dict)
        and "hash" in variant
        and ("indices" in variant or "episodes" in variant)
    ):
        raise InputError(f"{path} is no variant file; {advice}")
    stated = variant.pop("hash")
    if stated != digest(variant):
        raise InputError(f"{path} was changed (its content's hash is not {stated}); {advice}")
    if data_sha256 not in (None, variant["data_sha256"]):
        raise InputError(f"{path} was cut from other data than this {variant['dataset']}; {advice}")
    arrays = {
        field: {part: np.array(rows, dtype=np.int64) for part, rows in variant[field].items()}
        for field in ("indices", "labels", "episodes")
        if field in variant
    }
    return {**variant, **arrays, "hash": stated}
