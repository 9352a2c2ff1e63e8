"""Noise whose rate and direction depend on the image."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hsac.data.noise import Arrays, classes_of
from hsac.parts import require

# Rates and probabilities are whole millionths, so that a last digit in which two machines differ is
# rounded away.
UNIT = 10**6
STEPS = 256  # of a weight, per unit
SPREAD = 0.1  # standard deviation of the rates
CHUNK = 4096  # images read at once


@dataclass(frozen=True)
class Instance:
    """Labels replaced at a rate of their image's own, by a class that the image decides.

    Each image has a rate q from a normal around ``rate`` with standard deviation 0.1, truncated to
    [0, 1], and is mislabelled with probability q. Another class j then has the probability
    softmax(x W_y)_j, where x are its pixels (less the mean of all non-test pixels, in units of
    their standard deviation) and W_y (pixels x classes) standard normal weights, one matrix a true
    class y, the same for training and validation. The truncation moves the mean rate towards a half
    (0.129 at 0.1, 0.206 at 0.2). Source: Xia et al., Part-dependent Label Noise: Towards
    Instance-dependent Label Noise, NeurIPS 2020 (algorithm 2 of its appendix).

    Attributes:
        rate: Centre of the images' rates, from 0.1 to 0.9.
    """

    exact: ClassVar[bool] = False
    rate: float = 0.4

    def __post_init__(self) -> None:
        """Check the parameters."""
        require(0.1 <= self.rate <= 0.9, "rate", self.rate, "a number from 0.1 to 0.9")

    @property
    def words(self) -> str:
        """What becomes of the labels, in a few words."""
        return (
            "training and validation labels replaced with a probability of each image's own"
            f" (normal around {self.rate:g}, deviation {SPREAD:g}, within 0 and 1) by another class"
            " drawn from the softmax of random projections of its pixels"
        )

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
        given, image = arrays["label"][rows], arrays["image"]
        mean, deviation = _moments(image, np.flatnonzero(arrays["split"] != 2))
        wrong = stream.integers(UNIT, size=len(rows)) < self._rates(len(rows), stream)
        point = stream.integers(UNIT, size=len(rows))
        classes, features = classes_of(arrays), math.prod(image.shape[1:])
        places = [np.flatnonzero(wrong & (given == c)) for c in range(classes)]
        for own, chosen in enumerate(places):
            # Drawn for every class, so that no matrix depends on which labels are wrong.
            weights = np.rint(common.standard_normal((features, classes)) * STEPS)
            for some in np.array_split(chosen, len(chosen) // CHUNK + 1):
                # Whole numbers, as the weights are, so that the products are exact and the same on
                # every machine.
                pixels = image[rows[some]].reshape(len(some), features).astype(np.float64) - mean
                given[some] = _drawn(pixels @ weights / (STEPS * deviation), own, point[some])
        return given

    def _rates(self, n: int, stream: np.random.Generator) -> np.ndarray:
        """Draw rates (n,) in millionths, again until all are within [0, 1]."""
        rates = np.full(n, -1.0)
        while len(outside := np.flatnonzero((rates < 0) | (rates > UNIT))):
            drawn = self.rate + SPREAD * stream.standard_normal(len(outside))
            rates[outside] = np.rint(drawn * UNIT)
        return rates


def _moments(image: np.ndarray, rows: np.ndarray) -> tuple[int, float]:
    """Return the mean of the pixels, rounded down, and their standard deviation (never 0)."""
    # By a histogram: whole numbers are exact, and no float copy of the images is needed.
    count = np.zeros(256, dtype=np.int64)
    for some in np.array_split(rows, len(rows) // CHUNK + 1):
        count += np.bincount(image[some].ravel(), minlength=256)
    value = np.arange(256)
    n, total, squares = (int((count * value**power).sum()) for power in (0, 1, 2))
    # Rounded down, so that pixels less it are whole. A deviation of 0 could not divide.
    return total // n, math.sqrt((squares * n - total**2) / n**2) or 1.0


def _drawn(logits: np.ndarray, own: int, point: np.ndarray) -> np.ndarray:
    """Draw classes (n,) other than ``own``.

    Each is the one in whose part of [0, UNIT), as wide as its probability, the point falls.
    """
    # The true class has no part of the interval.
    logits[:, own] = -np.inf
    # Less the largest, so that nothing overflows.
    weight = np.exp(logits - logits.max(1, keepdims=True))
    edge = np.rint(weight.cumsum(1) / weight.sum(1, keepdims=True) * UNIT)
    return (point[:, None] >= edge).sum(1)
