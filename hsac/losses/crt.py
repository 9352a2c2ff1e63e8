"""Classifier re-training."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hsac.losses.cross_entropy import CrossEntropy
from hsac.losses.types import State, TrainingLoss
from hsac.parts import require


@dataclass(frozen=True)
class Crt(TrainingLoss):
    """Cross-entropy, then the head alone again on batches that are balanced (Kang et al. 2020).

    Decoupled training, cRT (ICLR 2020, section 4.1). The representation is trained first, on
    batches as they come. Then the head goes back to its start weights and is trained alone, on
    batches that take every class with the same probability, while the other weights and c rest.
    Both parts have the whole schedule of the learning rate, and the weight rule starts anew.

    Attributes:
        deferred: Share of training after which the head is trained alone, between 0 and 1.
    """

    deferred: float = 0.9
    images_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(0 < self.deferred < 1, "deferred", self.deferred, "a share of training in (0, 1)")

    @property
    def head_alone_from(self) -> float:
        """The share of training after which the head is trained alone."""
        return self.deferred

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
        return CrossEntropy()(logits, labels, state, progress)
