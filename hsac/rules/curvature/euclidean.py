"""No curvature."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hsac.rules.types import State, Step


@dataclass(frozen=True)
class Euclidean:
    """c = 0: the same network in flat space, its features not clipped."""

    geometry: ClassVar[str] = "euclidean"
    needs_gradient: ClassVar[bool] = False
    ignores_start: ClassVar[bool] = True

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
        """Return θ as it is.

        Args:
            theta: Unconstrained curvatures θ (R, C).
            state: The state from `init` or the previous call.
            step: The training step that has just been taken.

        Returns:
            The new θ (R, C), the new state, and the log.
        """
        # In Euclidean geometry c is 0 whatever θ is.
        return theta, state, {}
