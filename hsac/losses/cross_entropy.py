"""Cross-entropy."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from hsac.losses.types import State, TrainingLoss


@dataclass(frozen=True)
class CrossEntropy(TrainingLoss):
    """-log p_y, the default."""

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
        # torch wants classes on axis 1, so runs and rows become one axis.
        each = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        return each.unflatten(0, labels.shape).mean(-1)
