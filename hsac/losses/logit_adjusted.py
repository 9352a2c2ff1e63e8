"""Logit-adjusted cross-entropy."""

from dataclasses import dataclass

from torch import Tensor

from hsac.losses.types import Labels, State, TrainingLoss, log_probability
from hsac.parts import require


@dataclass(frozen=True)
class LogitAdjusted(TrainingLoss):
    """Cross-entropy of f + tau·log π, π the classes' shares of the rows.

    After Menon et al. (ICLR 2021, eq. 10).

    Attributes:
        training: Filled in from the data.
        tau: How much of the prior is taken out. 0 leaves cross-entropy.
    """

    training: Labels
    tau: float = 1.0

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.tau >= 0, "tau", self.tau, "a number from 0")

    def __call__(self, logits: Tensor, labels: Tensor, state: State, progress: float) -> Tensor:
        """Compute the mean loss of a batch.

        Args:
            logits: Logits (R, N, K).
            labels: Labels (R, N).
            state: Not used.
            progress: Not used.

        Returns:
            The loss of each run (R,), in nats.
        """
        # The prior is added here, so f learns to do without it and predictions need no change.
        return -log_probability(logits + self.tau * self.training.log_prior, labels).mean(-1)
