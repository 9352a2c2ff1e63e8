"""The rule `hsac_landscape`: c chosen once, from the landscape over c of solved heads."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from hsac.hypergradient.minimum import Together, minimise
from hsac.parts import require
from hsac.rules.types import State, Step
from hsac.sharpness import OBJECTIVES, SCOPES, ScopeObjective


@dataclass(frozen=True)
class HsacLandscape:
    """c is where the flatness of solved heads is least, on the features of one moment. Ours.

    A hypergradient sees the slope at one c, and only where the lower level is solved. Here the
    features are frozen once, after a share of training. At each candidate c the head is solved on
    them from the head of the moment, as on frozen features (docs/regret.md), and the objective is
    taken there. All curvatures of the network go to the best candidate and then rest. The weights
    follow in what is left of training.

    What the heads' training takes counts as gradients by the head's share of the weights. It is
    that of the slowest run of those that train together. Where no candidate's head converges, c
    stays what it was.

    Attributes:
        candidates: Curvatures to choose from, within `curvature.bounds`.
        objective: As in `hsac`, taken over the head's weights.
        scope: As in `hsac`.
        radius: Radius ρ of the scope, for mean the noise's length on average.
        ascent_steps: Steps of each ascent to the adversary.
        samples: Gaussian draws of the objective mean.
        rows: Training rows whose features the heads are solved on, at most the whole part.
        tolerance: A head is solved where |∇L| is at most so many times 1 + |w|.
        at: Share of training after which c is chosen, in (0, 1).
    """

    candidates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    objective: str = "range"
    scope: str = "euclidean"
    radius: float = 0.3
    ascent_steps: int = 10
    samples: int = 32
    rows: int = 500
    tolerance: float = 1e-4
    at: float = 1 / 3
    curvatures: ClassVar[str] = "candidates"
    geometry: ClassVar[str] = "hyperbolic"
    needs_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        # Values come from a configuration file, so they may be of any type.
        positive = all(isinstance(c, int | float) and 0 < c < math.inf for c in self.candidates)
        ok = positive and len({*self.candidates}) == len(self.candidates) > 1
        allowed = "a list of at least two different numbers above 0"
        require(ok, "candidates", self.candidates, allowed)
        for name, known in (("objective", OBJECTIVES), ("scope", SCOPES)):
            require(getattr(self, name) in known, name, getattr(self, name), ", ".join(known))
        for name in ("radius", "tolerance"):
            value = getattr(self, name)
            require(0 < value < math.inf, name, value, "a number above 0")
        for name in ("ascent_steps", "samples", "rows"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "an integer from 1")
        require(0 < self.at < 1, "at", self.at, "a share of training between 0 and 1")

    @cached_property
    def scope_objective(self) -> ScopeObjective:
        """Return the objective without its loss."""
        return ScopeObjective(
            objective=self.objective,
            over="weights",
            scope=self.scope,
            radius=self.radius,
            per_layer=False,
            ascent_steps=self.ascent_steps,
            live=False,
            samples=self.samples,
        )

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
        """Choose c when it is due.

        The log of that step is that of `hsac`, with the objective at the chosen c as its value and
        a hypergradient of 0.

        Args:
            theta: Unconstrained curvatures θ (R, C).
            state: The state, empty.
            step: The training step that has just been taken.

        Returns:
            θ (R, C), the state, and the log.
        """
        if step.index != round(self.at * (step.total - 1)):
            return theta, state, {}
        lower = step.head("lower", self.rows)
        # The same noise for every candidate, so that they are compared on equal terms.
        count = self.samples if self.objective == "mean" else 1
        noise = [step.normal()[:, lower.place].double() for _ in range(count)]
        values, spent = [], 0
        for c in self.candidates:
            at = torch.full_like(theta, step.inverse(c)).double()
            found = minimise(Together.of(lower.objective, lower.w, at), lower.w, at, self.tolerance)
            point = found.w, at
            upper = self.scope_objective.climbed(lower.loss, point, iter(noise).__next__, ())
            with torch.no_grad():
                value = upper(*point)
            usable = (found.gradient <= self.tolerance) & value.isfinite()
            values.append(torch.where(usable, value, math.inf))
            spent += found.gradients
        table = torch.stack(values)
        best = table.min(0)
        chosen = theta.new_tensor([step.inverse(c) for c in self.candidates])[best.indices]
        none = best.values.isinf()
        moved = torch.where(none[:, None], theta, chosen[:, None].expand_as(theta))
        products = torch.full_like(best.values, math.ceil(spent * lower.share))
        log = {"value": best.values, "fallback": none, "products": products}
        # The places of a hypergradient, which this rule does not take.
        log |= {"hypergradient": torch.zeros_like(moved), "residual": torch.zeros_like(products)}
        return moved, state, log
