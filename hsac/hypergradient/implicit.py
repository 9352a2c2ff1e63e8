"""The implicit hypergradient of a bi-level problem."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hsac.hypergradient.operator import HessianOperator, Loss, norm
from hsac.hypergradient.solution import Solver


@dataclass(frozen=True)
class Hypergradient:
    """dF/dθ = direct - implicit (R, C) and how it came about.

    `value` U (R,), `direct` and `implicit` (R, C), `residual` (R,) of the solve, `fallback` (R,)
    bool: the implicit term was left out, not finite or not trusted by its solver, `products`
    Hessian products spent, `state` the solver's.
    """

    value: Tensor
    direct: Tensor
    implicit: Tensor
    residual: Tensor
    fallback: Tensor
    products: int
    state: dict[str, Tensor]

    @property
    def total(self) -> Tensor:
        """dF/dθ (R, C)."""
        return self.direct - self.implicit


def implicit_hypergradient(
    upper: Loss,
    lower: Loss,
    w: Tensor,
    theta: Tensor,
    solver: Solver | None,
    state: dict[str, Tensor],
    ratio: float = torch.inf,
) -> Hypergradient:
    """dF/dθ of F(θ) = U(w*(θ), θ), w* = argmin_w L(w, θ), by the implicit function theorem.

    dF/dθ = U_θ - (L_θw)ᵀ H⁻¹ U_w at the point (w, θ), w (R, P), θ (R, C), R independent problems.
    Perturbations inside `upper` are constants (Danskin). `solver` None leaves the implicit term out
    (direct term only). An implicit term longer than `ratio` times the direct one, where there is
    one, is scaled back to that length; one that is not finite, or that its solver marks as failed,
    is dropped and flagged: a truncated series at negative curvature can grow without bound.
    """
    w, theta = w.detach().requires_grad_(), theta.detach().requires_grad_()
    value = upper(w, theta)
    v, direct = torch.autograd.grad(value.sum(), (w, theta), allow_unused=True)
    v, direct = (torch.zeros_like(x) if g is None else g for g, x in ((v, w), (direct, theta)))
    if solver is None:
        zero = torch.zeros_like(direct)
        nothing = torch.zeros_like(value.detach())
        return Hypergradient(value.detach(), direct, zero, nothing, nothing.bool(), 0, state)
    hessian = HessianOperator(lower, w, theta)
    solution = solver.solve(hessian, v, state)
    implicit = (
        hessian.mixed(solution.x) if solution.implicit is None else solution.implicit
    ).detach()
    usable = implicit.isfinite().all(-1, keepdim=True)
    if solution.failed is not None:
        usable = usable & ~solution.failed[:, None]
    implicit = torch.where(usable, implicit, torch.zeros_like(implicit))
    limit = torch.where(direct.any(-1, keepdim=True), ratio * norm(direct), torch.inf)
    implicit = implicit * (limit / norm(implicit)).clamp(max=1.0)
    carried = {
        k: torch.where(s.isfinite().all(-1, keepdim=True), s, torch.zeros_like(s)).detach()
        for k, s in solution.state.items()
    }
    return Hypergradient(
        value.detach(),
        direct,
        implicit,
        solution.residual.detach(),
        ~usable.squeeze(-1),
        hessian.products,
        carried,
    )
