"""Truncated Neumann series."""

from dataclasses import dataclass

from torch import Tensor

from hsac.hypergradient.operator import HessianOperator, norm
from hsac.hypergradient.solution import Solution, relative_residual
from hsac.registry import require


@dataclass(frozen=True)
class Neumann:
    """x = a Σ_{j≤terms} (I - aH)^j v (Lorraine, Vicol, Duvenaud, AISTATS 2020).

    The step a must not exceed 1/|H|, which falls by orders of magnitude during training: with `step` 0 it follows
    a = min(1, safety/|Hu|), u a power-iteration vector carried between calls (one more product). On a μ-strongly
    convex lower level the error is at most (1 - aμ)^(terms+1)|v|/μ.
    """

    terms: int = 3
    step: float = 0.0
    safety: float = 0.9

    def __post_init__(self) -> None:
        require(self.terms >= 0, "terms", self.terms, "an integer from 0")
        require(self.step >= 0, "step", self.step, "0 (adaptive) or a number above 0")
        require(0 < self.safety <= 1, "safety", self.safety, "a number in (0, 1]")

    def solve(self, hessian: HessianOperator, v: Tensor, state: dict[str, Tensor]) -> Solution:
        """`terms` products, one more where the step is adaptive; the last term's residual comes free."""
        products = self.terms
        a: Tensor | float = self.step
        carried: dict[str, Tensor] = {}
        if not self.step:
            u = state.get("power", v)
            hu = hessian(u / norm(u))
            a = (self.safety / norm(hu)).clamp(max=1.0)
            carried, products = {"power": hu}, products + 1
        term, x = v, v
        for _ in range(self.terms):
            term = term - a * hessian(term)
            x = x + term
        # v - H(a x) = (I - aH)^(terms+1) v; the term before it is at hand and bounds it when 0 ≤ aH ≤ 1.
        return Solution(a * x, products, relative_residual(v + term, v), carried)
