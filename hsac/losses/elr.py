"""Early-learning regularisation."""

from dataclasses import dataclass

from torch import Tensor

from hsac.losses.cross_entropy import CrossEntropy
from hsac.losses.types import Labels, State, TrainingLoss
from hsac.parts import require

# Largest ⟨p, t⟩, so that the logarithm stays finite. The authors clamp p like this.
CLOSEST = 1 - 1e-4


@dataclass(frozen=True)
class Elr(TrainingLoss):
    """Cross-entropy held to its own early predictions (Liu et al. 2020).

    CE + strength·mean log(1 - ⟨p, t⟩), where t is an average of a row's predictions so far
    (NeurIPS 2020, eq. 6). From 0, t ← momentum·t + (1 - momentum)·p with the prediction p of every
    step that the row is trained in, before that step's loss. No gradient flows into t.

    Attributes:
        training: Filled in from the data.
        strength: Factor of the regulariser. 0 leaves cross-entropy.
        momentum: How much of t is kept, in [0, 1).
    """

    training: Labels
    strength: float = 3.0
    momentum: float = 0.7

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.strength >= 0, "strength", self.strength, "a number from 0")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "a number in [0, 1)")

    def init(self, runs: int) -> State:
        """Return targets t of 0.

        Args:
            runs: Number of runs R.

        Returns:
            Targets (R, n, K).
        """
        shape = (runs, self.training.n, self.training.classes)
        return {"target": self.training.counts.new_zeros(shape)}

    def observe(self, state: State, logits: Tensor) -> State:
        """Move targets towards the predictions.

        Args:
            state: Targets (R, N, K) of the batch's rows.
            logits: Logits (R, N, K) of these rows.

        Returns:
            The new targets (R, N, K).
        """
        # targets are constants to the gradient
        predicted = logits.detach().softmax(-1)
        return {"target": self.momentum * state["target"] + (1 - self.momentum) * predicted}

    def __call__(self, logits: Tensor, labels: Tensor, state: State, progress: float) -> Tensor:
        """Compute the mean loss of a batch.

        Args:
            logits: Logits (R, N, K).
            labels: Labels (R, N).
            state: Targets (R, N, K) of these rows.
            progress: Not used.

        Returns:
            The loss of each run (R,), in nats.
        """
        # The target holds this step's prediction already (`observe` comes first), as a constant.
        agreement = (state["target"] * logits.softmax(-1)).sum(-1).clamp(max=CLOSEST)
        plain = CrossEntropy()(logits, labels, state, progress)
        return plain + self.strength * (-agreement).log1p().mean(-1)
