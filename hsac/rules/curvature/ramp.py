"""Control: curvature on a given way."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hsac.parts import require
from hsac.rules.types import State, Step


@dataclass(frozen=True)
class Ramp:
    """Control: θ goes from its start to that of a given c by half a cosine.

    It reads no gradient. With `to` at the curvature that a learning rule ends at, it tells what the
    rule's gradients add to the way that c takes.

    Attributes:
        to: The curvature at the end, within `curvature.bounds`.
        share: Share of training that the way takes, in (0, 1]. Afterwards c rests. Under the loss
            `crt`, which lets c rest while it trains the head, it should be at most `deferred`.
    """

    to: float = 1.0
    share: float = 1.0
    geometry: ClassVar[str] = "hyperbolic"
    needs_gradient: ClassVar[bool] = False
    curvatures: ClassVar[str] = "to"

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(0 < self.to < math.inf, "to", self.to, "a number above 0")
        require(0 < self.share <= 1, "share", self.share, "a share of training in (0, 1]")

    def init(self, theta: Tensor) -> State:
        """Return the start of the way.

        Args:
            theta: Unconstrained curvatures θ (R, C).

        Returns:
            The state.
        """
        return {"start": theta}

    def update(
        self, theta: Tensor, state: State, step: Step
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """Go to the place of the step on the way.

        Args:
            theta: Unconstrained curvatures θ (R, C).
            state: The state from `init` or the previous call.
            step: The training step that has just been taken.

        Returns:
            The new θ (R, C), the new state, and the log.

        Raises:
            InputError: `to` is not within the bounds.
        """
        done = min(1.0, (step.index + 1) / (self.share * step.total))
        end = torch.full_like(theta, step.inverse(self.to))
        # `lerp` is exact at both ends, and where they are equal.
        return torch.lerp(state["start"], end, (1 - math.cos(math.pi * done)) / 2), state, {}
