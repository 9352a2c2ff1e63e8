"""Label-distribution-aware margin with deferred re-weighting."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor
from torch.nn.functional import one_hot

from hsac.losses.types import Labels, State, TrainingLoss, log_probability
from hsac.parts import require


@dataclass(frozen=True)
class LdamDrw(TrainingLoss):
    """Cross-entropy with margins ∝ n_y^(-1/4), classes re-weighted late in training (Cao et al.,
    NeurIPS 2019).

    The logits are `scale`·(f - m_y 1_y), eq. 12 and 13; the largest margin is `max_margin`. From
    the share `deferred` of training on a row weighs (1 - beta) / (1 - beta^n_y) (Cui et al., CVPR
    2019, effective number of samples), the weights of a batch summing to one. The paper's scale 30
    is for cosine logits, which lie in [-1, 1]. Logits of the heads here have no bound, their size
    is learned with the normals: a factor would only multiply the head's rate and sharpness, so it
    is 1, and 30 is right for a normalised head. Predictions are those of scale·f, the probabilities
    that were trained.
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
        """m (K,)."""
        raw = self.training.counts.clamp(min=1) ** -0.25
        return self.max_margin * raw / raw.max()

    @cached_property
    def weights(self) -> Tensor:
        """Weight of a row by its class (K,), with mean 1 over the classes."""
        raw = (1 - self.beta) / (1 - self.beta ** self.training.counts.clamp(min=1))
        return raw / raw.mean()

    def __call__(self, logits: Tensor, labels: Tensor, state: State, progress: float) -> Tensor:
        """(R, N, K), (R, N) -> (R,)."""
        lowered = logits - one_hot(labels, self.training.classes) * self.margins
        each = -log_probability(self.scale * lowered, labels)
        if progress < self.deferred:
            return each.mean(-1)
        weights = self.weights[labels]
        return (weights * each).sum(-1) / weights.sum(-1)

    def adjust(self, logits: Tensor) -> Tensor:
        """scale·f."""
        return self.scale * logits
