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


@dataclass(frozen=True)
class RandomSearch(Fixed):
    """The best on validation of `points` trainings, each at curvatures of its own, log-uniform in
    their bounds.

    Every curvature of a network is drawn by itself, so this finds what no shared grid can (Bergstra
    and Bengio, JMLR 2012). Each run draws and chooses for itself.
    """

    points: int = 12
    searches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.points >= 1, "points", self.points, "an integer from 1")

    def propose(
        self, start: Tensor, tried: Sequence[Trial], transform: Transform, stream: torch.Generator
    ) -> Tensor | None:
        """θ of freshly drawn curvatures, until there are enough."""
        if len(tried) == self.points:
            return None
        low, high = transform.bounds
        share = torch.rand(len(start), generator=stream, dtype=torch.float64)
        return transform.to_theta(low * (high / low) ** share).to(start)

    def score(self, trial: Trial) -> Any:
        """Validation accuracy, then NLL."""
        return trial.validation
