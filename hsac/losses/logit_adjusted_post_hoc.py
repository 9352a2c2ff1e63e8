"""Logit adjustment of a trained network."""

from dataclasses import dataclass

from torch import Tensor

from hsac.losses.cross_entropy import CrossEntropy
from hsac.losses.types import Labels, State, TrainingLoss
from hsac.parts import require


@dataclass(frozen=True)
class LogitAdjustedPostHoc(TrainingLoss):
    """Trained with cross-entropy, predicts with f - tau·log π (Menon et al., ICLR 2021, eq. 9)."""

    training: Labels
    tau: float = 1.0

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.tau >= 0, "tau", self.tau, "a number from 0")

    def __call__(self, logits: Tensor, labels: Tensor, state: State, progress: float) -> Tensor:
        """(R, N, K), (R, N) -> (R,)."""
        return CrossEntropy()(logits, labels, state, progress)

    def adjust(self, logits: Tensor) -> Tensor:
        """f - tau·log π."""
        return logits - self.tau * self.training.log_prior
