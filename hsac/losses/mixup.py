"""Mixup."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hsac.losses.cross_entropy import CrossEntropy
from hsac.losses.types import State, TrainingLoss
from hsac.parts import require


@dataclass(frozen=True)
class Mixup(TrainingLoss):
    """Cross-entropy on convex combinations of two images and their labels (Zhang et al. 2018).

    The training images are λx + (1 - λ)x' and their labels λy + (1 - λ)y', with λ from
    Beta(alpha, alpha), one λ a batch (ICLR 2018, eq. 1). `hsac.train.augment.Mixing` combines them,
    after any augmentation.

    Attributes:
        alpha: Parameter of the Beta distribution. Small ones leave most images nearly as they are,
            1 draws λ uniformly.
    """

    alpha: float = 1.0
    images_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(0 < self.alpha < float("inf"), "alpha", self.alpha, "a number above 0")

    @property
    def mixing(self) -> float:
        """The parameter of the Beta distribution."""
        return self.alpha

    def __call__(self, logits: Tensor, labels: Tensor, state: State, progress: float) -> Tensor:
        """Compute the mean loss of a batch.

        Args:
            logits: Logits (R, N, K).
            labels: Shares of the classes (R, N, K) of mixed rows, or labels (R, N) of rows that are
                not mixed.
            state: Not used.
            progress: Not used.

        Returns:
            The loss of each run (R,), in nats.
        """
        if labels.dim() < logits.dim():
            return CrossEntropy()(logits, labels, state, progress)
        return -(labels * logits.log_softmax(-1)).sum(-1).mean(-1)
