"""Curvature by successive halving."""

import math
from dataclasses import dataclass
from typing import ClassVar

from hsac.parts import require
from hsac.rules.curvature.fixed import Fixed


# It is a `Fixed`, because c rests within each of its trainings.
@dataclass(frozen=True)
class Halving(Fixed):
    """The survivor of trainings at several curvatures, half dropped on validation on the way.

    Successive halving (Jamieson and Talwalkar, AISTATS 2016) over c. Trainings from all `starts`
    begin side by side. After a quarter of training the half that is worse on validation is dropped,
    and after half of training the worse half of the rest, by accuracy and then NLL. The last one
    goes on to the end. All have the schedule of a whole training, so it is the `fixed` run at its
    curvature. Each run drops for itself. All gradients are counted: four starts cost two trainings.

    Attributes:
        starts: One to four different curvatures within `curvature.bounds`. Of an odd number the
            middle one stays.
    """

    starts: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    searches: ClassVar[bool] = True
    halves: ClassVar[bool] = True
    cuts: ClassVar[tuple[float, ...]] = (0.25, 0.5)
    curvatures: ClassVar[str] = "starts"
    ignores_start: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse starts that are too many, equal or not above 0."""
        # Values come from a configuration file, so they may be of any type.
        positive = all(isinstance(c, int | float) and 0 < c < math.inf for c in self.starts)
        few = 1 <= len(self.starts) <= 2 ** len(self.cuts)
        ok = positive and few and len({*self.starts}) == len(self.starts)
        require(ok, "starts", self.starts, "a list of one to four different numbers above 0")

    @property
    def trainings(self) -> float:
        """Return the cost of a run in whole trainings."""
        left, before, cost = len(self.starts), 0.0, 0.0
        for share in (*self.cuts, 1.0):
            cost += left * (share - before)
            left, before = self.survivors(left), share
        return cost

    def survivors(self, trainings: int) -> int:
        """Return how many of so many trainings a cut leaves.

        Args:
            trainings: Their number.

        Returns:
            Half of them, rounded up.
        """
        return (trainings + 1) // 2
