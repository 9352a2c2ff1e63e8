"""Class-balanced cross-entropy."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from hsac.losses.types import Labels, State, TrainingLoss, log_probability
from hsac.parts import require


@dataclass(frozen=True)
class ClassBalanced(TrainingLoss):
    """Cross-entropy with rows weighted by the effective number of their class (Cui et al. 2019).

    -v_y log p_y with v ∝ (1 - beta) / (1 - beta^n_y), n_y the class's training rows, and the
    weights' mean over the classes 1 (CVPR 2019, eq. 8, with their normalisation).

    Attributes:
        training: Filled in from the data.
        beta: In [0, 1). 0 leaves cross-entropy. Near 1 a class weighs as 1 / n_y.
    """

    training: Labels
    beta: float = 0.9999

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(0 <= self.beta < 1, "beta", self.beta, "a number in [0, 1)")

    @cached_property
    def weights(self) -> Tensor:
        """Return the weight of a row by its class (K,)."""
        return self.training.class_weights(self.beta)

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
        # Not divided by the batch's weights, so that the mean over batches is that over the rows.
        return -(self.weights[labels] * log_probability(logits, labels)).mean(-1)
