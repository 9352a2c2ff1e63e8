"""Focal loss."""

from dataclasses import dataclass

from torch import Tensor

from hsac.losses.types import State, TrainingLoss, log_probability, log_rest
from hsac.parts import require


@dataclass(frozen=True)
class Focal(TrainingLoss):
    """-(1 - p_y)^gamma log p_y over the softmax's classes.

    After Lin et al. (ICCV 2017, eq. 4), for many classes.

    Attributes:
        gamma: How much rows that are right already count less. 0 leaves cross-entropy.
    """

    gamma: float = 2.0

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.gamma >= 0, "gamma", self.gamma, "a number from 0")

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
        # from log(1 - p_y), so that all derivatives exist where p_y rounds to 1
        hardness = (self.gamma * log_rest(logits, labels)).exp()
        return -(hardness * log_probability(logits, labels)).mean(-1)
