"""Symmetric noise that never draws the true class."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hsac.data.noise import Arrays, check_rate, classes_of, some


@dataclass(frozen=True)
class SymmetricExclusive:
    """Labels replaced by a uniform draw from the other classes.

    Of n labels round(rate * n), drawn at random, are wrong. Raises InputError for a rate outside
    [0, 1]. Source: Patrini et al., Making Deep Neural Networks Robust to Label Noise, CVPR 2017.
    """

    exact: ClassVar[bool] = True
    rate: float = 0.4

    def __post_init__(self) -> None:
        check_rate(self.rate)

    @property
    def words(self) -> str:
        return (
            f"{self.rate:g} of the training and of the validation labels replaced by a uniform draw"
            " from the other classes"
        )

    def corrupt(
        self,
        arrays: Arrays,
        rows: np.ndarray,
        stream: np.random.Generator,
        common: np.random.Generator,
    ) -> np.ndarray:
        """Labels int64 (n,) that ``rows`` are given."""
        given, classes = arrays["label"][rows], classes_of(arrays)
        places = some(self.rate, len(given), stream)
        given[places] = (given[places] + stream.integers(1, classes, size=len(places))) % classes
        return given
