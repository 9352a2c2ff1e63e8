"""Studies for tests: the smoke scale as it is shipped, or with changes."""

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path

from hsac.study import load, resolve
from hsac.study.models import Study

CONFIG = Path(__file__).parents[1] / "config"


@cache
def _shipped(scale):
    return load.load(scale, folder=CONFIG).dump()


def keys_of(scale, *place):
    """Return a fresh copy of a shipped scale's keys, or of what stands at a place in them."""
    keys = _shipped(scale)
    for key in place:
        keys = keys[key]
    return copy.deepcopy(keys)


def smoke_keys(*place):
    """Return a fresh copy of the smoke scale's keys, or of what stands at a place in them."""
    return keys_of("smoke", *place)


def smoke(override=None):
    """Load the smoke scale, with every check."""
    return load.load("smoke", override, CONFIG)


def unchecked(keys):
    """Make a study of keys that are changed in place, without the checks of `load`."""
    return Study.model_validate(keys)


def cell_of(keys, experiment, method):
    """Return the study that keys make, without the checks of `load`, and a cell of it."""
    study = unchecked(keys)
    return study, resolve.cell(study, experiment, method)


def with_training(cell, **changes):
    """Return a cell whose training has some keys set anew, and that keeps its hash."""
    training = cell.config.training.model_copy(update=changes)
    return replace(cell, config=replace(cell.config, training=training))


def recipe_of(experiment):
    """Return what makes the variant of an experiment, of which the keys are given."""
    return {key: value for key, value in experiment["variant"].items() if key != "name"}


def changed(keys, *place, value):
    """Return a copy of keys with one of them, deep inside, set anew."""
    made = copy.deepcopy(keys)
    inner = made
    for key in place[:-1]:
        inner = inner.setdefault(key, {})
    inner[place[-1]] = value
    return made


def with_digits(**keys):
    """Return an override that leaves the digits alone, with some keys set anew."""
    return {"experiments": {"digits": smoke_keys("experiments", "digits") | keys}}
