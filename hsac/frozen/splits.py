"""Rows of frozen features, cut into parts."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class HeadData:
    """Rows of R problems.

    Attributes:
        x: Features (R, n, F), float64.
        label: Labels (R, n), int64.
        weight: Weights of the rows (R, n). They sum to 1 in each problem and are 0 for padding.
    """

    x: Tensor
    label: Tensor
    weight: Tensor

    def take(self, runs: Tensor) -> "HeadData":
        """Return some of the problems.

        Args:
            runs: Their places, int64.
        """
        return HeadData(self.x[runs], self.label[runs], self.weight[runs])


@dataclass(frozen=True)
class Splits:
    """The parts of R problems, of which some may belong to one seed.

    Attributes:
        seeds: The seed of each problem (R,).
        classes: Number of classes K.
        train: Rows that the head learns from.
        validation: Rows that choose.
        test: Rows that judge.
    """

    seeds: tuple[int, ...]
    classes: int
    train: HeadData
    validation: HeadData
    test: HeadData
