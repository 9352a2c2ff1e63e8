"""Generalised cross-entropy."""

from dataclasses import dataclass

from torch import Tensor

from hsac.losses.types import State, TrainingLoss, log_probability
from hsac.parts import require


@dataclass(frozen=True)
class Gce(TrainingLoss):
    """(1 - p_y^q) / q (Zhang and Sabuncu, NeurIPS 2018, eq. 6).

    Attributes:
        q: In (0, 1]. It is cross-entropy as q → 0, and at 1 half the mean absolute error, 1 - p_y.
    """

    q: float = 0.7

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(0 < self.q <= 1, "q", self.q, "a number in (0, 1]")

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
        # (1 - p^q)/q as -expm1(q log p)/q, which does not cancel at small q
        return -((self.q * log_probability(logits, labels)).expm1() / self.q).mean(-1)
