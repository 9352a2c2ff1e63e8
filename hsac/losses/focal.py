"""Focal loss."""

from dataclasses import dataclass

from torch import Tensor

from hsac.losses.types import State, TrainingLoss, log_probability, log_rest
from hsac.parts import require


@dataclass(frozen=True)
class Focal(TrainingLoss):
    """-(1 - p_y)^gamma log p_y over the softmax's classes (Lin et al., ICCV 2017, eq. 4, for many
    classes).
    """

    gamma: float = 2.0

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.gamma >= 0, "gamma", self.gamma, "a number from 0")

    def __call__(self, logits: Tensor, labels: Tensor, state: State, progress: float) -> Tensor:
        """(R, N, K), (R, N) -> (R,)."""
        hardness = (self.gamma * log_rest(logits, labels)).exp()
        return -(hardness * log_probability(logits, labels)).mean(-1)
