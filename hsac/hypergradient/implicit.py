"""The implicit hypergradient of a bi-level problem."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hsac.hypergradient.operator import HessianOperator, Loss, norm
from hsac.hypergradient.solution import Solver


@dataclass(frozen=True)
class Hypergradient:
    """A hypergradient dF/dθ = direct - implicit of R runs, and how it came about.

    Attributes:
        value: The upper level U (R,).
        direct: The direct term U_θ (R, C).
        implicit: The implicit term (R, C).
        residual: Relative residual of the solve (R,).
        fallback: Whether the implicit term was left out (R,), because it was not finite or its
            solver does not trust it.
        products: Hessian-vector products spent.
        state: Kept by the solver for its next call.
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
        """Return the hypergradient dF/dθ (R, C)."""
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
    """Compute dF/dθ of F(θ) = U(w*(θ), θ) with w* = argmin_w L(w, θ).

    By the implicit function theorem dF/dθ = U_θ - (L_θw)ᵀ H⁻¹ U_w, taken here at the point (w, θ)
    of R independent problems. Perturbations inside `upper` are constants to it (Danskin's theorem).

    Args:
        upper: The upper level U.
        lower: The lower level L. Its Hessian in w is H.
        w: Weights (R, P).
        theta: Hyperparameters (R, C).
        solver: Solves H x = U_w. None leaves the implicit term out.
        state: `Hypergradient.state` of the previous call, {} at first.
        ratio: An implicit term longer than so many times the direct one is scaled back to that
            length. It does not apply where the direct term is 0.

    Returns:
        The hypergradient. An implicit term that is not finite, or that its solver marks as failed,
        is left out and flagged: at negative curvature a truncated series can grow without bound.
    """
    # w is independent of θ here: how w* follows θ is what the implicit term stands for.
    w, theta = w.detach().requires_grad_(), theta.detach().requires_grad_()
    value = upper(w, theta)
    # Runs are independent, so the gradient of the sum is each run's own. An upper level may leave
    # out θ (no direct term) or w (no implicit term).
    v, direct = torch.autograd.grad(value.sum(), (w, theta), allow_unused=True)
    v, direct = (torch.zeros_like(x) if g is None else g for g, x in ((v, w), (direct, theta)))
    if solver is None:
        zero = torch.zeros_like(direct)
        nothing = torch.zeros_like(value.detach())
        return Hypergradient(value.detach(), direct, zero, nothing, nothing.bool(), 0, state)
    hessian = HessianOperator(lower, w, theta)
    solution = solver.solve(hessian, v, state)
    # Only `unrolled` has it already.
    implicit = hessian.mixed(solution.x) if solution.implicit is None else solution.implicit
    implicit = implicit.detach()
    usable = implicit.isfinite().all(-1, keepdim=True)
    if solution.failed is not None:
        usable = usable & ~solution.failed[:, None]
    implicit = torch.where(usable, implicit, torch.zeros_like(implicit))
    # without a direct term there is nothing to measure the implicit one by
    limit = torch.where(direct.any(-1, keepdim=True), ratio * norm(direct), torch.inf)
    implicit = implicit * (limit / norm(implicit)).clamp(max=1.0)
    return Hypergradient(
        value=value.detach(),
        direct=direct,
        implicit=implicit,
        residual=solution.residual.detach(),
        fallback=~usable.squeeze(-1),
        products=hessian.products,
        state={name: _finite(kept) for name, kept in solution.state.items()},
    )


def _finite(kept: Tensor) -> Tensor:
    # a run that overflowed once must not carry NaN to its next outer step
    finite = kept.isfinite().all(-1, keepdim=True)
    return torch.where(finite, kept, torch.zeros_like(kept)).detach()
