"""Hyperbolic functions of a square root, analytic in the radicand.

Every map of the ball depends on the curvature and a norm only through s = c|x|². Written in s, the maps are smooth at
c = 0 and at x = 0, need no square root there, and have all derivatives. Near 0 a Taylor series replaces the closed
form, whose derivatives cancel; `torch.where` sees safe arguments on both sides, so no NaN leaks through a gradient.
"""

from collections.abc import Callable
from math import factorial

import torch
from torch import Tensor

NEAR_ZERO = 0.01  # with eight terms both sides agree to rounding here, second derivatives to 1e-11 (float64)
TERMS = 8


def _bernoulli_tanh() -> list[float]:
    # tanh(x)/x from tanh' = 1 - tanh²: (2k+1) a_k = -Σ_{i+j=k-1} a_i a_j
    a = [1.0]
    for k in range(1, TERMS):
        a.append(-sum(a[i] * a[k - 1 - i] for i in range(k)) / (2 * k + 1))
    return a


_TANH = _bernoulli_tanh()
_ATANH = [1 / (2 * k + 1) for k in range(TERMS)]
_ASINH = [(-1) ** k * factorial(2 * k) / (4**k * factorial(k) ** 2 * (2 * k + 1)) for k in range(TERMS)]
_SINH = [1 / factorial(2 * k + 1) for k in range(TERMS)]
_COSH = [1 / factorial(2 * k) for k in range(TERMS)]


def _analytic(s: Tensor, coefficients: list[float], closed: Callable[[Tensor], Tensor]) -> Tensor:
    small = s < NEAR_ZERO
    near = torch.where(small, s, torch.zeros_like(s))
    far = torch.where(small, torch.full_like(s, 2 * NEAR_ZERO), s)
    polynomial = torch.full_like(s, coefficients[-1])
    for a in reversed(coefficients[:-1]):
        polynomial = polynomial * near + a
    return torch.where(small, polynomial, closed(far.sqrt()))


def tanhc(s: Tensor) -> Tensor:
    """tanh(√s)/√s for s ≥ 0; 1 at 0."""
    return _analytic(s, _TANH, lambda r: r.tanh() / r)


def atanhc(s: Tensor) -> Tensor:
    """artanh(√s)/√s for 0 ≤ s < 1; 1 at 0."""
    edge = 1 - torch.finfo(s.dtype).eps
    return _analytic(s, _ATANH, lambda r: r.clamp(max=edge).atanh() / r)


def asinhc(s: Tensor) -> Tensor:
    """arsinh(√s)/√s for s ≥ 0; 1 at 0."""
    return _analytic(s, _ASINH, lambda r: r.asinh() / r)


def sinhc(s: Tensor) -> Tensor:
    """sinh(√s)/√s for s ≥ 0; 1 at 0."""
    return _analytic(s, _SINH, lambda r: r.sinh() / r)


def coshr(s: Tensor) -> Tensor:
    """cosh(√s) for s ≥ 0."""
    return _analytic(s, _COSH, torch.cosh)
