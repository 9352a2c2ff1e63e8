"""Products with the Hessian of the lower level, from one kept gradient graph."""

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]  # (w (R, P), theta (R, C)) -> (R,)
POWER_STEPS = 3  # of `HessianOperator.power`, which goes on from its last vector


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Compute inner products per run.

    Args:
        a: Vectors (R, P).
        b: Vectors (R, P).

    Returns:
        Inner products (R, 1).
    """
    return (a * b).sum(-1, keepdim=True)


def norm(a: Tensor) -> Tensor:
    """Compute Euclidean norms per run, never 0, so that they can divide.

    Args:
        a: Vectors (R, P).

    Returns:
        Norms (R, 1).
    """
    return a.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(a.dtype).tiny ** 0.5)


class HessianOperator:
    """The second derivatives H = d²L/dw² and d²L/dθdw of R runs at one point, by their products.

    The gradient's graph is built once and serves every product (Pearlmutter 1994), which makes a
    solve cheap.

    Attributes:
        loss: The lower level L, one independent problem a run.
        w: The point's weights (R, P).
        theta: The point's hyperparameters (R, C).
        products: Hessian-vector products so far.
        gradient: dL/dw (R, P), with its graph.
    """

    def __init__(self, loss: Loss, w: Tensor, theta: Tensor) -> None:
        """Take the gradient of the loss and keep its graph.

        Args:
            loss: The lower level L.
            w: Weights (R, P), a leaf that requires a gradient.
            theta: Hyperparameters (R, C), a leaf that requires a gradient.
        """
        self.loss, self.w, self.theta, self.products = loss, w, theta, 0
        # Runs are independent: the gradient of the sum is each run's own, and so are all products.
        (self.gradient,) = torch.autograd.grad(loss(w, theta).sum(), w, create_graph=True)

    def __call__(self, v: Tensor) -> Tensor:
        """Compute H v.

        Args:
            v: Vectors (R, P).

        Returns:
            H v (R, P).
        """
        self.products += 1
        (hv,) = torch.autograd.grad(self.gradient, self.w, v, retain_graph=True)
        return hv

    def mixed(self, v: Tensor) -> Tensor:
        """Compute (d²L/dθdw)ᵀ v.

        Args:
            v: Vectors (R, P).

        Returns:
            The products (R, C). They are 0 where θ does not enter the gradient.
        """
        # It costs as much as a product with H.
        self.products += 1
        (out,) = torch.autograd.grad(
            self.gradient, self.theta, v, retain_graph=True, allow_unused=True
        )
        return torch.zeros_like(self.theta) if out is None else out

    def dense(self) -> Tensor:
        """Compute the whole Hessian, for tests and small studies.

        Returns:
            H (R, P, P).
        """
        basis = torch.eye(self.w.shape[1], dtype=self.w.dtype, device=self.w.device)
        return torch.stack([self(unit.expand_as(self.w)) for unit in basis], 1)

    def whole(self) -> Tensor:
        """Compute the whole Hessian in one batched product, which counts for P.

        Returns:
            H (R, P, P).
        """
        runs, size = self.w.shape
        basis = torch.eye(size, dtype=self.w.dtype, device=self.w.device)
        rows = torch.autograd.grad(
            self.gradient,
            self.w,
            basis[:, None].expand(-1, runs, -1),
            retain_graph=True,
            is_grads_batched=True,
        )[0]
        self.products += size
        return rows.movedim(0, 1)

    def power(self, u: Tensor, steps: int = POWER_STEPS) -> tuple[Tensor, Tensor]:
        """Estimate |H| from below by power iterations.

        Args:
            u: The vectors (R, P) to start from. Where one is 0 the iteration starts from ones.
            steps: Iterations, one product each.

        Returns:
            The estimates (R, 1), and the vectors (R, P) to go on from at the next call.
        """
        for _ in range(steps):
            u = self(_alive(u) / norm(_alive(u)))
        return norm(u), _alive(u)


def _alive(u: Tensor) -> Tensor:
    # H was 0 on one batch and need not be on the next: a zero vector would never move again
    return torch.where((u != 0).any(-1, keepdim=True), u, torch.ones_like(u))
