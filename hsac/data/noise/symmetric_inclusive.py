"""Symmetric noise that may draw the true class again."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hsac.data.noise import Arrays, check_rate, classes_of, some


@dataclass(frozen=True)
class SymmetricInclusive:
    """Labels replaced by a uniform draw from all classes, their own included.

    Of n labels round(rate * n), drawn at random, are replaced, so rate * (C - 1) / C of them are
    wrong on average. The transition matrix is rate / C + (1 - rate) * I, the uniform mixing that is
    ``unif`` in the public code of Shu et al. (Meta-Weight-Net, NeurIPS 2019). Source: Patrini et
    al., Making Deep Neural Networks Robust to Label Noise, CVPR 2017.

    Attributes:
        rate: Share of replaced labels, from 0 to 1.
    """

    # How often the true class is drawn again is chance.
    exact: ClassVar[bool] = False
    rate: float = 0.4

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_rate(self.rate)

    @property
    def words(self) -> str:
        """What becomes of the labels, in a few words."""
        share = f"{self.rate:g} of the training and of the validation labels"
        return f"{share} replaced by a uniform draw from all classes, their own included"

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
        given = arrays["label"][rows]
        places = some(self.rate, len(given), stream)
        given[places] = stream.integers(classes_of(arrays), size=len(places))
        return given
