"""Logit-adjusted cross-entropy."""

from dataclasses import dataclass

from torch import Tensor

from hsac.losses.types import Labels, State, TrainingLoss, log_probability
from hsac.parts import require


@dataclass(frozen=True)
class LogitAdjusted(TrainingLoss):
    """Cross-entropy of f + tau·log π, π the classes' shares of the training rows (Menon et al.,
    ICLR 2021, eq. 10).
    """

    training: Labels
    tau: float = 1.0

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.tau >= 0, "tau", self.tau, "a number from 0")

    def __call__(self, logits: Tensor, labels: Tensor, state: State, progress: float) -> Tensor:
        """(R, N, K), (R, N) -> (R,)."""
        return -log_probability(logits + self.tau * self.training.log_prior, labels).mean(-1)
