"""Distances and midpoints of points that are given as tangent vectors at the origin.

A point far from the origin has no digits left for its distance from the boundary: 1 - c|x|² is
4exp(-2a) with a = √c|u| for x = expmap0(u). These functions get the far ones from norms and
directions of tangent vectors. Nearer to the origin they are the functions of points, bit for bit.

With a, b the lengths, w = |u/|u| - v/|v||² and D half the distance in units of 1/√c, the law of
cosines is sinh² D = sinh²(a - b) + w sinh(2a) sinh(2b)/4.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from hsac.ball.arsinh import FLOOR
from hsac.ball.inputs import check_last_axis, check_same_dimension, full_precision, may_exceed
from hsac.ball.maps import (
    check_common,
    expmap0,
    pairwise_squared_distance,
    root,
    safe_norm,
    squared_distance,
    squared_norm,
)
from hsac.ball.pairwise import squared_differences
from hsac.ball.series import asinhc

LOG_2 = math.log(2)
NEVER = -1e30  # the logarithm of nothing, with finite derivatives


@dataclass(frozen=True)
class _Range:
    """Where the formulas of a floating-point type meet.

    Attributes:
        far: a from which a point is far. Then exp(-4a) is below rounding, and the features of the
            shipped studies, clipped to norm 2 with c up to 10, are all nearer.
        apart: sinh² D from which D is log(2 sinh D) to rounding.
        difference: Cap on a - b where points are not apart.
        growth: Cap on 4·min(a, b) there. Beyond, directions differ by less than rounding.
        exponent: Cap on 4·min(a, b) elsewhere, from which on expm1 is exp.
    """

    far: float
    apart: float
    difference: float
    growth: float
    exponent: float


RANGES = {
    torch.float32: _Range(6.4, 1e7, 10.0, 60.0, 20.0),
    torch.float64: _Range(9.5, 1e16, 20.0, 100.0, 50.0),
}


def may_be_far(u: Tensor, c: Tensor) -> bool:
    """Return False where no point expmap0(u, c) is far, and this is known at once.

    Args:
        u: Tangent vectors at the origin (..., d).
        c: Curvature.

    Returns:
        Whether `replace_far` may change something.
    """
    s = c * squared_norm(u.detach())
    return may_exceed(s, RANGES[s.dtype].far ** 2)


@full_precision
def shortened(u: Tensor, c: Tensor) -> Tensor:
    """Shorten the tangent vectors of far points until they are not far, and leave the others.

    What is computed of them is to be replaced by `replace_far`. Derivatives at the far points
    themselves overflow in float32, which would make those that replace them NaN.

    Args:
        u: Tangent vectors at the origin (..., d).
        c: Curvature.

    Returns:
        Tangent vectors (..., d).
    """
    s = c * squared_norm(u)
    limit = RANGES[s.dtype].far ** 2
    return u * (limit / s.clamp(min=limit)).sqrt()


@full_precision
def replace_far(near: Tensor, u: Tensor, v: Tensor, c: Tensor) -> Tensor:
    """Replace squared distances of all pairs where a point is far from the origin.

    Args:
        near: Squared distances of the points (..., n, m).
        u: Tangent vectors at the origin (..., n, d).
        v: Tangent vectors at the origin (..., m, d).
        c: Curvature, one for all pairs: a scalar, or (..., 1, 1).

    Returns:
        Squared distances (..., n, m).
    """
    lengths = (safe_norm(u), safe_norm(v))
    w = squared_differences(u / lengths[0], v / lengths[1])
    return _replaced(near, lengths[0], lengths[1].mT, w, c)


def _replaced(near: Tensor, first: Tensor, second: Tensor, w: Tensor, c: Tensor) -> Tensor:
    """Replace the squared distances of far points, by their lengths |u| and |v| and by w."""
    at = RANGES[near.dtype]
    # Below FLOOR nothing is far, and the root's derivative would be infinite at 0.
    scale = c.clamp(min=FLOOR).sqrt()
    a, b = scale * first, scale * second
    difference, growth = (a - b).abs(), 4 * torch.minimum(a, b)
    # Where D is large, exp(2D) = exp(2|a - b|)(1 + q) with q = w (exp(4 min(a, b)) - 1)/4.
    limit = at.exponent
    same = w == 0
    apart = torch.where(same, torch.ones_like(w), w)
    log_q = (growth - limit).clamp(min=0) + (growth.clamp(max=limit).expm1() * apart / 4).log()
    more = softplus(log_q, threshold=40.0)
    large = difference + torch.where(same, torch.zeros_like(more), more) / 2
    # And sinh² D = sinh²(a - b) + q exp(2|a - b|)/4 where it is not.
    capped = difference.clamp(max=at.difference)
    q = w * growth.clamp(max=at.growth).expm1() / 4
    # The clamp changes nothing that is used. Powers of what it cuts would overflow in derivatives.
    s = (capped.sinh().square() + q * (2 * capped).exp() / 4).clamp(max=2 * at.apart)
    squared = torch.where(s < at.apart, s * asinhc(s).square(), large * large)
    return torch.where(torch.maximum(a, b) > at.far, 4 * squared / (scale * scale), near)


@full_precision
def pairwise_squared_distance_tangent(u: Tensor, v: Tensor, c: Tensor) -> Tensor:
    """Compute the squared distances of expmap0(u, c) and expmap0(v, c), of all pairs.

    It is right for vectors of every length, where the points have lost their digits.

    Args:
        u: Tangent vectors at the origin (..., n, d).
        v: Tangent vectors at the origin (..., m, d).
        c: Curvature, one for all pairs: a scalar, or (..., 1, 1).

    Returns:
        Squared distances (..., n, m).
    """
    check_common(c)
    if not may_be_far(u, c) and not may_be_far(v, c):
        return pairwise_squared_distance(expmap0(u, c), expmap0(v, c), c)
    x, y = expmap0(shortened(u, c), c), expmap0(shortened(v, c), c)
    return replace_far(pairwise_squared_distance(x, y, c), u, v, c)


@full_precision
def dist_tangent(u: Tensor, v: Tensor, c: Tensor) -> Tensor:
    """Compute the distance of expmap0(u, c) and expmap0(v, c).

    It is right for vectors of every length, where `dist` of the points has lost its digits.

    Args:
        u: Tangent vectors at the origin (..., d).
        v: Tangent vectors at the origin (..., d).
        c: Curvature.

    Returns:
        Distances (...).
    """
    check_last_axis("c", c)
    check_same_dimension(u, v)
    if not may_be_far(u, c) and not may_be_far(v, c):
        return root(squared_distance(expmap0(u, c), expmap0(v, c), c))
    first, second = safe_norm(u), safe_norm(v)
    w = squared_norm(u / first - v / second)
    x, y = expmap0(shortened(u, c), c), expmap0(shortened(v, c), c)
    near = squared_distance(x, y, c)[..., None]
    return root(_replaced(near, first, second, w, c).squeeze(-1))


@full_precision
def midpoint_tangent(u: Tensor, c: Tensor) -> Tensor:
    """Compute the tangent vector at the origin of `midpoint(expmap0(u, c), c)`, for long u.

    Args:
        u: Tangent vectors at the origin (..., n, d), at least one of them long.
        c: Curvature, one for all points of a midpoint: a scalar, or (..., 1, 1).

    Returns:
        Tangent vectors (..., d).
    """
    check_common(c)
    if u.shape[-2] == 1:
        return u.squeeze(-2)
    # With C the sum of cosh(2a) and S that of sinh(2a) u/|u|, it has the direction of S, and its
    # length is artanh(|S|/C)/(2√c). C² - S² is a sum over pairs, of terms that are positive and
    # too different in size for anything but their logarithms.
    length = safe_norm(u)
    scale = c.clamp(min=FLOOR).sqrt()
    double, direction = 2 * scale * length, u / length
    w = squared_differences(direction, direction)
    log_sinh = double + (-torch.expm1(-2 * double)).log()
    same = w == 0
    across = log_sinh + log_sinh.mT + (torch.where(same, torch.ones_like(w), w) / 2).log()
    across = torch.where(same, torch.full_like(w, NEVER), across)
    # each is times 4 so far, which C² then is, too
    along = double - double.mT
    apart = torch.cat((_log_two_cosh(along) + LOG_2, across), -1).logsumexp((-2, -1))[..., None]
    log_cosh = _log_two_cosh(double).logsumexp(-2)
    most = log_sinh.amax(-2, keepdim=True).detach()
    total = ((log_sinh - most).exp() * direction).sum(-2)
    share = safe_norm(total) * (most.squeeze(-2) - log_cosh).exp()
    artanh = share.log1p() + log_cosh - apart / 2
    one = scale.squeeze(-2) if scale.dim() > 1 else scale
    return total / safe_norm(total) * artanh / (2 * one)


def _log_two_cosh(x: Tensor) -> Tensor:
    return x + softplus(-2 * x, threshold=40.0)
