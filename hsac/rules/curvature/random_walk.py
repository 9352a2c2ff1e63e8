"""Control: curvature moved at random."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hsac.parts import require
from hsac.rules.curvature.drift import due
from hsac.rules.types import State, Step


@dataclass(frozen=True)
class RandomWalk:
    """Control: θ moves with random signs, as often as `hsac`'s does.

    Its gain is that of a curvature that moves without going anywhere. `drift` goes somewhere.

    Attributes:
        step: Length of a step in θ.
        period: Training steps from one step to the next.
        warm_up: Share of training before the first step, in [0, 1).
    """

    step: float = 0.25
    period: int = 10
    warm_up: float = 0.1
    geometry: ClassVar[str] = "hyperbolic"
    needs_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.step > 0, "step", self.step, "a number above 0")
        require(self.period >= 1, "period", self.period, "an integer from 1")
        require(0 <= self.warm_up < 1, "warm_up", self.warm_up, "a share of training in [0, 1)")

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
        """Take one step when it is due, each sign that of a normal draw.

        Args:
            theta: Unconstrained curvatures θ (R, C).
            state: The state from `init` or the previous call.
            step: The training step that has just been taken.

        Returns:
            The new θ (R, C), the new state, and the log.
        """
        if not due(step, self.period, self.warm_up):
            return theta, state, {}
        # draws are of w's shape, and their first columns serve the curvatures
        return theta + self.step * step.normal()[:, : theta.shape[-1]].sign(), state, {}
