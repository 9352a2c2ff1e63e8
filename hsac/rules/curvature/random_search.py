"""Curvatures searched at random."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hsac.ball.curvature import Transform
from hsac.parts import require
from hsac.rules.curvature.fixed import Fixed
from hsac.rules.types import Trial


# It is a `Fixed`, because c rests within each of its trainings.
@dataclass(frozen=True)
class RandomSearch(Fixed):
    """The best on validation of trainings at random curvatures.

    Curvatures are drawn log-uniformly within their bounds. Every curvature of a network is drawn by
    itself, so this finds what no shared grid can (Bergstra and Bengio, JMLR 2012). Each run draws
    and chooses for itself.

    Attributes:
        points: Trainings a run.
    """

    points: int = 12
    searches: ClassVar[bool] = True
    ignores_start: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.points >= 1, "points", self.points, "an integer from 1")

    def propose(
        self, start: Tensor, tried: Sequence[Trial], transform: Transform, stream: torch.Generator
    ) -> Tensor | None:
        """Draw θ of fresh curvatures, until there are enough.

        Args:
            start: θ (C,) of the method's initial curvature.
            tried: The trainings so far, in order.
            transform: Maps θ to curvatures and knows their bounds.
            stream: The run's own random stream.

        Returns:
            θ (C,) of the next training, None when there are enough.
        """
        if len(tried) == self.points:
            return None
        low, high = transform.bounds
        # float64 whatever θ is, so that every dtype draws the same curvatures
        share = torch.rand(len(start), generator=stream, dtype=torch.float64)
        return transform.to_theta(low * (high / low) ** share).to(start)

    def score(self, trial: Trial) -> Any:
        """Return the validation accuracy, then NLL.

        Args:
            trial: A finished training.

        Returns:
            The score. The training with the largest is chosen.
        """
        return trial.validation
