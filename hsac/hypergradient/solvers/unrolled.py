"""Reverse-mode differentiation through training steps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hsac.hypergradient.operator import HessianOperator
from hsac.hypergradient.solution import GROWTH, Solution, relative_residual
from hsac.parts import require


@dataclass(frozen=True)
class Unrolled:
    """The implicit term by differentiating gradient steps on from w.

    After Franceschi et al. (ICML 2017). It is -(dw_T/dθ)ᵀ v after T = `terms` steps. At a minimiser
    these steps stay where they are, and the result is Neumann's with terms - 1.

    Attributes:
        terms: Gradient steps. Memory grows with them.
        step: The step a. With 0 it is a = min(1, safety/|H|), from a power iteration carried
            between calls.
        safety: Share of the largest stable step that is taken if it is adaptive, in (0, 1].
    """

    terms: int = 4
    step: float = 0.0
    safety: float = 0.9

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.terms >= 1, "terms", self.terms, "an integer from 1")
        require(self.step >= 0, "step", self.step, "0 (adaptive) or a number above 0")
        require(0 < self.safety <= 1, "safety", self.safety, "a number in (0, 1]")

    def solve(self, hessian: HessianOperator, v: Tensor, state: dict[str, Tensor]) -> Solution:
        """Spend `terms` products in reverse, one for the residual, and the power iteration's.

        Args:
            hessian: The operator H at the point of the solve.
            v: Right-hand side (R, P).
            state: `Solution.state` of the previous call, {} at first.

        Returns:
            The solution, with the implicit term.
        """
        before = hessian.products
        a: Tensor | float = self.step
        carried: dict[str, Tensor] = {}
        if not self.step:
            largest, power = hessian.power(state.get("power", v))
            a, carried = (self.safety / largest).clamp(max=1.0), {"power": power}
        # A shift of the inner gradient: w_T's derivative in it is -x, just as its derivative in θ
        # is minus the implicit term.
        shift = torch.zeros_like(v).requires_grad_()
        w = hessian.w.detach().requires_grad_()
        for _ in range(self.terms):
            (g,) = torch.autograd.grad(hessian.loss(w, hessian.theta).sum(), w, create_graph=True)
            w = w - a * (g + shift)
        x, implicit = torch.autograd.grad(w, (shift, hessian.theta), -v, allow_unused=True)
        # To reverse a step is one product. The steps' own gradients are counted by the loss.
        hessian.products += self.terms
        implicit = torch.zeros_like(hessian.theta) if implicit is None else implicit
        residual = relative_residual(hessian(x), v)
        used = hessian.products - before
        return Solution(x, used, residual, carried, failed=~(residual <= GROWTH), implicit=implicit)
