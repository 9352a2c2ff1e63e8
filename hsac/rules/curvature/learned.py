"""Curvature as one more weight."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from torch import Tensor

from hsac.parts import require
from hsac.rules.types import State, Step
from hsac.rules.weights.adam import Adam


@dataclass(frozen=True)
class Learned:
    """Naive learning: θ follows the training loss's own gradient, with Adam, every step after the
    `warm_up` share.
    """

    lr: float = 0.01
    warm_up: float = 0.0
    geometry: ClassVar[str] = "hyperbolic"
    needs_gradient: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.lr > 0, "lr", self.lr, "a number above 0")
        require(0 <= self.warm_up < 1, "warm_up", self.warm_up, "a share of training in [0, 1)")

    @cached_property
    def optimiser(self) -> Adam:
        """Adam on θ."""
        return Adam(lr=self.lr)

    def init(self, theta: Tensor) -> State:
        """Adam's moments."""
        return self.optimiser.init(theta)

    def update(
        self, theta: Tensor, state: State, step: Step
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """One step along the gradient that the weight rule's evaluation brought with it."""
        if step.index < self.warm_up * step.total:
            return theta, state, {}
        assert step.gradient.theta is not None
        theta, state = self.optimiser.apply(theta, state, step.gradient.theta)
        return theta, state, {}
