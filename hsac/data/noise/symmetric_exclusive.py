"""Symmetric noise that never draws the true class."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hsac.data.noise import Arrays, check_rate, classes_of, some


@dataclass(frozen=True)
class SymmetricExclusive:
    """Labels replaced by a uniform draw from the other classes.

    Of n labels round(rate * n), drawn at random, are wrong. Source: Patrini et al., Making Deep
    Neural Networks Robust to Label Noise, CVPR 2017.

    Attributes:
        rate: Share of wrong labels, from 0 to 1.
    """

    exact: ClassVar[bool] = True
    rate: float = 0.4

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_rate(self.rate)

    @property
    def words(self) -> str:
        """What becomes of the labels, in a few words."""
        share = f"{self.rate:g} of the training and of the validation labels"
        return f"{share} replaced by a uniform draw from the other classes"

    def corrupt(
        self,
        arrays: Arrays,
        rows: np.ndarray,
        stream: np.random.Generator,
        common: np.random.Generator,
    ) -> np.ndarray:
        """Return the labels that rows are given.

        Args:
            arrays: The dataset's arrays.
            rows: Rows (n,) to label.
            stream: Draws of these rows alone.
            common: Draws that begin the same for every part of one variant.

        Returns:
            Labels int64 (n,).
        """
        given, classes = arrays["label"][rows], classes_of(arrays)
        places = some(self.rate, len(given), stream)
        # A step from 1 up never leads back to the true class.
        given[places] = (given[places] + stream.integers(1, classes, size=len(places))) % classes
        return given
