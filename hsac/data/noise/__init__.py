"""Kinds of label noise, one file each. A configuration names one beside its parameters: ``{kind:
pair, rate: 0.4}``.

A kind is a frozen dataclass with

- ``corrupt(arrays, rows, stream, common) -> labels``: the labels int64 (n,) that ``rows`` (n,) are given. ``stream``
  holds the draws of these rows alone, ``common`` begins the same for every part of one variant.
- ``words``: what becomes of the labels, in a few words.
- ``exact``: whether the share of wrong labels is ``rate`` by construction, up to rounding.
"""

from typing import ClassVar, Protocol

import numpy as np

from hsac.parts import require

Arrays = dict[str, np.ndarray]


class Noise(Protocol):
    """What every kind offers."""

    exact: ClassVar[bool]

    @property
    def words(self) -> str: ...
    def corrupt(
        self,
        arrays: Arrays,
        rows: np.ndarray,
        stream: np.random.Generator,
        common: np.random.Generator,
    ) -> np.ndarray: ...


def check_rate(rate: float) -> None:
    """Raises InputError for a rate outside [0, 1]."""
    require(0 <= rate <= 1, "rate", rate, "a number from 0 to 1")


def some(rate: float, n: int, stream: np.random.Generator) -> np.ndarray:
    """round(rate * n) places of n, drawn at random."""
    return stream.permutation(n)[: round(rate * n)]


def classes_of(arrays: Arrays) -> int:
    """Number of classes."""
    return len(np.unique(arrays["label"]))
