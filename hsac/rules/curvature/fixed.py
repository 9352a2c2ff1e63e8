"""Curvature chosen by hand."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hsac.rules.types import State, Step


@dataclass(frozen=True)
class Fixed:
    """c stays at its start value."""

    geometry: ClassVar[str] = "hyperbolic"
    needs_gradient: ClassVar[bool] = False

    def init(self, theta: Tensor) -> State:
        """Stateless."""
        return {}

    def update(
        self, theta: Tensor, state: State, step: Step
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """θ as it is."""
        return theta, state, {}
