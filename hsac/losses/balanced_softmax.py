"""Balanced softmax."""

from dataclasses import dataclass

from torch import Tensor

from hsac.losses.types import Labels, State, TrainingLoss, log_probability


@dataclass(frozen=True)
class BalancedSoftmax(TrainingLoss):
    """-log(n_y e^{f_y} / Σ_k n_k e^{f_k}), n_k the training rows of class k (Ren et al., NeurIPS
    2020).

    The same function as logit_adjusted with tau = 1, found from another side; both names are kept
    so that a table can name what it compares with.
    """

    training: Labels

    def __call__(self, logits: Tensor, labels: Tensor, state: State, progress: float) -> Tensor:
        """(R, N, K), (R, N) -> (R,)."""
        return -log_probability(logits + self.training.counts.clamp(min=1).log(), labels).mean(-1)
