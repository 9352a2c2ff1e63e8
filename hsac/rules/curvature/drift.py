"""Control: curvature moved blindly."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hsac.parts import require
from hsac.rules.types import State, Step


@dataclass(frozen=True)
class Drift:
    """Control: θ moves with a constant sign, as often as `hsac`'s does.

    It reads no gradient. Its gain is that of any curvature that moves. Only what `hsac` gains
    beyond it is due to the hypergradient.

    Attributes:
        direction: 1 lets c grow, -1 lets it shrink.
        step: Length of a step in θ.
        period: Training steps from one step to the next.
        warm_up: Share of training before the first step, in [0, 1).
        anneal: Whether steps shrink by half a cosine over training, as those of an annealed `hsac`
            do.
        bounds_relative: c stays within this factor of where it started.
    """

    direction: int = 1
    step: float = 0.25
    period: int = 10
    warm_up: float = 0.1
    anneal: bool = False
    bounds_relative: float = math.inf
    geometry: ClassVar[str] = "hyperbolic"
    needs_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        ok = self.direction in (-1, 1)
        require(ok, "direction", self.direction, "1 (c grows) or -1 (c shrinks)")
        require(self.step > 0, "step", self.step, "a number above 0")
        require(self.period >= 1, "period", self.period, "an integer from 1")
        require(0 <= self.warm_up < 1, "warm_up", self.warm_up, "a share of training in [0, 1)")
        check_relative(self.bounds_relative)

    def init(self, theta: Tensor) -> State:
        """Return an empty state.

        Args:
            theta: Unconstrained curvatures θ (R, C).

        Returns:
            The state, empty.
        """
        return {}

    def update(
        self, theta: Tensor, state: State, step: Step
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """Take one blind step when it is due.

        Args:
            theta: Unconstrained curvatures θ (R, C).
            state: The state from `init` or the previous call.
            step: The training step that has just been taken.

        Returns:
            The new θ (R, C), the new state, and the log.
        """
        if not due(step, self.period, self.warm_up):
            return theta, state, {}
        # No clamp here: the training loop pulls every θ into its bounds.
        factor = annealing(step) if self.anneal else 1.0
        return theta + self.direction * self.step * factor, state, {}


def check_relative(factor: float) -> None:
    """Check a parameter `bounds_relative`.

    Args:
        factor: Its value.

    Raises:
        InputError: It is not above 1.
    """
    require(factor > 1, "bounds_relative", factor, "a number above 1, or inf")


def due(step: Step, period: int, warm_up: float) -> bool:
    """Check whether an outer step falls on this training step.

    Args:
        step: The training step.
        period: Training steps from one outer step to the next.
        warm_up: Share of training before the first outer step.

    Returns:
        Whether it is due.
    """
    # Steps count from 0, and a period has to be over before its outer step.
    return step.index >= warm_up * step.total and (step.index + 1) % period == 0


def annealing(step: Step) -> float:
    """Compute the factor of an annealed step: half a cosine over training.

    A weight whose learning rate falls to 0 cannot follow a curvature that goes on moving.

    Args:
        step: The training step.

    Returns:
        1 at the first step of training, falling to 0 after the last.
    """
    return (1 + math.cos(math.pi * step.index / step.total)) / 2
