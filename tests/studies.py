"""Studies for tests: the smoke scale as it is shipped, or with changes."""

import copy
from functools import cache
from pathlib import Path

from hsac.study import load
from hsac.study.models import Study

CONFIG = Path(__file__).parents[1] / "config"


@cache
def _shipped():
    return load.load("smoke", folder=CONFIG).dump()


def smoke_keys(*place):
    """Return a fresh copy of the smoke scale's keys, or of what stands at a place in them."""
    keys = _shipped()
    for key in place:
        keys = keys[key]
    return copy.deepcopy(keys)


def smoke(override=None):
    """Load the smoke scale, with every check."""
    return load.load("smoke", override, CONFIG)


def unchecked(keys):
    """Make a study of keys that are changed in place, without the checks of `load`."""
    return Study.model_validate(keys)


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
