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
    """Naive learning: θ follows the training loss's own gradient.

    Adam takes a step of θ with every training step.

    Attributes:
        lr: Learning rate of Adam on θ.
        warm_up: Share of training before the first step, in [0, 1).
    """

    lr: float = 0.01
    warm_up: float = 0.0
    geometry: ClassVar[str] = "hyperbolic"
    needs_gradient: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.lr > 0, "lr", self.lr, "a number above 0")
        require(0 <= self.warm_up < 1, "warm_up", self.warm_up, "a share of training in [0, 1)")

    @cached_property
    def optimizer(self) -> Adam:
        """Return Adam on θ."""
        return Adam(lr=self.lr)

    def init(self, theta: Tensor) -> State:
        """Return Adam's moments.

        Args:
            theta: Unconstrained curvatures θ (R, C).

        Returns:
            The state.
        """
        return self.optimizer.init(theta)

    def update(
        self, theta: Tensor, state: State, step: Step
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """Take one step along the gradient that the weight rule's evaluation brought with it.

        Args:
            theta: Unconstrained curvatures θ (R, C).
            state: The state from `init` or the previous call.
            step: The training step that has just been taken.

        Returns:
            The new θ (R, C), the new state, and the log.
        """
        # During the warm-up Adam's moments rest, too.
        if step.index < self.warm_up * step.total:
            return theta, state, {}
        # `needs_gradient` promises it
        assert step.gradient.theta is not None
        theta, state = self.optimizer.apply(theta, state, step.gradient.theta)
        return theta, state, {}
