"""Compute arsinh(√c t)/√c in few passes.

It is the last step of a multinomial logistic regression, where the largest tensor occurs.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from hsac.ball.nodes import batched, forward_rule
from hsac.ball.series import ASINHC_SLOPE, NEAR_ZERO, asinhc, asinhc_second

Partial = Callable[[Tensor, Tensor], Tensor]
# Least c of the closed form. Below it the first two terms of the series in c are exact to rounding.
FLOOR = 1e-9
# Where the second derivative in c leaves the form with t⁵, which overflows in float32.
LARGE = 1e6


class _Node(Function):
    """A function of t and of c, which broadcasts to t."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        # Only inputs are kept, and derivatives computed from them anew. A kept intermediate has no
        # graph, so second derivatives through it would silently be lost.
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)


class _SlopeInC(_Node):
    """t³ asinhc'(s), s = ct², which is (t/√(1 + s) - arsinh(√c t)/√c)/2c."""

    @staticmethod
    def forward(t: Tensor, c: Tensor) -> Tensor:
        square = t * t
        s = c * square
        # The closed form cancels where s is near 0, so the series takes its place. In-place
        # operations save passes over what is the largest tensor of a model.
        near = torch.full_like(s, ASINHC_SLOPE[-1])
        for a in ASINHC_SLOPE[-2::-1]:
            near.mul_(s).add_(a)
        far = (1 + s).rsqrt_().mul_(t).sub_(_Arsinh.forward(t, c)).div_(2 * c.clamp(min=FLOOR))
        return torch.where(s < NEAR_ZERO, near.mul_(square).mul_(t), far)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        t, c = ctx.saved_tensors
        in_t = gradient * _mixed(t, c) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return in_t, None
        # c was broadcast to t, so its gradient is a sum over all that it served.
        return in_t, (gradient * _second_in_c(t, c)).sum_to_size(c.shape)

    @staticmethod
    @forward_rule
    def jvp(saved: tuple[Tensor, ...], tangents: tuple[Tensor | None, ...]) -> Tensor:
        return _total(tangents, saved, _mixed, _second_in_c)

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, ...], t: Tensor, c: Tensor) -> tuple[Tensor, int]:
        return _SlopeInC.apply(*batched(info.batch_size, dims, t, c)), 0


class _Arsinh(_Node):
    """arsinh(√c t)/√c, with closed forms for its derivatives."""

    @staticmethod
    def forward(t: Tensor, c: Tensor) -> Tensor:
        at = c.clamp(min=FLOOR)
        root = at.sqrt()
        y = t * root
        square = y * y
        # torch's own asinh is not vectorised on a CPU, and log1p takes a twentieth of its time.
        # The sum inside is √(1 + y²) - 1 + |y|, written so that nothing cancels.
        value = square / (1 + square).sqrt_().add_(1)
        value = value.add_(y.abs()).log1p_().copysign_(y)
        # the term -(c - FLOOR) t³/6 of the series in c, which is 0 from FLOOR on
        return value.div_(root).addcmul_(square, t * ((at - c) / (6 * at)))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        t, c = ctx.saved_tensors
        in_t = gradient * _slope(t, c) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return in_t, None
        # The slope in c is a node too, because its closed form cancels near 0 (see there).
        return in_t, (gradient * _SlopeInC.apply(t, c)).sum_to_size(c.shape)

    @staticmethod
    @forward_rule
    def jvp(saved: tuple[Tensor, ...], tangents: tuple[Tensor | None, ...]) -> Tensor:
        return _total(tangents, saved, _slope, _SlopeInC.apply)

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, ...], t: Tensor, c: Tensor) -> tuple[Tensor, int]:
        return _Arsinh.apply(*batched(info.batch_size, dims, t, c)), 0


# The next two do not cancel anywhere: plain operations, which autograd differentiates further.
def _slope(t: Tensor, c: Tensor) -> Tensor:
    return (1 + c * t * t).rsqrt()


def _mixed(t: Tensor, c: Tensor) -> Tensor:
    square = t * t
    return -square / 2 * (1 + c * square) ** -1.5


def _second_in_c(t: Tensor, c: Tensor) -> Tensor:
    large = c * t * t > LARGE
    # The other branch's t is 0, so that none of its powers overflows.
    small = torch.where(large, torch.zeros_like(t), t)
    square = small * small
    near = small * square * square * asinhc_second(c * square)
    # F' = (g - F)/2c with g = t/√(1 + s), hence F'' = (g' - 3F')/2c. It does not cancel here.
    at, s = c.clamp(min=FLOOR), c * t * t
    in_g = -t * (s / (1 + s)) * (1 + s).rsqrt() / (2 * at)
    return torch.where(large, (in_g - 3 * _SlopeInC.apply(t, c)) / (2 * at), near)


def _total(
    tangents: tuple[Tensor | None, ...], saved: tuple[Tensor, ...], f: Partial, g: Partial
) -> Tensor:
    # a tangent is None where an argument is not differentiated
    total = torch.zeros_like(saved[0])
    for tangent, slope in zip(tangents, (f, g), strict=True):
        total = total if tangent is None else total + tangent * slope(*saved[:2])
    return total


def arsinh(t: Tensor, c: Tensor) -> Tensor:
    """Divide the inverse hyperbolic sine of √c t by √c, which gives t at c = 0.

    All derivatives in t and in c exist.

    Args:
        t: Any shape. √c|t| is below 1e19 in float32, where its square overflows.
        c: Curvature from 0, which broadcasts to t's shape. Below 1e-9, where the first two terms of
            the series in c are used, |t| is below 1e3.

    Returns:
        The values, of t's shape.
    """
    if torch.compiler.is_compiling():
        return t * asinhc(c * t * t)
    out: Tensor = _Arsinh.apply(t, c)
    return out
