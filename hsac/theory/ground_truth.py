"""Bi-level problems whose hypergradient is known, and what is known of them."""

from typing import Protocol

import torch
from torch import Tensor

from hsac.hypergradient.operator import HessianOperator, Loss, dot, norm

STEP = 2e-3  # of the differences: truncation h⁴F⁽⁵⁾/480 and rounding are both about 1e-13 there
# Of |∇L| against ℓ(1 + |w|), before Newton's last step, which converges quadratically.
TOLERANCE = 1e-11
HALVINGS = 40


class Problem(Protocol):
    """A lower level that can be solved to machine precision.

    R independent problems in float64, w (R, P), θ (R, C).
    """

    @property
    def start(self) -> Tensor:
        """Hyperparameters θ (R, C) to begin with."""
        ...

    @property
    def initial(self) -> Tensor:
        """Weights w (R, P) to begin descents on the lower level with."""
        ...

    def lower(self, w: Tensor, theta: Tensor) -> Tensor:
        """Compute the lower level's objective L.

        Args:
            w: Weights (R, P).
            theta: Hyperparameters (R, C).

        Returns:
            L (R,).
        """
        ...

    def upper(self, w: Tensor, theta: Tensor) -> Tensor:
        """Compute the upper level's objective U.

        Args:
            w: Weights (R, P).
            theta: Hyperparameters (R, C).

        Returns:
            U (R,).
        """
        ...

    def solve(self, theta: Tensor) -> Tensor:
        """Compute the lower level's minimiser w*(θ).

        Args:
            theta: Hyperparameters (R, C).

        Returns:
            w* (R, P).

        Raises:
            ArithmeticError: It is not found to machine precision.
        """
        ...


def operator(loss: Loss, w: Tensor, theta: Tensor) -> HessianOperator:
    """Make the Hessian operator at a point.

    Args:
        loss: A loss (w, θ) -> (R,).
        w: Weights (R, P), which are detached first.
        theta: Hyperparameters (R, C), which are detached first.

    Returns:
        The operator.
    """
    return HessianOperator(loss, w.detach().requires_grad_(), theta.detach().requires_grad_())


def gradients(loss: Loss, w: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the gradients of a loss at a point.

    Args:
        loss: A loss (w, θ) -> (R,).
        w: Weights (R, P).
        theta: Hyperparameters (R, C).

    Returns:
        The gradients in w (R, P) and in θ (R, C), 0 where the loss does not depend on one.
    """
    w, theta = w.detach().requires_grad_(), theta.detach().requires_grad_()
    found = torch.autograd.grad(
        loss(w, theta).sum(), (w, theta), allow_unused=True, materialize_grads=True
    )
    return found[0], found[1]


def linearised(loss: Loss, w: Tensor, theta: Tensor) -> Loss:
    """Make a linear loss with the same gradients at a point.

    What is costly in the loss, as its adversary, is thus found once for many hypergradients.

    Args:
        loss: A loss (w, θ) -> (R,).
        w: Weights (R, P).
        theta: Hyperparameters (R, C).

    Returns:
        The linear loss.
    """
    v, direct = gradients(loss, w, theta)
    return lambda at, hyper: (v * at).sum(-1) + (direct * hyper).sum(-1)


def extremes(problem: Problem, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the extreme eigenvalues of the lower level's Hessian at its solution.

    Args:
        problem: The problem.
        theta: Hyperparameters (R, C).

    Returns:
        μ and ℓ (R,).
    """
    values = torch.linalg.eigvalsh(operator(problem.lower, problem.solve(theta), theta).whole())
    return values[:, 0], values[:, -1]


def reference(problem: Problem, theta: Tensor, step: float = STEP) -> Tensor:
    """Compute dF/dθ by central differences of the re-solved problem.

    They are extrapolated once (Richardson). Nothing of the implicit function theorem is in it:
    F(θ) = U(w*(θ), θ) is evaluated four times a hyperparameter.

    Args:
        problem: The problem.
        theta: Hyperparameters (R, C).
        step: The wider of the two differences.

    Returns:
        dF/dθ (R, C).
    """
    columns = []
    for j in range(theta.shape[1]):
        wide, narrow = (_difference(problem, theta, j, h) for h in (step, step / 2))
        # The terms in h² of the two cancel, and that in h⁴ is left.
        columns.append((4 * narrow - wide) / 3)
    return torch.stack(columns, -1)


def _difference(problem: Problem, theta: Tensor, j: int, h: float) -> Tensor:
    shift = torch.zeros_like(theta)
    shift[:, j] = h
    up, down = (problem.upper(problem.solve(t), t).detach() for t in (theta + shift, theta - shift))
    return (up - down) / (2 * h)


def newton(loss: Loss, w: Tensor, theta: Tensor, steps: int = 100) -> Tensor:
    """Compute a minimiser of L(·, θ) to machine precision, by Newton's method with backtracking.

    Args:
        loss: L.
        w: Weights (R, P) near the minimiser.
        theta: Hyperparameters (R, C).
        steps: Newton steps at most.

    Returns:
        The minimiser (R, P).

    Raises:
        ArithmeticError: The gradient does not vanish within `steps`, or the Hessian at its zero is
            not positive definite.
    """
    for _ in range(steps):
        hessian = operator(loss, w, theta)
        g = hessian.gradient.detach()
        values, basis = torch.linalg.eigh(hessian.whole())
        ell = values.abs().amax(-1, keepdim=True)
        # Negative eigenvalues change sign, so that every step descends.
        # Clamped relative to ℓ, so that a direction without curvature takes no endless step.
        scaled = (basis.mT @ g[..., None]).squeeze(-1) / values.abs().clamp(min=1e-8 * ell)
        descent = -(basis @ scaled[..., None]).squeeze(-1)
        if (norm(g) <= TOLERANCE * ell * (1 + norm(w))).all():
            if (values <= 0).any():
                raise ArithmeticError(
                    f"stationary point is no minimum: smallest eigenvalue {values.min():.3g}"
                )
            return (w + descent).detach()
        w = _backtrack(loss, w, theta, descent, dot(g, descent))
    raise ArithmeticError(f"no minimum within {steps} Newton steps: |gradient| {norm(g).max():.3g}")


def _backtrack(loss: Loss, w: Tensor, theta: Tensor, descent: Tensor, slope: Tensor) -> Tensor:
    value = loss(w, theta).detach()[:, None]
    # Close to the minimum L falls by less than its own rounding, and no step would count as one.
    slack = 10 * torch.finfo(w.dtype).eps * (1 + value.abs())
    length = torch.ones_like(slope)
    for _ in range(HALVINGS):
        reached = loss(w + length * descent, theta).detach()[:, None]
        # Armijo's condition, with its usual constant.
        enough = reached <= value + 1e-4 * length * slope + slack
        if enough.all():
            break
        length = torch.where(enough, length, length / 2)
    return w + length * descent
