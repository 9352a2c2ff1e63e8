"""Variants: a recipe applied to a dataset gives rows, labels or episodes, in one file with a hash.

A recipe is a file of this folder. Its ``build(arrays, *, ...)`` is a pure function of a dataset's
arrays and the recipe's parameters. In a configuration a recipe is ``{recipe: long_tail, factor: 50,
...}``.
"""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np

from hsac.data import store
from hsac.data.stored_variant import StoredVariant
from hsac.data.variants._inputs import check_inputs, inputs, read_inputs
from hsac.data.variants._parts import VariantContent, check_disjoint
from hsac.errors import InputError
from hsac.files import digest, read_json, write_json
from hsac.parts import nearest

__all__ = ["build_variant", "check_recipe", "inputs", "load_variant", "names", "write_variant"]

Recipe = Callable[..., VariantContent]


def names() -> tuple[str, ...]:
    """Return the names of the recipes.

    Returns:
        The names, sorted.
    """
    # Files whose names begin with an underscore are what the recipes share.
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py")))


def check_recipe(
    recipe: Mapping[str, Any], key: str = "recipe"
) -> tuple[Recipe, Mapping[str, Any]]:
    """Check a recipe as far as it can be without the data.

    The values of its parameters are checked when it is built.

    Args:
        recipe: Its name under ``recipe``, beside its parameters.
        key: What error lines begin with.

    Returns:
        The function of the recipe, and its parameters.

    Raises:
        InputError: For a name or a parameter that is unknown or missing, and for other inputs
            (`inputs`) that are not there.
    """
    name = recipe.get("recipe")
    if name not in names():
        raise InputError(f"{key}.recipe: found {name!r}; {nearest(str(name), names())}")
    module = import_module(f"{__name__}.{name}")
    build: Recipe = module.build
    known = _parameters(build)
    of = f"recipe {name}"
    # Label noise takes the parameters of the kind that it names.
    if hasattr(module, "kind_parameters"):
        known |= module.kind_parameters(recipe, key)
        of += f" of kind {recipe['kind']}" if "kind" in recipe else ""
    given = {parameter: value for parameter, value in recipe.items() if parameter != "recipe"}
    for parameter in given:
        if parameter not in known:
            allowed = f"{of} {nearest(parameter, known)}"
            raise InputError(f"{key}.{parameter}: found an unknown parameter; {allowed}")
    for parameter, needed in known.items():
        if needed and parameter not in given:
            raise InputError(f"{key}.{parameter}: found nothing; {of} needs it")
    check_inputs(given, key)
    return build, given


def _parameters(build: Recipe) -> dict[str, bool]:
    """Return the parameters of a recipe's function and whether they must be given."""
    known = {}
    for parameter in inspect.signature(build).parameters.values():
        # `arrays` is no key of a configuration, and **parameters stands for those of a noise kind.
        if parameter.kind is parameter.KEYWORD_ONLY:
            known[parameter.name] = parameter.default is parameter.empty
    return known


def build_variant(dataset: str, name: str, recipe: Mapping[str, Any], root: Path) -> StoredVariant:
    """Apply a recipe to a fetched dataset.

    Args:
        dataset: Name of the dataset.
        name: Name of the variant.
        recipe: The recipe's name under ``recipe``, beside its parameters.
        root: The data folder.

    Returns:
        The variant as it is written: schema, dataset, name, recipe, words, counts, data_sha256,
        then indices, labels or episodes (with shot and query) as nested lists, labels_sha256 or
        split_sha256 where the recipe reads labels or a class split, and hash over all the rest.

    Raises:
        InputError: For an unknown recipe, parameter or dataset, and for parts that cannot be cut.
    """
    key = f"variant {name}"
    build, given = check_recipe(recipe, key)
    arrays, sha256 = store.load_arrays(dataset, root)
    others, hashes = read_inputs(given, root, key)
    try:
        made = build(arrays | others, **given)
        # Here and not in each recipe, so that a new one cannot leave it out.
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
        **_plain(made.to_dict()),
    }
    # Plain lists are hashed, as they are read back, so that a file can be checked by itself.
    return cast(StoredVariant, {**variant, "hash": digest(variant)})


def _plain(value: Any) -> Any:
    """Turn arrays, however deep, into nested lists."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def write_variant(variant: Mapping[str, Any], path: Path) -> Path:
    """Write a variant as JSON, atomically.

    Args:
        variant: What `build_variant` returned.
        path: The file.

    Returns:
        The file.
    """
    write_json(path, variant)
    return Path(path)


def load_variant(path: Path, data_sha256: str | None = None) -> StoredVariant:
    """Read a variant.

    Args:
        path: Its file.
        data_sha256: Content hash of the dataset that it must be cut from, if any.

    Returns:
        The variant as `build_variant` returns it, but rows, labels and episodes as int64 arrays.

    Raises:
        InputError: Naming the file when it is missing, cut short or edited (its hash is not its
            content's), and when it was cut from other data.
    """
    advice = "delete it and make it again"
    variant = read_json(path)
    if not _is_variant(variant):
        raise InputError(f"{path} is no variant file; {advice}")
    stated = variant.pop("hash")
    if stated != digest(variant):
        raise InputError(f"{path} was changed (its content's hash is not {stated}); {advice}")
    if data_sha256 not in (None, variant["data_sha256"]):
        raise InputError(f"{path} was cut from other data than this {variant['dataset']}; {advice}")
    for field in ("indices", "labels", "episodes"):
        if field in variant:
            parts = variant[field].items()
            variant[field] = {part: np.array(rows, dtype=np.int64) for part, rows in parts}
    return cast(StoredVariant, {**variant, "hash": stated})


def _is_variant(found: Any) -> bool:
    if not isinstance(found, dict) or "hash" not in found:
        return False
    return "indices" in found or "episodes" in found
