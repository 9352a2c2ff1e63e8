"""What the catalogue says of each dataset."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any

import numpy as np
import yaml

from hsac.errors import InputError
from hsac.registry import nearest


@dataclass(frozen=True)
class Entry:
    """One dataset.

    ``kind`` is images or graph; ``build`` names the function that makes its arrays (module:function);
    ``rendered`` marks content that depends on the versions of fonts and renderer; ``counts`` is what must come out;
    ``sha256`` is the content hash (``store.content_sha256``). ``about``, ``source``, ``licence`` and ``citation`` are
    for people.
    """

    name: str
    kind: str
    about: str
    source: str
    licence: str
    citation: str
    build: str
    rendered: bool
    counts: dict[str, Any]
    sha256: str

    def arrays(self) -> dict[str, np.ndarray]:
        """Make the dataset's arrays from its source."""
        module, _, function = self.build.partition(":")
        arrays: dict[str, np.ndarray] = getattr(import_module(f"hsac.data.sources.{module}"), function)()
        return arrays


@cache
def _entries() -> dict[str, Entry]:
    listed = yaml.safe_load(files("hsac.data").joinpath("catalogue.yaml").read_text(encoding="utf-8"))
    return {name: Entry(name=name, **fields) for name, fields in listed.items()}


def names() -> tuple[str, ...]:
    """Names of the datasets, sorted."""
    return tuple(sorted(_entries()))


def entry(name: str) -> Entry:
    """A dataset's entry. Raises InputError with the nearest name when there is none."""
    if name not in _entries():
        raise InputError(f"dataset: found {name!r}; {nearest(name, names())}")
    return _entries()[name]
