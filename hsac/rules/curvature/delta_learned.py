"""Curvature from the features' δ-hyperbolicity, then learned."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from torch import Tensor

from hsac.rules.curvature.delta import Delta
from hsac.rules.curvature.learned import Learned
from hsac.rules.types import State, Step


@dataclass(frozen=True)
class DeltaLearned:
    """c is measured as `delta` does, and from there learned as `learned` does.

    Until the measurement c rests at its initial curvature. The step after it is the first on which
    θ follows the training loss's gradient.

    Attributes:
        sample: Training examples whose features are measured, at least 4.
        warm_up: Share of training before the measurement, in [0, 1).
        lr: Learning rate of Adam on θ.
    """

    sample: int = 100
    warm_up: float = 0.1
    lr: float = 0.01
    geometry: ClassVar[str] = "hyperbolic"
    needs_gradient: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        # Each of the two checks its own.
        _ = self.delta, self.learned

    @cached_property
    def delta(self) -> Delta:
        """Return the rule that measures."""
        return Delta(sample=self.sample, warm_up=self.warm_up)

    @cached_property
    def learned(self) -> Learned:
        """Return the rule that learns."""
        return Learned(lr=self.lr)

    def init(self, theta: Tensor) -> State:
        """Return the states of both rules.

        Args:
            theta: Unconstrained curvatures θ (R, C).

        Returns:
            The state.
        """
        return {"delta": self.delta.init(theta), "learned": self.learned.init(theta)}

    def update(
        self, theta: Tensor, state: State, step: Step
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """Measure c once, and learn it on every step after that.

        Args:
            theta: Unconstrained curvatures θ (R, C).
            state: The state from `init` or the previous call.
            step: The training step that has just been taken.

        Returns:
            The new θ (R, C), the new state, and the log.
        """
        # The gradient of the step that measures was taken at the c before.
        name = "learned" if state["delta"]["measured"] else "delta"
        theta, own, log = getattr(self, name).update(theta, state[name], step)
        return theta, state | {name: own}, log
