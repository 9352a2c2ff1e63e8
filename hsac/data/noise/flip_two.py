"""Noise that takes every class for one of two others."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hsac.data.noise import Arrays, check_rate, classes_of, some
from hsac.errors import InputError


@dataclass(frozen=True)
class FlipTwo:
    """Labels replaced by one of two other classes, which are drawn once for each class.

    Of n labels round(rate * n), drawn at random, are wrong. Each goes to either of its class's two
    with probability a half, so a class is taken for each of them with probability rate / 2. Source:
    ``flip2`` in the public code of Shu et al., Meta-Weight-Net: Learning an Explicit Mapping For
    Sample Weighting, NeurIPS 2019. The pairs drawn here are not those of that code.

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
        return f"{share} replaced by one of two other classes that are drawn for each class"

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

        Raises:
            InputError: For a dataset of fewer than three classes.
        """
        given, classes = arrays["label"][rows], classes_of(arrays)
        if classes < 3:
            raise InputError(
                f"kind: found flip_two on a dataset of {classes} classes; allowed is one of 3 or"
                " more"
            )
        # Steps from 1 up never lead back to the true class. One table for all parts.
        steps = np.stack([1 + common.permutation(classes - 1)[:2] for _ in range(classes)])
        places = some(self.rate, len(given), stream)
        own = given[places]
        given[places] = (own + steps[own, stream.integers(2, size=len(places))]) % classes
        return given
