"""Hyperbolic and circular functions of a square root, analytic in the radicand.

Every map of the ball depends on the curvature and a norm only through s = c|x|². Written in s, the
maps are smooth at c = 0 and at x = 0, need no square root there, and have all derivatives. The
derivatives of the closed forms cancel near 0, where a Taylor series replaces them.

Each function is one node of the graph, whose derivative is another such node. Differentiating the
closed forms and the series by autograd takes several times as many operations, most of them in
second derivatives.
"""

from collections.abc import Callable, Sequence
from functools import cache
from math import comb, factorial, prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from hsac.ball.nodes import forward_rule

# Where series and closed forms meet. With eight terms both sides agree to rounding here, and their
# second derivatives to 1e-11 (float64).
NEAR_ZERO = 0.01
TERMS = 8
SMALLEST = 1e-30  # argument of the functions' own closed forms
KEPT = TERMS + 4  # so that four derivatives have eight terms too

# (f and its derivatives so far, s, k) -> the k-th derivative of h = f + 2s f'. With it
# 2s f⁽ᵏ⁺¹⁾ = h⁽ᵏ⁾ - (2k+1) f⁽ᵏ⁾.
Source = Callable[[Sequence[Tensor], Tensor, int], Tensor]


def _taylor_tanhc() -> list[float]:
    # tanh(x)/x from tanh' = 1 - tanh²: (2k+1) a_k = -Σ_{i+j=k-1} a_i a_j
    a = [1.0]
    for k in range(1, KEPT):
        a.append(-sum(a[i] * a[k - 1 - i] for i in range(k)) / (2 * k + 1))
    return a


def _source_tanhc(f: Sequence[Tensor], s: Tensor, k: int) -> Tensor:
    # h = 1 - s f², by Leibniz' rule
    def of_square(j: int) -> Tensor:
        return sum((comb(j, i) * f[i] * f[j - i] for i in range(j + 1)), torch.zeros_like(s))

    return 1 - s * of_square(0) if k == 0 else -s * of_square(k) - k * of_square(k - 1)


def _edge(s: Tensor) -> float:
    # artanh is infinite at 1, and still finite here.
    return 1 - torch.finfo(s.dtype).eps


def _source_atanhc(f: Sequence[Tensor], s: Tensor, k: int) -> Tensor:
    # h = 1/(1 - s). Beyond the edge artanh stands still.
    return torch.where(s < _edge(s) ** 2, factorial(k) / (1 - s) ** (k + 1), torch.zeros_like(s))


def _asinh(s: Tensor, root: Tensor) -> Tensor:
    # torch's own is not vectorised on a CPU and takes twice as long
    return (root + s / (1 + (1 + s).sqrt())).log1p()


def _source_asinhc(f: Sequence[Tensor], s: Tensor, k: int) -> Tensor:
    # h = (1 + s)^(-½)
    return prod(-0.5 - i for i in range(k)) * (1 + s) ** (-0.5 - k)


def _source_sinhc(f: Sequence[Tensor], s: Tensor, k: int) -> Tensor:
    # h = cosh √s, whose derivative in s is f/2
    return s.sqrt().cosh() if k == 0 else f[k - 1] / 2


def _source_sinc(f: Sequence[Tensor], s: Tensor, k: int) -> Tensor:
    # h = cos √s, whose derivative in s is -f/2
    return s.sqrt().cos() if k == 0 else -f[k - 1] / 2


def _source_asinc(f: Sequence[Tensor], s: Tensor, k: int) -> Tensor:
    # h = (1 - s)^(-½). Beyond the edge arcsin stands still, as artanh does.
    inside = prod(0.5 + i for i in range(k)) * (1 - s) ** (-0.5 - k)
    return torch.where(s < _edge(s) ** 2, inside, torch.zeros_like(s))


# name -> Taylor coefficients in s, the map (s, √s) -> √s f(s), and the source
FUNCTIONS: dict[str, tuple[list[float], Callable[[Tensor, Tensor], Tensor], Source]] = {
    "tanhc": (_taylor_tanhc(), lambda s, r: r.tanh(), _source_tanhc),
    "atanhc": (
        [1 / (2 * k + 1) for k in range(KEPT)],
        lambda s, r: r.clamp(max=_edge(r)).atanh(),
        _source_atanhc,
    ),
    "asinhc": (
        [
            (-1) ** k * factorial(2 * k) / (4**k * factorial(k) ** 2 * (2 * k + 1))
            for k in range(KEPT)
        ],
        _asinh,
        _source_asinhc,
    ),
    "sinhc": (
        [1 / factorial(2 * k + 1) for k in range(KEPT)],
        lambda s, r: r.sinh(),
        _source_sinhc,
    ),
    "sinc": (
        [(-1) ** k / factorial(2 * k + 1) for k in range(KEPT)],
        lambda s, r: r.sin(),
        _source_sinc,
    ),
    "asinc": (
        [factorial(2 * k) / (4**k * factorial(k) ** 2 * (2 * k + 1)) for k in range(KEPT)],
        lambda s, r: r.clamp(max=_edge(r)).asin(),
        _source_asinc,
    ),
}


# Taylor coefficients of asinhc', in s.
ASINHC_SLOPE = [n * a for n, a in enumerate(FUNCTIONS["asinhc"][0])][1 : TERMS + 1]


class _Analytic(Function):
    """A derivative of one of the functions, given s and the derivatives before it.

    Its own derivative is the next one.
    """

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # The output is among the derivatives that the next one is computed from.
        ctx.save_for_backward(*inputs, output)
        ctx.save_for_forward(*inputs, output)
        ctx.slope = None


def _coefficients(name: str, order: int) -> list[float]:
    """Return the first Taylor coefficients of a function's derivative, in s."""
    terms = enumerate(FUNCTIONS[name][0])
    found = [a * factorial(n) / factorial(n - order) for n, a in terms if n >= order]
    return found[:TERMS]


def _traced(name: str, s: Tensor) -> Tensor:
    """Compute a function by plain operations, for torch.compile.

    It traces no custom function that has rules of its own for vmap and forward mode. Compiled code
    has first derivatives only, and these are as accurate here.
    """
    _, times_root, _ = FUNCTIONS[name]
    near, far = s.clamp(max=NEAR_ZERO), s.clamp(min=NEAR_ZERO)
    polynomial = torch.zeros_like(near)
    for a in reversed(FUNCTIONS[name][0]):
        polynomial = polynomial * near + a
    root = far.sqrt()
    return torch.where(s < NEAR_ZERO, polynomial, times_root(far, root) / root)


def _function(name: str, s: Tensor) -> Tensor:
    if torch.compiler.is_compiling():
        return _traced(name, s)
    out: Tensor = _derivative(name)(s)
    return out


def _value(
    s: Tensor, times_root: Callable[[Tensor, Tensor], Tensor], own: Sequence[float]
) -> Tensor:
    # The closed form does not cancel. The series is for s < 0 alone, which differences across 0
    # come to.
    far, below = s.clamp(min=SMALLEST), s.clamp(max=0.0)
    root = far.sqrt()
    return (times_root(far, root) / root).addcmul_(below, (below * own[2]).add_(own[1]))


@cache
def _derivative(name: str, order: int = 0) -> Callable[..., Tensor]:
    """Return (s, f(s), f'(s), ...) -> f⁽ᵒʳᵈᵉʳ⁾(s), a class for each function and order.

    Under vmap an argument costs more than a small tensor, so name and order are not arguments.
    """
    _, times_root, source = FUNCTIONS[name]
    own = _coefficients(name, order)

    def forward(s: Tensor, *lower: Tensor) -> Tensor:
        if not order:
            return _value(s, times_root, own)
        # Both branches are computed everywhere. Each gets arguments of its own range, so that
        # neither overflows or divides by 0 where the other one is taken.
        near, far = s.clamp(max=NEAR_ZERO), s.clamp(min=NEAR_ZERO)
        polynomial = torch.full_like(near, own[-1])
        for a in reversed(own[:-1]):
            polynomial.mul_(near).add_(a)
        # the recursion at `Source`, solved for the next derivative
        closed = (source(lower, far, order - 1) - (2 * order - 1) * lower[-1]) / (2 * far)
        return torch.where(s < NEAR_ZERO, polynomial, closed)

    def slope(saved: Sequence[Tensor]) -> Tensor:
        s, *known = saved
        # Derivatives before it enter as numbers: how they change with s is in the next one already.
        return _derivative(name, order + 1)(s, *[f.detach() for f in known])

    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rest = (None,) * order
        # Gradients are on here only under create_graph: then the slope needs a graph of its own.
        if torch.is_grad_enabled():
            return gradient * slope(ctx.saved_tensors), *rest
        # a kept graph serves many Hessian products, all of the same slope
        if ctx.slope is None:
            ctx.slope = slope(ctx.saved_tensors)
        return gradient * ctx.slope, *rest

    def tangent_of(saved: Sequence[Tensor], tangents: Sequence[Any]) -> Tensor:
        # That of s alone, as in `slope`: the derivatives before it enter as numbers.
        return tangents[0] * slope(saved)

    def vmap(info: Any, dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Tensor, int]:
        moved = [
            x if dim is None else x.movedim(dim, 0) for x, dim in zip(inputs, dims, strict=True)
        ]
        return made.apply(*torch.broadcast_tensors(*moved)), 0

    methods = (forward, backward, forward_rule(tangent_of), vmap)
    made: Any = type(f"{name}{order}", (_Analytic,), {f.__name__: staticmethod(f) for f in methods})
    return made.apply


def tanhc(s: Tensor) -> Tensor:
    """Compute tanh(√s)/√s, which is 1 at 0.

    Args:
        s: Numbers from 0, any shape.

    Returns:
        The values, of s's shape.
    """
    return _function("tanhc", s)


def atanhc(s: Tensor) -> Tensor:
    """Compute artanh(√s)/√s, which is 1 at 0.

    Args:
        s: Numbers in [0, 1), any shape. From 1 on artanh stands still at its last finite value.

    Returns:
        The values, of s's shape.
    """
    return _function("atanhc", s)


def asinhc(s: Tensor) -> Tensor:
    """Compute arsinh(√s)/√s, which is 1 at 0.

    Args:
        s: Numbers from 0, any shape.

    Returns:
        The values, of s's shape.
    """
    return _function("asinhc", s)


def asinhc_second(s: Tensor) -> Tensor:
    """Compute the second derivative of `asinhc`, which is 3/20 at 0.

    Args:
        s: Numbers from 0, any shape.

    Returns:
        The values, of s's shape.
    """
    f = asinhc(s)
    return _derivative("asinhc", 2)(s, f, _derivative("asinhc", 1)(s, f))


def sinhc(s: Tensor) -> Tensor:
    """Compute sinh(√s)/√s, which is 1 at 0.

    Args:
        s: Numbers from 0, any shape.

    Returns:
        The values, of s's shape.
    """
    return _function("sinhc", s)


def coshr(s: Tensor) -> Tensor:
    """Compute cosh(√s).

    Args:
        s: Numbers from 0, any shape.

    Returns:
        The values, of s's shape.
    """
    return sinhc_coshr(s)[1]


def sinhc_coshr(s: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `sinhc` and `coshr` from sinh of half the root.

    Both are sums of positive terms, so nothing cancels.

    Args:
        s: Numbers from 0, any shape.

    Returns:
        sinhc(s) and coshr(s), of s's shape.
    """
    # sinh x = 2 sinh(x/2) cosh(x/2) and cosh x = 1 + 2 sinh²(x/2)
    half = sinhc(s / 4)
    square = s / 4 * half * half
    return half * (1 + square).sqrt(), 1 + 2 * square


def sinc(s: Tensor) -> Tensor:
    """Compute sin(√s)/√s, which is 1 at 0.

    Args:
        s: Numbers from 0, any shape.

    Returns:
        The values, of s's shape.
    """
    return _function("sinc", s)


def cosr(s: Tensor) -> Tensor:
    """Compute cos(√s).

    Args:
        s: Numbers from 0, any shape.

    Returns:
        The values, of s's shape.
    """
    # cos x = 1 - 2 sin²(x/2)
    return 1 - s / 2 * sinc(s / 4).square()


def asinc(s: Tensor) -> Tensor:
    """Compute arcsin(√s)/√s, which is 1 at 0.

    Args:
        s: Numbers in [0, 1), any shape. From 1 on arcsin stands still at its value just below.

    Returns:
        The values, of s's shape.
    """
    return _function("asinc", s)
