"""Squared differences of all pairs of points, with memory for the pairs alone."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from hsac.ball.inputs import full_precision
from hsac.ball.nodes import batched, forward_rule


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
        # Only inputs were kept, so this can be differentiated again.
        return _gradients(gradient, *ctx.saved_tensors)

    @staticmethod
    @forward_rule
    def jvp(saved: tuple[Tensor, ...], tangents: tuple[Tensor | None, ...]) -> Tensor:
        x, y = saved[:2]
        pairs = zip(tangents, (x, y), strict=True)
        in_x, in_y = (torch.zeros_like(p) if g is None else g for g, p in pairs)
        own = (x * in_x).sum(-1)[..., None] + (y * in_y).sum(-1)[..., None, :]
        return 2 * (own - in_x @ y.mT - x @ in_y.mT)

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, ...], x: Tensor, y: Tensor) -> tuple[Tensor, int]:
        return _SquaredDifferences.apply(*batched(info.batch_size, dims, x, y)), 0


# A backward pass may be called under autocast, whose products of matrices are in half precision.
@full_precision
def _gradients(gradient: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    in_x = 2 * (gradient.sum(-1)[..., None] * x - gradient @ y)
    in_y = 2 * (gradient.sum(-2)[..., None] * y - gradient.mT @ x)
    # Leading axes of x or y may have been broadcast.
    return in_x.sum_to_size(x.shape), in_y.sum_to_size(y.shape)


def squared_differences(x: Tensor, y: Tensor) -> Tensor:
    """Compute |x_i - y_j|² of all pairs, with all derivatives.

    Args:
        x: Points (..., n, d).
        y: Points (..., m, d).

    Returns:
        Squared differences (..., n, m).
    """
    if torch.compiler.is_compiling():
        # A compiler fuses the sum, so that the differences take no memory either.
        return (x[..., :, None, :] - y[..., None, :, :]).square().sum(-1)
    out: Tensor = _SquaredDifferences.apply(x, y)
    return out
