"""Noise that takes every class for the next one."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hsac.data.noise import Arrays, check_rate, classes_of, some


@dataclass(frozen=True)
class Pair:
    """Labels replaced by the next class, the last class's by the first.

    Of n labels round(rate * n), drawn at random, are wrong. Source: Han et al., Co-teaching: Robust
    Training of Deep Neural Networks with Extremely Noisy Labels, NeurIPS 2018.

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
        return f"{share} replaced by the next class"

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
        # Indexing by an array copies, so that the dataset keeps its labels.
        given = arrays["label"][rows]
        places = some(self.rate, len(given), stream)
        given[places] = (given[places] + 1) % classes_of(arrays)
        return given
