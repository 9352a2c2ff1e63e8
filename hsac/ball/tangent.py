"""Distances and midpoints of points that are given as tangent vectors at the origin.

A point far from the origin has no digits left for its distance from the boundary: 1 - c|x|² is
4exp(-2a) with a = √c|u| for x = expmap0(u). These functions get the far ones from norms and
directions of tangent vectors. Nearer to the origin they are the functions of points, bit for bit.

With a, b the lengths, w = |u/|u| - v/|v||² and D half the distance in units of 1/√c, the law of
cosines is sinh² D = sinh²(a - b) + w sinh(2a) sinh(2b)/4.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

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


@dataclass(frozen=True)
class _Range:
    """Where the formulas of a floating-point type meet.

    Attributes:
        far: a from which a point is far. Then exp(-4a) is below rounding, and the features of the
            shipped studies, clipped to norm 2 with c up to 10, are all nearer.
        apart: sinh² D from which D is log(2 sinh D) to rounding.
        difference: Cap on a - b where points are not apart.
        growth: Cap on 4·min(a, b) there. Beyond, directions differ by less than rounding.
        exponent: Cap on exponents where all are divided by the largest.
    """

    far: float
    apart: float
    difference: float
    growth: float
    exponent: float


RANGES = {
    torch.float32: _Range(6.4, 1e7, 10.0, 60.0, 20.0),
    torch.float64: _Range(9.5, 1e16, 20.0, 100.0, 150.0),
}


def may_be_far(u: Tensor, c: Tensor) -> bool:
    """Return False where no point expmap0(u, c) is far, and this is known at once.

    Args:
        u: Tangent vectors at the origin (..., d).
        c: Curvature.

    Returns:
        Whether `replace_far` may change something.
    """
    s = c * squared_norm(u)
    return may_exceed(s, RANGES[s.dtype].far ** 2)


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
    more = torch.nn.functional.softplus(log_q, threshold=40.0)
    large = difference + torch.where(same, torch.zeros_like(more), more) / 2
    # And sinh² D = sinh²(a - b) + q exp(2|a - b|)/4 where it is not.
    capped = difference.clamp(max=at.difference)
    q = w * growth.clamp(max=at.growth).expm1() / 4
    s = capped.sinh().square() + q * (2 * capped).exp() / 4
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
    near = pairwise_squared_distance(expmap0(u, c), expmap0(v, c), c)
    if not may_be_far(u, c) and not may_be_far(v, c):
        return near
    return replace_far(near, u, v, c)


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
    near = squared_distance(expmap0(u, c), expmap0(v, c), c)
    if may_be_far(u, c) or may_be_far(v, c):
        first, second = safe_norm(u), safe_norm(v)
        w = squared_norm(u / first - v / second)
        near = _replaced(near[..., None], first, second, w, c).squeeze(-1)
    return root(near)


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
    # With L = cosh 2a and S the sum of sinh(2a) u/|u|, it has the direction of S, and its length
    # is ½ artanh(|S|/ΣL)/√c. Their difference is a sum of positive terms.
    length = safe_norm(u)
    scale = c.clamp(min=FLOOR).sqrt()
    a, direction = scale * length, u / length
    # the largest exponent, which cancels
    most = (2 * a - RANGES[a.dtype].exponent).clamp(min=0).amax(-2, keepdim=True).detach()
    up, down = (2 * a - most).exp(), (-2 * a - most).exp()
    total = ((up - down) / 2 * direction).sum(-2, keepdim=True)
    size = safe_norm(total)
    w = squared_norm(direction - total / size)
    apart = (down + (up - down) / 4 * w).sum(-2, keepdim=True)
    cosh = ((up + down) / 2).sum(-2, keepdim=True)
    ratio = (cosh + size) / apart.clamp(min=torch.finfo(a.dtype).tiny)
    return (total / size * ratio.log() / (4 * scale)).squeeze(-2)
