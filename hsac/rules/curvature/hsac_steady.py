"""`hsac` with steps that heed the noise of the hypergradient."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from hsac.parts import require
from hsac.rules.curvature.hsac import Hsac
from hsac.rules.types import State, Step


@dataclass(frozen=True)
class HsacSteady:
    """`hsac`, at rest where its hypergradient's sign is unknown. Ours.

    Adam divides the running mean m of the hypergradients by their root mean square s, so c moves by
    about `step` even where they are noise. `threshold` and `epsilon` are two remedies, each off at
    0. Parameters that are not named here are at the defaults of `hsac`.

    The weights of a running mean with factor β have the sum of squares
    (1 - β)(1 + βᵏ)/((1 + β)(1 - βᵏ)) after k outer steps. The standard error is s times its root:
    s, the root mean square, is no smaller than the standard deviation.

    Attributes:
        threshold: A curvature moves only where |m| exceeds so many of its standard errors. With 2
            it needs at least five outer steps that agree.
        epsilon: The step is step·m/(s + epsilon): Adam's where s is far above epsilon, and
            proportional to m below.
        period: Training steps from one outer step to the next.
        warm_up: Share of training before the first outer step, in [0, 1).
        step: Learning rate of Adam on θ.
    """

    threshold: float = 2.0
    epsilon: float = 0.0
    period: int = 10
    warm_up: float = 0.1
    step: float = 0.25
    geometry: ClassVar[str] = "hyperbolic"
    needs_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        for name in ("threshold", "epsilon"):
            value = getattr(self, name)
            require(0 <= value < math.inf, name, value, "a number from 0")
        _ = self.hsac

    @cached_property
    def hsac(self) -> Hsac:
        """Return the rule whose steps are scaled."""
        return Hsac(period=self.period, warm_up=self.warm_up, step=self.step)

    def init(self, theta: Tensor) -> State:
        """Return the initial state of `hsac`.

        Args:
            theta: Unconstrained curvatures θ (R, C).

        Returns:
            The state.
        """
        return self.hsac.init(theta)

    def update(
        self, theta: Tensor, state: State, step: Step
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """Take one outer step when it is due. The log is that of `hsac`.

        Args:
            theta: Unconstrained curvatures θ (R, C).
            state: The state from `init` or the previous call.
            step: The training step that has just been taken.

        Returns:
            The new θ (R, C), the new state, and the log.
        """
        moved, state, log = self.hsac.update(theta, state, step)
        # an empty log means that no outer step was due
        if not log:
            return theta, state, log
        # Only the move of θ is scaled. Adam's moments are those of `hsac`.
        return theta + self.factor(state) * (moved - theta), state, log

    def factor(self, state: State) -> Tensor:
        """Compute the factor on a step of `hsac`, from Adam's moments after it.

        Args:
            state: The state after the step.

        Returns:
            Factors (R, C) in [0, 1].
        """
        first_beta, second_beta = self.hsac.optimizer.betas
        adam = state["adam"]
        # a run that has had no usable hypergradient has no moments yet, and its θ has not moved
        count = adam["count"].clamp(min=1)
        decayed = first_beta**count
        mean = adam["first"] / (1 - decayed)
        size = (adam["second"] / (1 - second_beta**count)).sqrt()
        weight = (1 - first_beta) * (1 + decayed) / ((1 + first_beta) * (1 - decayed))
        # At the first outer step the mean equals its standard error but for rounding. A threshold
        # of 1 must not be passed by that.
        known = mean.abs() > (1 + 1e-6) * self.threshold * size * weight.sqrt()
        # Without epsilon this would be 0/0 for a curvature that has had no gradient.
        factor = size / (size + self.epsilon) if self.epsilon else torch.ones_like(size)
        return factor * known if self.threshold else factor
