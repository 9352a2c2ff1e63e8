"""The rule `hsac_head`: the hypergradient where the head is solved."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from hsac.hypergradient.minimum import Together, minimise
from hsac.parts import require
from hsac.rules.curvature.drift import due
from hsac.rules.curvature.hsac import Hsac, Samples
from hsac.rules.types import HeadLevel, State, Step
from hsac.sharpness import WITH_ADVERSARY


@dataclass(frozen=True)
class HsacHead:
    """c follows the flatness of the head alone, solved on the features of the moment. Ours.

    In the training of a whole network the lower level is never at its minimum, where the implicit
    function theorem holds. The head's is: at each outer step features are frozen, the head is
    trained on them to convergence in float64, and the implicit hypergradient is taken there. It
    moves the head's curvature. Other curvatures of the network rest, unless all are one.

    What the head's training takes counts as gradients by the head's share of the weights. It is
    that of the slowest run of those that train together. A run whose head does not converge keeps
    its c.

    Attributes:
        objective: As in `hsac`, taken over the head's weights.
        scope: As in `hsac`.
        radius: Radius ρ of the scope, for mean the noise's length on average.
        ascent_steps: As in `hsac`.
        samples: Gaussian draws of the objective mean.
        rows: Training rows whose features the head is solved on, at most the whole part.
        apart: Whether the objective is taken on another sample than the head is solved on.
        tolerance: The head is solved where |∇L| is at most so many times 1 + |w|.
        replace: Whether the solved head takes the place of the network's.
        terms: Steps of conjugate gradients for the implicit term at most.
        period: Training steps from one outer step to the next.
        warm_up: Share of training before the first outer step, in [0, 1).
        step: Learning rate of Adam on θ.
        bounds_relative: c stays within this factor of where it started.
    """

    objective: str = "mean"
    scope: str = "euclidean"
    radius: float = 0.5
    ascent_steps: int = 1
    samples: int = 4
    rows: int = 1000
    apart: bool = False
    tolerance: float = 1e-6
    replace: bool = False
    terms: int = 100
    period: int = 50
    warm_up: float = 0.1
    step: float = 0.25
    bounds_relative: float = math.inf
    geometry: ClassVar[str] = "hyperbolic"
    needs_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.rows >= 1, "rows", self.rows, "an integer from 1")
        ok = 0 < self.tolerance < math.inf
        require(ok, "tolerance", self.tolerance, "a number above 0")
        _ = self.hsac

    @cached_property
    def hsac(self) -> Hsac:
        """Return the rule that takes the outer steps, on the head's weights."""
        return Hsac(
            objective=self.objective,
            scope=self.scope,
            radius=self.radius,
            ascent_steps=self.ascent_steps,
            samples=self.samples,
            solver={"name": "cg", "terms": self.terms, "damping": 0.0},
            period=self.period,
            warm_up=self.warm_up,
            step=self.step,
            bounds_relative=self.bounds_relative,
        )

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
        if not due(step, self.period, self.warm_up):
            return theta, state, {}
        lower = step.head("lower", self.rows)
        problems = Together.of(lower.objective, lower.w, theta.double())
        found = minimise(problems, lower.w, theta.double(), self.tolerance)
        solved = found.gradient <= self.tolerance

        def normal() -> Tensor:
            return step.normal()[:, lower.place].double()

        samples = self.draw(step, lower)
        sizes = (lower.w.shape[1],)
        moved, after, log = self.hsac.outer(theta.double(), state, found.w, samples, normal, sizes)
        # Where the head is not at its minimum, the formula of the hypergradient does not hold.
        each = solved[:, None]
        moved = torch.where(each, moved.to(theta), theta)
        kept = state["adam"]
        after["adam"] = {
            k: torch.where(each, new, kept[k].to(new)) for k, new in after["adam"].items()
        }
        log["fallback"] = log["fallback"] | ~solved
        spent = (log["products"] + found.gradients) * lower.share
        log["products"] = spent.ceil()
        if self.replace:
            put = step.w.index_copy(1, lower.place, found.w.to(step.w))
            step.put(torch.where(each, put, step.w))
        return moved, after, log

    def draw(self, step: Step, lower: HeadLevel) -> Samples:
        """Draw the samples of an outer step.

        Args:
            step: The training step.
            lower: The problem that the head is solved on.

        Returns:
            The losses.
        """
        if not self.apart:
            return Samples(lower.loss, lower.objective, lower.loss)
        upper = step.head("upper", self.rows).loss
        climbs = self.objective in WITH_ADVERSARY
        adversary = step.head("adversary", self.rows).loss if climbs else upper
        return Samples(upper, lower.objective, adversary)
