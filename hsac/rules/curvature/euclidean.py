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

    def init(self, theta: Tensor) -> State:
        """Stateless."""
        return {}

    def update(
        self, theta: Tensor, state: State, step: Step
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """θ as it is."""
        return theta, state, {}
