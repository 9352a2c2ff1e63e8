"""Logit adjustment of a trained network."""

from dataclasses import dataclass

from torch import Tensor

from hsac.losses.cross_entropy import CrossEntropy
from hsac.losses.types import Labels, State, TrainingLoss
from hsac.parts import require


@dataclass(frozen=True)
class LogitAdjustedPostHoc(TrainingLoss):
    """Trained with cross-entropy, predicts with f - tau·log π.

    After Menon et al. (ICLR 2021, eq. 9), with π the classes' shares of the training rows.

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
        return CrossEntropy()(logits, labels, state, progress)

    def adjust(self, logits: Tensor) -> Tensor:
        """Take the prior out of the logits.

        Args:
            logits: Logits f (..., K).

        Returns:
            f - tau·log π (..., K).
        """
        # Cross-entropy has put the training part's prior into f.
        return logits - self.tau * self.training.log_prior
