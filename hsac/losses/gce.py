"""Generalised cross-entropy."""

from dataclasses import dataclass

from torch import Tensor

from hsac.losses.types import State, TrainingLoss, log_probability
from hsac.parts import require


@dataclass(frozen=True)
class Gce(TrainingLoss):
    """(1 - p_y^q) / q (Zhang and Sabuncu, NeurIPS 2018, eq. 6).

    Cross-entropy as q → 0; at q = 1 half the mean absolute error, 1 - p_y.
    """

    q: float = 0.7

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(0 < self.q <= 1, "q", self.q, "a number in (0, 1]")

    def __call__(self, logits: Tensor, labels: Tensor, state: State, progress: float) -> Tensor:
        """(R, N, K), (R, N) -> (R,)."""
        return -((self.q * log_probability(logits, labels)).expm1() / self.q).mean(-1)
