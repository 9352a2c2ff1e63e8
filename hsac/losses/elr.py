"""Early-learning regularisation."""

from dataclasses import dataclass

from torch import Tensor

from hsac.losses.cross_entropy import CrossEntropy
from hsac.losses.types import Labels, State, TrainingLoss
from hsac.parts import require

CLOSEST = 1 - 1e-4  # of ⟨p, t⟩, so that the logarithm stays finite; the authors clamp p so


@dataclass(frozen=True)
class Elr(TrainingLoss):
    """CE + strength·mean log(1 - ⟨p, t⟩), t an average of a row's predictions so far (Liu et al.,
    NeurIPS 2020, eq. 6).

    t ← momentum·t + (1 - momentum)·p, from 0, with the prediction p of every step that the row is
    trained in and before that step's loss; no gradient flows into t.
    """

    training: Labels
    strength: float = 3.0
    momentum: float = 0.7

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.strength >= 0, "strength", self.strength, "a number from 0")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "a number in [0, 1)")

    def init(self, runs: int) -> State:
        """Targets (R, n, K), 0."""
        return {
            "target": self.training.counts.new_zeros(runs, self.training.n, self.training.classes)
        }

    def observe(self, state: State, logits: Tensor) -> State:
        """Targets (R, N, K) moved towards the predictions."""
        predicted = logits.detach().softmax(-1)
        return {"target": self.momentum * state["target"] + (1 - self.momentum) * predicted}

    def __call__(self, logits: Tensor, labels: Tensor, state: State, progress: float) -> Tensor:
        """(R, N, K), (R, N) -> (R,)."""
        agreement = (state["target"] * logits.softmax(-1)).sum(-1).clamp(max=CLOSEST)
        return CrossEntropy()(logits, labels, state, progress) + self.strength * (
            -agreement
        ).log1p().mean(-1)
