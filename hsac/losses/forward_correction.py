"""Forward correction for symmetric label noise."""

from dataclasses import dataclass

from torch import Tensor

from hsac.losses.types import State, TrainingLoss, log_probability
from hsac.parts import require


@dataclass(frozen=True)
class ForwardCorrection(TrainingLoss):
    """-log (Tᵀp)_y, the likelihood of labels that are wrong at a known rate (Patrini et al. 2017).

    T_ij is the probability that a row of class i is given label j (CVPR 2017, theorem 2). Here it
    is that of symmetric noise: 1 - rate where i = j, rate / (K - 1) elsewhere. The rate is told to
    the loss, not estimated. The true rate is what nobody knows outside of a benchmark, so a method
    that is given it is told more than others. Predictions are by p, the probabilities of true
    classes.

    Attributes:
        rate: Share of wrong labels, between 0 and 1. Noise that may draw the true class again, as
            `symmetric_inclusive` does, has the share rate·(K - 1) / K.
    """

    rate: float = 0.4

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(0 < self.rate < 1, "rate", self.rate, "a number between 0 and 1")

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
        other = self.rate / (logits.shape[-1] - 1)
        own = log_probability(logits, labels).exp()
        # All other classes lead to the label alike, so their probabilities enter as 1 - p_y.
        return -(other + (1 - self.rate - other) * own).log().mean(-1)
