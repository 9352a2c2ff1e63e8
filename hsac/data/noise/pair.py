"""Noise that takes every class for the next one."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hsac.data.noise import Arrays, check_rate, classes_of, some


@dataclass(frozen=True)
class Pair:
    """Labels replaced by the next class, the last class's by the first.

    Of n labels round(rate * n), drawn at random, are wrong. Raises InputError for a rate outside
    [0, 1]. Source: Han et al., Co-teaching: Robust Training of Deep Neural Networks with Extremely
    Noisy Labels, NeurIPS 2018.
    """

    exact: ClassVar[bool] = True
    rate: float = 0.4

    def __post_init__(self) -> None:
        check_rate(self.rate)

    @property
    def words(self) -> str:
        return (
            f"{self.rate:g} of the training and of the validation labels replaced by the next class"
        )

    def corrupt(
        self,
        arrays: Arrays,
        rows: np.ndarray,
        stream: np.random.Generator,
        common: np.random.Generator,
    ) -> np.ndarray:
        """Labels int64 (n,) that ``rows`` are given."""
        given = arrays["label"][rows]
        places = some(self.rate, len(given), stream)
        given[places] = (given[places] + 1) % classes_of(arrays)
        return given
