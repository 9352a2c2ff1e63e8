"""Conjugate gradients."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hsac.hypergradient.operator import HessianOperator, dot, norm
from hsac.hypergradient.solution import GROWTH, Solution, relative_residual
from hsac.parts import require


@dataclass(frozen=True)
class Cg:
    """Conjugate-gradient steps on (H + damping·I) x = v.

    After Pedregosa (ICML 2016). A run whose direction has no positive curvature, or whose residual
    is at rounding, keeps the iterate it has. It is marked as failed if it could take no step at
    all, or if its residual passes GROWTH after a step along almost no curvature.

    Attributes:
        terms: Steps, one product each.
        damping: Added to H's diagonal. A damping d adds at most d/(μ(μ+d))|v| to the error on a
            μ-strongly convex lower level.
    """

    terms: int = 10
    damping: float = 0.1

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.terms >= 1, "terms", self.terms, "an integer from 1")
        require(self.damping >= 0, "damping", self.damping, "a number from 0")

    def solve(self, hessian: HessianOperator, v: Tensor, state: dict[str, Tensor]) -> Solution:
        """Spend `terms` products.

        Args:
            hessian: The operator H at the point of the solve.
            v: Right-hand side (R, P).
            state: `Solution.state` of the previous call, {} at first.

        Returns:
            The solution. Its residual is of the damped system.
        """
        # At x = 0 the residual is v, so starting here saves a product.
        x, r = torch.zeros_like(v), v
        p, rr = r, dot(r, r)
        going = torch.ones_like(rr, dtype=torch.bool)
        # steps along a residual below this would be noise
        floor = (torch.finfo(v.dtype).eps * norm(v)) ** 2
        for _ in range(self.terms):
            hp = hessian(p) + self.damping * p
            php = dot(p, hp)
            going = going & (php > 0) & (rr > floor)
            # runs that have stopped divide by 1, so that no NaN arises in them
            safe_php = torch.where(going, php, torch.ones_like(php))
            alpha = torch.where(going, rr / safe_php, torch.zeros_like(rr))
            x, r = x + alpha * p, r - alpha * hp
            fresh = dot(r, r)
            safe_rr = torch.where(going, rr, torch.ones_like(rr))
            p = torch.where(going, r + fresh / safe_rr * p, p)
            rr = fresh
        # r is the residual of the damped system, so no further product is needed
        residual = relative_residual(v - r, v)
        # x is still 0 where already the first direction had no positive curvature.
        stuck = (v != 0).any(-1) & ~(x != 0).any(-1)
        return Solution(x, self.terms, residual, failed=~(residual <= GROWTH) | stuck)
