"""Products with the Hessian of the lower level, from one kept gradient graph."""

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]  # (w (R, P), theta (R, C)) -> (R,)
POWER_STEPS = 3


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product per run: (R, P), (R, P) -> (R, 1)."""
    return (a * b).sum(-1, keepdim=True)


def norm(a: Tensor) -> Tensor:
    """Euclidean norm per run, never 0, so that it can divide: (R, P) -> (R, 1)."""
    return a.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(a.dtype).tiny ** 0.5)


class HessianOperator:
    """H = d²L/dw² and d²L/dθdw of runs' losses at one point; counts its products.

    Args: `loss` (w, θ) -> (R,), one independent problem a run; the point w (R, P), θ (R, C), both
    leaves that require a gradient. The gradient's graph is built once and serves every product
    (Pearlmutter 1994), which is what makes a solve cheap.
    """

    def __init__(self, loss: Loss, w: Tensor, theta: Tensor) -> None:
        self.loss, self.w, self.theta, self.products = loss, w, theta, 0
        (self.gradient,) = torch.autograd.grad(loss(w, theta).sum(), w, create_graph=True)

    def __call__(self, v: Tensor) -> Tensor:
        """H v: (R, P) -> (R, P)."""
        self.products += 1
        (hv,) = torch.autograd.grad(self.gradient, self.w, v, retain_graph=True)
        return hv

    def mixed(self, v: Tensor) -> Tensor:
        """(d²L/dθdw)ᵀ v: (R, P) -> (R, C); 0 where θ does not enter the gradient."""
        self.products += 1
        (out,) = torch.autograd.grad(
            self.gradient, self.theta, v, retain_graph=True, allow_unused=True
        )
        return torch.zeros_like(self.theta) if out is None else out

    def dense(self) -> Tensor:
        """The whole Hessian (R, P, P), for tests and small studies."""
        rows = [
            self(
                torch.eye(self.w.shape[1], dtype=self.w.dtype, device=self.w.device)[i].expand_as(
                    self.w
                )
            )
            for i in range(self.w.shape[1])
        ]
        return torch.stack(rows, 1)

    def power(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """|H| from below (R, 1) and the vector to go on from, by POWER_STEPS power iterations on u (R, P).

        A zero u starts from ones, and none is handed on: H was 0 on one batch, and need not be on
        the next.
        """
        for _ in range(POWER_STEPS):
            u = self(_alive(u) / norm(_alive(u)))
        return norm(u), _alive(u)


def _alive(u: Tensor) -> Tensor:
    return torch.where((u != 0).any(-1, keepdim=True), u, torch.ones_like(u))
