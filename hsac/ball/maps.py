"""The Poincaré ball B_c = {x : c|x|² < 1} of curvature -c, as plain functions of (points, c).

Points are (..., d). The curvature `c` is a scalar tensor, or broadcasts against (..., 1); another
shape is refused. Every function is twice differentiable in its points and in c, including at c = 0
(Euclidean space), in reverse and in forward mode. None branches on data, so all of them run under
`torch.func.vmap` and `torch.compile(fullgraph=True)`. Names are as in
`geoopt.manifolds.stereographic.math`.

Half precision and integers are computed and returned in float32, and autocast is off inside. Call
`backward` outside of autocast, as torch asks.

A point that is farther than 13/√c from the origin (float64: 30/√c) has too few digits left for its
distance from the boundary. What has to be right beyond takes tangent vectors at the origin:
`mlr_logits_tangent`, `dist_tangent` and `pairwise_squared_distance_tangent`.

Formulas: Ganea, Bécigneul, Hofmann, "Hyperbolic Neural Networks" (NeurIPS 2018), and Shimizu,
Mukuta, Harada, "Hyperbolic Neural Networks++" (ICLR 2021).
"""

import torch
from torch import Tensor

from hsac.ball.arsinh import arsinh
from hsac.ball.inputs import (
    check_last_axis,
    check_same_dimension,
    check_scalar,
    full_precision,
    may_exceed,
)
from hsac.ball.pairwise import squared_differences
from hsac.ball.series import asinhc, atanhc, sinhc_coshr, tanhc
from hsac.errors import InputError

# How far `project` keeps points from the boundary: nearer to it, 1 - c|x|² is mostly rounding.
# The values are geoopt's. In float32 a point is thus at most 6.2/√c from the origin.
BOUNDARY = {torch.float32: 4e-3, torch.float64: 1e-5}
# Arguments of sinh and cosh up to which the logits' own formula is used. The square of a product of
# two of these numbers does not overflow.
LIMIT = {torch.float32: 20.0, torch.float64: 150.0}
# Squares up to which a root is not taken, as its derivatives would overflow in float32.
SHORT = 1e-12


@full_precision
def squared_norm(x: Tensor) -> Tensor:
    """Compute |x|² over the last axis, which is kept.

    Args:
        x: Vectors (..., d).

    Returns:
        Squared norms (..., 1).
    """
    return _square(x)


def _square(x: Tensor) -> Tensor:
    return (x * x).sum(-1, keepdim=True)


def _times_square(c: Tensor, x: Tensor) -> Tensor:
    """Compute c|x|² (..., 1), where c has one number a point at most."""
    check_last_axis("c", c)
    return c * _square(x)


def check_common(c: Tensor) -> None:
    """Refuse a c of more than one value for points that are combined along axis -2.

    Args:
        c: Curvature.

    Raises:
        InputError: Its shape is neither () nor (1,), and does not end in (1, 1).
    """
    check_last_axis("c", c)
    if isinstance(c, Tensor) and c.dim() > 1 and c.shape[-2] != 1:
        raise InputError(
            f"c: found the shape {tuple(c.shape)}, a curvature a point; allowed is one for all"
            " points that are combined: a scalar, or a shape that ends in (1, 1)"
        )


def _gap(x: Tensor, c: Tensor) -> Tensor:
    # 1 - c|x|², which rounding can bring to 0: there it stays at the least value that it can have.
    return (1 - _times_square(c, x)).clamp(min=torch.finfo(x.dtype).eps / 2)


@full_precision
def safe_norm(x: Tensor) -> Tensor:
    """Compute |x| over the last axis, which is kept, with finite derivatives at 0.

    Args:
        x: Vectors (..., d).

    Returns:
        Norms (..., 1).
    """
    # The root's second derivative at 0 goes as shift^(-3/2). It would overflow for tiny itself.
    return (_square(x) + torch.finfo(x.dtype).tiny ** 0.5).sqrt()


@full_precision
def clip_norm(u: Tensor, radius: float) -> Tensor:
    """Scale vectors longer than a radius down to it (Guo et al., CVPR 2022).

    Points of clipped tangent vectors are at most 2·radius apart, for any c.

    Args:
        u: Tangent vectors at the origin (..., d).
        radius: Largest norm, above 0.

    Returns:
        The clipped vectors (..., d).
    """
    check_last_axis("radius", radius)
    return u * (radius / safe_norm(u)).clamp(max=1.0)


@full_precision
def project(x: Tensor, c: Tensor) -> Tensor:
    """Pull points at or beyond the boundary to √c|x| = 1 - ε, with ε by dtype (`BOUNDARY`).

    It is the identity inside.

    Args:
        x: Points (..., d).
        c: Curvature.

    Returns:
        Points inside the ball (..., d).
    """
    s = _times_square(c, x)
    edge = 1 - BOUNDARY[x.dtype]
    outside = s > edge**2
    # the inner choice keeps the root away from 0, where its derivative would be infinite
    return torch.where(outside, x * (edge / torch.where(outside, s, torch.ones_like(s)).sqrt()), x)


@full_precision
def conformal_factor(x: Tensor, c: Tensor) -> Tensor:
    """Compute the conformal factor λ_x = 2/(1 - c|x|²).

    Args:
        x: Points (..., d).
        c: Curvature.

    Returns:
        λ_x (..., 1), which is 2 at c = 0.
    """
    return 2 / _gap(x, c)


@full_precision
def mobius_add(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Compute the Möbius sum x ⊕_c y, which is x + y at c = 0.

    Args:
        x: Points (..., d).
        y: Points (..., d).
        c: Curvature.

    Returns:
        Points (..., d).
    """
    check_last_axis("c", c)
    check_same_dimension(x, y)
    xy = (x * y).sum(-1, keepdim=True)
    xx, yy = _square(x), _square(y)
    above = (1 + 2 * c * xy + c * yy) * x + (1 - c * xx) * y
    # Inside the ball it is at least (1 - c|x||y|)². At the boundary rounding can bring it to 0.
    below = 1 + 2 * c * xy + c * c * xx * yy
    return above / below.clamp(min=torch.finfo(xy.dtype).eps ** 2)


@full_precision
def mobius_scalar_mul(r: Tensor, x: Tensor, c: Tensor) -> Tensor:
    """Compute the Möbius scalar product r ⊗_c x = expmap0(r logmap0(x)), which is r x at c = 0.

    Args:
        r: Factor, a scalar or (..., 1).
        x: Points (..., d).
        c: Curvature.

    Returns:
        Points (..., d).
    """
    check_last_axis("r", r)
    return expmap0(r * logmap0(x, c), c)


@full_precision
def expmap0(u: Tensor, c: Tensor) -> Tensor:
    """Compute the exponential map at the origin, tanh(√c|u|) u/(√c|u|).

    Args:
        u: Tangent vectors at the origin (..., d).
        c: Curvature.

    Returns:
        Points (..., d).
    """
    return tanhc(_times_square(c, u)) * u


@full_precision
def logmap0(x: Tensor, c: Tensor) -> Tensor:
    """Compute the logarithmic map at the origin, artanh(√c|x|) x/(√c|x|).

    Args:
        x: Points (..., d).
        c: Curvature.

    Returns:
        Tangent vectors at the origin (..., d).
    """
    return atanhc(_times_square(c, x)) * x


@full_precision
def expmap(x: Tensor, u: Tensor, c: Tensor) -> Tensor:
    """Compute the exponential map at x, x ⊕ tanh(√c λ_x|u|/2) u/(√c|u|).

    Args:
        x: Points (..., d).
        u: Tangent vectors at x (..., d).
        c: Curvature.

    Returns:
        Points (..., d).
    """
    # half = λ_x/2, which turns u into a tangent vector at the origin
    half = conformal_factor(x, c) / 2
    return mobius_add(x, tanhc(c * half * half * _square(u)) * half * u, c)


@full_precision
def logmap(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Compute the logarithmic map at x of y, (2/λ_x) artanh(√c|z|) z/(√c|z|) with z = -x ⊕ y.

    Args:
        x: Points (..., d).
        y: Points (..., d).
        c: Curvature.

    Returns:
        Tangent vectors at x (..., d).
    """
    z = mobius_add(-x, y, c)
    return atanhc(c * _square(z)) * z * 2 / conformal_factor(x, c)


@full_precision
def squared_distance(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Compute the squared geodesic distance, which is smooth also at x = y.

    d² = 4δ·(arsinh(√(cδ))/√(cδ))² with δ = |x-y|²/((1-c|x|²)(1-c|y|²)). At c = 0 it is 4|x-y|².

    Args:
        x: Points (..., d).
        y: Points (..., d).
        c: Curvature.

    Returns:
        Squared distances (...). Points at or beyond the boundary are taken as the last ones inside.
    """
    check_same_dimension(x, y)
    delta = _square(x - y) / (_gap(x, c) * _gap(y, c))
    # Unlike artanh of |-x ⊕ y|, arsinh has no pole where points are at the boundary.
    return (4 * delta * asinhc(c * delta).square()).squeeze(-1)


@full_precision
def pairwise_squared_distance(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Compute `squared_distance` of all pairs, with memory for the pairs alone.

    Args:
        x: Points (..., n, d).
        y: Points (..., m, d).
        c: Curvature, one for all pairs: a scalar, or (..., 1, 1).

    Returns:
        Squared distances (..., n, m).
    """
    check_common(c)
    # an outer product: (..., n, 1) times (..., 1, m)
    outer = _gap(x, c) * _gap(y, c).mT
    delta = squared_differences(x, y) / outer
    return 4 * delta * asinhc(c * delta).square()


@full_precision
def dist(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Compute the geodesic distance (2/√c) artanh(√c|-x ⊕ y|).

    Its gradient is finite also at x = y.

    Args:
        x: Points (..., d).
        y: Points (..., d).
        c: Curvature.

    Returns:
        Distances (...).
    """
    return root(squared_distance(x, y, c))


@full_precision
def pairwise_distance(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Compute `dist` of all pairs, with memory for the pairs alone.

    Args:
        x: Points (..., n, d).
        y: Points (..., m, d).
        c: Curvature, one for all pairs: a scalar, or (..., 1, 1).

    Returns:
        Distances (..., n, m).
    """
    return root(pairwise_squared_distance(x, y, c))


def root(square: Tensor) -> Tensor:
    """Compute the root of squared distances, with finite derivatives at 0.

    Args:
        square: Squared distances, any shape.

    Returns:
        Distances, of the same shape.
    """
    # as in `safe_norm`
    return (square + torch.finfo(square.dtype).tiny ** 0.5).sqrt()


@full_precision
def midpoint(x: Tensor, c: Tensor) -> Tensor:
    """Compute the Möbius gyromidpoint over axis -2, which is the Einstein midpoint in this model.

    It is ½ ⊗ Σ λ_i x_i / Σ (λ_i - 1), and the mean at c = 0 (Ungar 2008; Shimizu et al. 2021,
    eq. 15).

    Args:
        x: Points (..., n, d).
        c: Curvature, one for all points of a midpoint: a scalar, or (..., 1, 1).

    Returns:
        Midpoints (..., d).
    """
    check_common(c)
    gamma = conformal_factor(x, c)
    # λ - 1 is at least 1, so this divides by no 0.
    mean = (gamma * x).sum(-2) / (gamma - 1).sum(-2)
    # ½ ⊗ y = y/(1 + √(1 - c|y|²)). Rounding can bring y to the boundary, hence the clamp.
    one = c.squeeze(-2) if isinstance(c, Tensor) and c.dim() > 1 else c
    s = _times_square(one, mean)
    return mean / (1 + (1 - s).clamp(min=torch.finfo(x.dtype).eps).sqrt())


@full_precision
def mlr_logits(x: Tensor, z: Tensor, r: Tensor, c: Tensor) -> Tensor:
    """Compute the logits of Poincaré multinomial logistic regression (Shimizu et al. 2021, eq. 6).

    This is the unidirectional form: an offset and a normal a class. At c = 0 it is
    4(⟨x, z⟩ - r|z|).

    Args:
        x: Points (B, d).
        z: Normals (K, d).
        r: Offsets (K,).
        c: Curvature, a scalar.

    Returns:
        Logits (B, K).
    """
    check_scalar("c", c)
    gamma = conformal_factor(x, c)
    # eq. 6 has sinh and cosh of 2√c r
    sinh, cosh, beyond = _limited(4 * c * r * r, r * r)
    return _mlr((gamma * x, gamma - 1), (sinh, cosh), beyond, z, r, c)


@full_precision
def mlr_logits_tangent(u: Tensor, z: Tensor, r: Tensor, c: Tensor) -> Tensor:
    """Compute `mlr_logits(expmap0(u, c), z, r, c)` without going through the points.

    With x = expmap0(u), λ_x x = u·2 sinhc(4c|u|²) and λ_x - 1 = cosh(2√c|u|). So nothing has to be
    projected, and the result is right for every u whose square does not overflow. Logits of long u
    are small numbers, about 4⟨u, z⟩/cos(u, z) on either side of the hyperplane.

    Args:
        u: Tangent vectors at the origin (B, d).
        z: Normals (K, d).
        r: Offsets (K,).
        c: Curvature, a scalar.

    Returns:
        Logits (B, K).
    """
    check_scalar("c", c)
    # the tensors are small, so that one call costs less than two
    squares = torch.cat((_square(u).squeeze(-1), r * r))
    both_sinh, both_cosh, both_beyond = _limited(4 * c * squares, squares)
    sinh, sinh_r = both_sinh.split((len(u), len(r)))
    cosh, cosh_r = both_cosh.split((len(u), len(r)))
    beyond = None
    if both_beyond is not None:
        of_u, of_r = both_beyond.split((len(u), len(r)))
        beyond = of_u[:, None] + of_r
    return _mlr((2 * sinh[:, None] * u, cosh[:, None]), (sinh_r, cosh_r), beyond, z, r, c)


def _limited(s: Tensor, squares: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Compute sinhc(s) and cosh(√s) over exp(m), and m/√c, for s = 4cq and squares q.

    m is by how much √s exceeds the limit. Within it m is 0, and None stands for it where that is
    known.
    """
    limit = LIMIT[s.dtype]
    if not may_exceed(s, limit**2):
        return *sinhc_coshr(s), None
    # From the limit on sinh and cosh are exp/2 to rounding. sinhc is sinh over the root.
    share = limit / s.clamp(min=limit**2).sqrt()
    sinh, cosh = sinhc_coshr(s.clamp(max=limit**2))
    # As 2√q times a share, its derivative in c does not cancel. A short one's is 0.
    length = 2 * squares.clamp(min=SHORT).sqrt()
    return sinh * share, cosh, length * (1 - share)


def _mlr(
    of_x: tuple[Tensor, Tensor],
    of_r: tuple[Tensor, Tensor],
    beyond: Tensor | None,
    z: Tensor,
    r: Tensor,
    c: Tensor,
) -> Tensor:
    (scaled, gamma_minus_1), (sinh, cosh) = of_x, of_r
    # The product of matrices is the largest tensor: every factor but the last goes into it.
    length = safe_norm(z)
    normals = z * (cosh[:, None] / length)
    # √c t is the argument of arsinh in eq. 6.
    t = torch.addmm(gamma_minus_1 @ (-2 * r * sinh)[None], scaled, normals.mT)
    value = arsinh(t, c)
    if beyond is not None:
        # arsinh(exp(m) y) = arsinh(y) + m for y > 0, to rounding: where m is above 0, either y is
        # large, or rounding hides on which side of the hyperplane this is.
        value = torch.addcmul(value, t.detach().sign(), beyond)
    return 2 * length.squeeze(-1) * value
