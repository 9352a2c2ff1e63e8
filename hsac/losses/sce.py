"""Symmetric cross-entropy."""

from dataclasses import dataclass

from torch import Tensor

from hsac.losses.types import State, TrainingLoss, log_probability
from hsac.parts import require


@dataclass(frozen=True)
class Sce(TrainingLoss):
    """alpha·CE + beta·RCE, RCE = -Σ_k p_k log q_k with log 0 = `floor`.

    After Wang et al. (ICCV 2019, eq. 7). With one label a row the reverse term is -floor·(1 - p_y).
    Defaults are the paper's for ten classes.

    Attributes:
        alpha: Factor of cross-entropy.
        beta: Factor of reverse cross-entropy.
        floor: Stands for log 0, below 0.
    """

    alpha: float = 0.1
    beta: float = 1.0
    floor: float = -4.0

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        for name in ("alpha", "beta"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "a number from 0")
        require(self.floor < 0, "floor", self.floor, "a number below 0")

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
        own = log_probability(logits, labels)
        # floor·(p_y - 1) as floor·expm1(log p_y), which does not cancel at p_y near 1
        return (self.beta * self.floor * own.expm1() - self.alpha * own).mean(-1)
