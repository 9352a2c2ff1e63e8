"""Squared differences of all pairs of points, with memory for the pairs alone."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from hsac.ball.arsinh import batched


class _SquaredDifferences(Function):
    """|x_i - y_j|² without keeping any pair's difference.

    The gradient 2 Σ_j g_ij (x_i - y_j) is two products of matrices.
    """

    @staticmethod
    def forward(x: Tensor, y: Tensor) -> Tensor:
        # |x|² + |y|² - 2xy would cancel for near points
        return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square_()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, y = ctx.saved_tensors
        # Only inputs were kept, so this can be differentiated again.
        in_x = 2 * (gradient.sum(-1)[..., None] * x - gradient @ y)
        in_y = 2 * (gradient.sum(-2)[..., None] * y - gradient.mT @ x)
        # Leading axes of x or y may have been broadcast.
        return in_x.sum_to_size(x.shape), in_y.sum_to_size(y.shape)

    @staticmethod
    def jvp(ctx: Any, in_x: Tensor | None, in_y: Tensor | None) -> Tensor:
        x, y = ctx.saved_tensors
        in_x, in_y = (torch.zeros_like(p) if g is None else g for g, p in ((in_x, x), (in_y, y)))
        own = (x * in_x).sum(-1)[..., None] + (y * in_y).sum(-1)[..., None, :]
        return 2 * (own - in_x @ y.mT - x @ in_y.mT)

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, ...], x: Tensor, y: Tensor) -> tuple[Tensor, int]:
        return _SquaredDifferences.apply(*batched(info.batch_size, dims, x, y)), 0


def squared_differences(x: Tensor, y: Tensor) -> Tensor:
    """Compute |x_i - y_j|² of all pairs, with all derivatives.

    Args:
        x: Points (..., n, d).
        y: Points (..., m, d).

    Returns:
        Squared differences (..., n, m).
    """
    out: Tensor = _SquaredDifferences.apply(x, y)
    return out
