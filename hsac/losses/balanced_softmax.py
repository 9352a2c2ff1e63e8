"""Balanced softmax."""

from dataclasses import dataclass

from torch import Tensor

from hsac.losses.types import Labels, State, TrainingLoss, log_probability


@dataclass(frozen=True)
class BalancedSoftmax(TrainingLoss):
    """Softmax weighted by the classes' training rows (Ren et al. 2020).

    -log(n_y e^{f_y} / Σ_k n_k e^{f_k}), with n_k the training rows of class k (NeurIPS 2020). It is
    the same function as logit_adjusted with tau = 1, found from another side. Both names are kept
    so that a table can name either.

    Attributes:
        training: Filled in from the data.
    """

    training: Labels

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
        # a class without rows counts as one with a single row
        return -log_probability(logits + self.training.counts.clamp(min=1).log(), labels).mean(-1)
