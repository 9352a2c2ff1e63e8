"""A lower level's minimum, by Newton's method."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hsac.hypergradient.operator import HessianOperator, Loss, dot, norm

HALVINGS = 30
ARMIJO = 1e-4
# Weights up to which a step takes the whole Hessian. Beyond it takes conjugate gradients.
DENSE = 500
# Least eigenvalue in units of the largest, so that a direction without curvature takes no endless
# step.
LEAST = 1e-8


@dataclass(frozen=True)
class Minimum:
    """Where the descents of R independent problems ended.

    Attributes:
        w: Weights (R, P).
        gradient: |∇L| there (R,).
        solved: Whether it is within the tolerance (R,).
        products: Hessian-vector products spent.
    """

    w: Tensor
    gradient: Tensor
    solved: Tensor
    products: int


def minimise(
    loss: Loss, w: Tensor, theta: Tensor, tolerance: float, steps: int = 50, inner: int = 100
) -> Minimum:
    """Minimise L(·, θ) of R problems by Newton steps with backtracking.

    Up to DENSE weights a step is -|H|⁻¹∇L, where |H| has the absolute eigenvalues of H, so that it
    falls at negative curvature, too. Beyond, it solves H p = -∇L by conjugate gradients to a
    residual of min(½, √|∇L|)·|∇L|, after Dembo and Steihaug (1983), and a direction without
    positive curvature ends the solve. Problems that are solved rest while the others go on.

    Args:
        loss: L, a function of w (R, P) and θ (R, C). Best in float64.
        w: Weights (R, P) to begin at.
        theta: θ (R, C).
        tolerance: A problem is solved where |∇L| is at most so many times 1 + |w|.
        steps: Newton steps at most.
        inner: Products a step of conjugate gradients at most.

    Returns:
        The minimum.
    """
    theta, products = theta.detach(), 0
    for step in range(steps + 1):
        hessian = HessianOperator(loss, w.detach().requires_grad_(), theta.requires_grad_())
        g = hessian.gradient.detach()
        # written so that NaN is not solved
        solved = norm(g) <= tolerance * (1 + norm(w))
        if solved.all() or step == steps:
            break
        small = w.shape[1] <= DENSE
        p = _dense_direction(hessian, g) if small else _direction(hessian, g, ~solved, inner)
        products += hessian.products
        p = torch.where(solved, torch.zeros_like(p), p)
        before, w = w.detach(), _backtracked(loss, w.detach(), theta, p, g)
        # What finds no lower point would look for the same one again.
        if torch.equal(before, w) or not w.isfinite().any():
            break
    return Minimum(w.detach(), norm(g).squeeze(-1), solved.squeeze(-1), products)


def _dense_direction(hessian: HessianOperator, g: Tensor) -> Tensor:
    """Return -|H|⁻¹g (R, P), 0 where H is not finite."""
    rows = hessian.whole()
    finite = rows.isfinite().all(-1).all(-1)[:, None, None]
    values, basis = torch.linalg.eigh(torch.where(finite, rows, torch.zeros_like(rows)))
    least = LEAST * values.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(g.dtype).tiny)
    scaled = (basis.mT @ g[..., None]).squeeze(-1) / values.abs().clamp(min=least)
    p = -(basis @ scaled[..., None]).squeeze(-1)
    return torch.where(finite.squeeze(-1) & p.isfinite(), p, torch.zeros_like(p))


def _direction(hessian: HessianOperator, g: Tensor, going: Tensor, inner: int) -> Tensor:
    """Return p (R, P), about -H⁻¹g, along which L falls, of the problems that go on (R, 1)."""
    size = norm(g)
    enough = torch.minimum(size.sqrt(), torch.full_like(size, 0.5)) * size
    x, r = torch.zeros_like(g), -g
    p, rr = r, dot(r, r)
    for _ in range(inner):
        hp = hessian(p)
        php = dot(p, hp)
        # Where the first direction has no positive curvature already, it is -g that is taken.
        first = ~x.any(-1, keepdim=True)
        bent = going & ~(php > 0)
        x = torch.where(bent & first, p, x)
        going = going & (php > 0)
        alpha = torch.where(going, rr / torch.where(going, php, torch.ones_like(php)), 0.0)
        x, r = x + alpha * p, r - alpha * hp
        fresh = dot(r, r)
        going = going & (fresh.sqrt() > enough)
        if not going.any():
            break
        p = torch.where(going, r + fresh / torch.where(going, rr, torch.ones_like(rr)) * p, p)
        rr = fresh
    return x


def _backtracked(loss: Loss, w: Tensor, theta: Tensor, p: Tensor, g: Tensor) -> Tensor:
    """Return w + tp with the largest t = 1, ½, ¼ … that lets L fall by Armijo's condition."""
    theta, slope = theta.detach(), dot(g, p)
    with torch.no_grad():
        value = loss(w, theta)[:, None]
        # Near the minimum L falls by less than its own rounding, and no step would count as one.
        slack = 10 * torch.finfo(w.dtype).eps * (1 + value.abs())
        length = torch.ones_like(slope)
        for _ in range(HALVINGS):
            reached = loss(w + length * p, theta)[:, None]
            enough = reached <= value + ARMIJO * length * slope + slack
            if enough.all():
                break
            length = torch.where(enough, length, length / 2)
        return w + torch.where(enough, length, torch.zeros_like(length)) * p
