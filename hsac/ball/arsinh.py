"""arsinh(√c t)/√c, the last step of a multinomial logistic regression: its largest tensor, hence in
few passes.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from hsac.ball.series import ASINHC_SLOPE, NEAR_ZERO, asinhc_second

Partial = Callable[[Tensor, Tensor], Tensor]
FLOOR = 1e-9  # of c in the closed form; below it the first two terms of the series in c are exact to rounding


def batched(size: int, dims: tuple[int | None, ...], *inputs: Tensor) -> list[Tensor]:
    """The inputs of a vmap rule with the batch in front of each, and as many axes as the largest
    has.
    """
    moved = [
        x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
        for x, dim in zip(inputs, dims, strict=True)
    ]
    most = max(x.dim() for x in moved)
    return [x.reshape(size, *(1,) * (most - x.dim()), *x.shape[1:]) for x in moved]


class _Node(Function):
    """A function of t and of c, which broadcasts to t."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)


class _SlopeInC(_Node):
    """t³ asinhc'(s), s = ct², which is (t/√(1 + s) - arsinh(√c t)/√c)/2c."""

    @staticmethod
    def forward(t: Tensor, c: Tensor) -> Tensor:
        square = t * t
        s = c * square
        near = torch.full_like(s, ASINHC_SLOPE[-1])
        for a in ASINHC_SLOPE[-2::-1]:
            near.mul_(s).add_(a)
        far = (1 + s).rsqrt_().mul_(t).sub_(_Arsinh.forward(t, c)).div_(2 * c.clamp(min=FLOOR))
        return torch.where(s < NEAR_ZERO, near.mul_(square).mul_(t), far)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        t, c = ctx.saved_tensors
        in_t = gradient * _mixed(t, c) if ctx.needs_input_grad[0] else None
        in_c = (
            (gradient * _second_in_c(t, c)).sum_to_size(c.shape)
            if ctx.needs_input_grad[1]
            else None
        )
        return in_t, in_c

    @staticmethod
    def jvp(ctx: Any, in_t: Tensor | None, in_c: Tensor | None) -> Tensor:
        t, c = ctx.saved_tensors
        return _total(in_t, in_c, t, c, _mixed, _second_in_c)

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, ...], t: Tensor, c: Tensor) -> tuple[Tensor, int]:
        return _SlopeInC.apply(*batched(info.batch_size, dims, t, c)), 0


class _Arsinh(_Node):
    @staticmethod
    def forward(t: Tensor, c: Tensor) -> Tensor:
        at = c.clamp(min=FLOOR)
        root = at.sqrt()
        y = t * root
        square = y * y
        # torch's own asinh is not vectorised on a CPU: log1p takes a twentieth of its time
        value = square / (1 + square).sqrt_().add_(1)
        value = value.add_(y.abs()).log1p_().copysign_(y)
        return value.div_(root).addcmul_(square, t * ((at - c) / (6 * at)))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        t, c = ctx.saved_tensors
        in_t = gradient * _slope(t, c) if ctx.needs_input_grad[0] else None
        in_c = (
            (gradient * _SlopeInC.apply(t, c)).sum_to_size(c.shape)
            if ctx.needs_input_grad[1]
            else None
        )
        return in_t, in_c

    @staticmethod
    def jvp(ctx: Any, in_t: Tensor | None, in_c: Tensor | None) -> Tensor:
        t, c = ctx.saved_tensors
        return _total(in_t, in_c, t, c, _slope, _SlopeInC.apply)

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, ...], t: Tensor, c: Tensor) -> tuple[Tensor, int]:
        return _Arsinh.apply(*batched(info.batch_size, dims, t, c)), 0


def _slope(t: Tensor, c: Tensor) -> Tensor:
    return (1 + c * t * t).rsqrt()


def _mixed(t: Tensor, c: Tensor) -> Tensor:
    square = t * t
    return -square / 2 * (1 + c * square) ** -1.5


def _second_in_c(t: Tensor, c: Tensor) -> Tensor:
    square = t * t
    return t * square * square * asinhc_second(c * square)


def _total(
    in_t: Tensor | None, in_c: Tensor | None, t: Tensor, c: Tensor, f: Partial, g: Partial
) -> Tensor:
    total = torch.zeros_like(t)
    for tangent, slope in ((in_t, f), (in_c, g)):
        total = total if tangent is None else total + tangent * slope(t, c)
    return total


def arsinh(t: Tensor, c: Tensor) -> Tensor:
    """arsinh(√c t)/√c for c ≥ 0 that broadcasts to t's shape; t at c = 0. All derivatives in both."""
    out: Tensor = _Arsinh.apply(t, c)
    return out
