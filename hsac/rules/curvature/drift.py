"""Control: curvature moved blindly."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hsac.parts import require
from hsac.rules.types import State, Step


@dataclass(frozen=True)
class Drift:
    """θ moves by `step` with a constant sign and no gradient, as often and as early as `hsac` does.

    What it gains, a moving curvature gains by moving; only what `hsac` gains beyond it is the
    hypergradient's. If `anneal`, its steps shrink by half a cosine over training, as those of an
    annealed `hsac` do.
    """

    direction: int = 1
    step: float = 0.25
    period: int = 10
    warm_up: float = 0.1
    anneal: bool = False
    geometry: ClassVar[str] = "hyperbolic"
    needs_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(
            self.direction in (-1, 1), "direction", self.direction, "1 (c grows) or -1 (c shrinks)"
        )
        require(self.step > 0, "step", self.step, "a number above 0")
        require(self.period >= 1, "period", self.period, "an integer from 1")
        require(0 <= self.warm_up < 1, "warm_up", self.warm_up, "a share of training in [0, 1)")

    def init(self, theta: Tensor) -> State:
        """Stateless."""
        return {}

    def update(
        self, theta: Tensor, state: State, step: Step
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """One blind step when it is due."""
        if not due(step, self.period, self.warm_up):
            return theta, state, {}
        return (
            theta + self.direction * self.step * (annealing(step) if self.anneal else 1.0),
            state,
            {},
        )


def due(step: Step, period: int, warm_up: float) -> bool:
    """Whether an outer step falls on this training step: every `period` after the `warm_up` share
    of training.
    """
    return step.index >= warm_up * step.total and (step.index + 1) % period == 0


def annealing(step: Step) -> float:
    """Half a cosine: 1 at the first step of training, 0 after the last. A weight whose learning
    rate falls to 0 cannot follow a curvature that goes on moving.
    """
    return (1 + math.cos(math.pi * step.index / step.total)) / 2
