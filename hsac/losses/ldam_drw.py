"""Label-distribution-aware margin with deferred re-weighting."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor
from torch.nn.functional import one_hot

from hsac.losses.types import Labels, State, TrainingLoss, log_probability
from hsac.parts import require


@dataclass(frozen=True)
class LdamDrw(TrainingLoss):
    """Margins ∝ n_y^(-1/4), classes re-weighted late (Cao et al. 2019).

    Cross-entropy of the logits `scale`·(f - m_y 1_y) (NeurIPS 2019, eq. 12 and 13). Late in
    training a row weighs (1 - beta) / (1 - beta^n_y), the weights of a batch summing to one (Cui et
    al., CVPR 2019, effective number of samples). Predictions are those of scale·f, the
    probabilities that were trained.

    Attributes:
        training: Filled in from the data.
        max_margin: The margin m of the rarest class.
        scale: Factor of the logits. The paper's 30 is for cosine logits, which lie in [-1, 1], and
            right for a normalised head. Logits of the heads here have no bound, because their size
            is learned with the normals. A factor would only multiply the head's rate and sharpness,
            so it is 1.
        deferred: Share of training from which on rows are weighted, in [0, 1].
        beta: In [0, 1). The nearer to 1, the more a row of a rare class weighs.
    """

    training: Labels
    max_margin: float = 0.5
    scale: float = 1.0
    deferred: float = 0.8
    beta: float = 0.9999

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.max_margin >= 0, "max_margin", self.max_margin, "a number from 0")
        require(self.scale > 0, "scale", self.scale, "a number above 0")
        require(0 <= self.deferred <= 1, "deferred", self.deferred, "a share of training in [0, 1]")
        require(0 <= self.beta < 1, "beta", self.beta, "a number in [0, 1)")

    @cached_property
    def margins(self) -> Tensor:
        """Return the margins m (K,)."""
        raw = self.training.counts.clamp(min=1) ** -0.25
        # The paper's constant C, chosen so that the largest margin is `max_margin`.
        return self.max_margin * raw / raw.max()

    @cached_property
    def weights(self) -> Tensor:
        """Return the weight of a row by its class (K,), with mean 1 over the classes."""
        return self.training.class_weights(self.beta)

    def __call__(self, logits: Tensor, labels: Tensor, state: State, progress: float) -> Tensor:
        """Compute the mean loss of a batch.

        Args:
            logits: Logits (R, N, K).
            labels: Labels (R, N).
            state: Not used.
            progress: Share of training done, in [0, 1].

        Returns:
            The loss of each run (R,), in nats.
        """
        lowered = logits - one_hot(labels, self.training.classes) * self.margins
        each = -log_probability(self.scale * lowered, labels)
        if progress < self.deferred:
            return each.mean(-1)
        weights = self.weights[labels]
        # divided by the weights' sum, as torch's weighted cross-entropy is
        return (weights * each).sum(-1) / weights.sum(-1)

    def adjust(self, logits: Tensor) -> Tensor:
        """Scale the logits to those that were trained.

        Args:
            logits: Logits f (..., K).

        Returns:
            scale·f (..., K).
        """
        return self.scale * logits
