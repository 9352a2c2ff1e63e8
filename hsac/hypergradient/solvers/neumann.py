"""Truncated Neumann series."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hsac.hypergradient.operator import POWER_STEPS, HessianOperator, norm
from hsac.hypergradient.solution import GROWTH, Solution, relative_residual
from hsac.parts import require


@dataclass(frozen=True)
class Neumann:
    """Truncated Neumann series x = a Σ_{j≤terms} (I - aH)^j v.

    After Lorraine, Vicol and Duvenaud (AISTATS 2020). On a μ-strongly convex lower level the error
    is at most (1 - aμ)^(terms+1)|v|/μ. Runs whose last term outgrows v by more than GROWTH are
    marked as failed: the curvature is too negative, or the step still too long.

    Attributes:
        terms: Terms of the series after the first, one product each.
        step: The step a. It must not exceed 1/|H|, which falls by orders of magnitude during
            training. So with 0 it follows a = min(1, safety/max(|Hu|, |Hv|/|v|)), where u is a
            power-iteration vector that is carried between calls (`power_steps` products a call).
        safety: Share of the largest stable step that is taken if it is adaptive, in (0, 1].
        leading: Whether the sum has its leading factor a. Without it x is 1/a times as long, as in
            public code of Riemannian implicit differentiation (zhigao2017/RMO).
        power_steps: Power iterations a call of an adaptive step, one product each.
    """

    terms: int = 3
    step: float = 0.0
    safety: float = 0.9
    leading: bool = True
    power_steps: int = POWER_STEPS

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.terms >= 0, "terms", self.terms, "an integer from 0")
        require(self.step >= 0, "step", self.step, "0 (adaptive) or a number above 0")
        require(0 < self.safety <= 1, "safety", self.safety, "a number in (0, 1]")
        require(self.power_steps >= 1, "power_steps", self.power_steps, "an integer from 1")

    def solve(self, hessian: HessianOperator, v: Tensor, state: dict[str, Tensor]) -> Solution:
        """Spend `terms` products, and `power_steps` more where the step is adaptive.

        Args:
            hessian: The operator H at the point of the solve.
            v: Right-hand side (R, P).
            state: `Solution.state` of the previous call, {} at first.

        Returns:
            The solution. Its residual is |(I - aH)^terms v|/|v|, the last term's, which comes free.
            It bounds |Hx - v|/|v| while 0 ≤ aH ≤ 1.
        """
        before = hessian.products
        a, carried, term_product = self._step(hessian, v, state)
        term, x = v, v
        for j in range(self.terms):
            product = term_product if j == 0 and term_product is not None else hessian(term)
            term = term - a * product
            x = x + term
        # (v + term) - v is the last term
        residual = relative_residual(v + term, v)
        products = hessian.products - before
        # written so that NaN fails, too
        failed = ~(residual <= GROWTH)
        return Solution(a * x if self.leading else x, products, residual, carried, failed)

    def _step(
        self, hessian: HessianOperator, v: Tensor, state: dict[str, Tensor]
    ) -> tuple[Tensor | float, dict[str, Tensor], Tensor | None]:
        """Return the step, the power vector to carry, and Hv where it was computed."""
        if self.step:
            return self.step, {}, None
        largest, u = hessian.power(state.get("power", v), self.power_steps)
        # Hv is needed anyway, and how much H stretches v is a second bound on |H| from below
        hv = hessian(v) if self.terms else None
        if hv is not None:
            largest = torch.maximum(largest, norm(hv) / norm(v))
        # Where H is about 0 the step would have no bound.
        return (self.safety / largest).clamp(max=1.0), {"power": u}, hv
