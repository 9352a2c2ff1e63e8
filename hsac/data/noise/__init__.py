"""Kinds of label noise, one file each.

A configuration names a kind beside its parameters: ``{kind: pair, rate: 0.4}``. A kind is a frozen
dataclass that offers what `Noise` lists.
"""

from typing import ClassVar, Protocol

import numpy as np

from hsac.parts import require

Arrays = dict[str, np.ndarray]


class Noise(Protocol):
    """A kind of label noise.

    Attributes:
        exact: Whether the share of wrong labels is ``rate`` by construction, up to rounding.
    """

    exact: ClassVar[bool]

    @property
    def words(self) -> str:
        """What becomes of the labels, in a few words."""
        ...

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
        ...


def check_rate(rate: float) -> None:
    """Check that a rate is a share.

    Args:
        rate: The parameter as given.

    Raises:
        InputError: For a rate outside [0, 1].
    """
    require(0 <= rate <= 1, "rate", rate, "a number from 0 to 1")


def some(rate: float, n: int, stream: np.random.Generator) -> np.ndarray:
    """Draw places at random.

    Args:
        rate: Share of the places to draw.
        n: How many places there are.
        stream: What draws them.

    Returns:
        round(rate * n) different places below n.
    """
    # An exact number, not a coin for each place: so every draw has the rate that is stated.
    return stream.permutation(n)[: round(rate * n)]


def classes_of(arrays: Arrays) -> int:
    """Count the classes of a dataset.

    Args:
        arrays: The dataset's arrays.

    Returns:
        The number of classes that it names.
    """
    # Not of the labels that come, as a class may have no rows.
    return len(arrays["classes"])
