"""Recipes of features: what is computed of a dataset once and kept frozen.

A recipe is a file of this folder. Its ``build(arrays, *, ...)`` is a pure function of a dataset's
arrays and the recipe's parameters. `hsac.study.frozen_checks` reads names and parameters from the
files.
"""

from importlib import import_module

from hsac.errors import InputError
from hsac.frozen.features._content import Arrays, FeatureContent
from hsac.study.frozen import Features

__all__ = ["Arrays", "FeatureContent", "build"]


def build(arrays: Arrays, features: Features, key: str) -> FeatureContent:
    """Compute features by their recipe.

    Args:
        arrays: The dataset's arrays. For a backbone also what `hsac.frozen.networks` adds.
        features: Recipe and parameters.
        key: What error lines begin with.

    Returns:
        The features.

    Raises:
        InputError: For a parameter out of range, and for data that the recipe cannot use.
    """
    module = import_module(f"{__name__}.{features.recipe}")
    try:
        made: FeatureContent = module.build(arrays, **features.parameters)
    except InputError as error:
        raise InputError(f"{key}: {error}") from None
    return made
