"""The Poincaré ball B_c = {x : c|x|² < 1} of curvature -c, as plain functions of (points, c).

Points are (..., d). The curvature `c` is a scalar tensor, or broadcasts against (..., 1). Every
function is twice differentiable in its points and in c, including at c = 0 (Euclidean space). None
branches on data, so all of them run under `torch.func.vmap`. Names are as in
`geoopt.manifolds.stereographic.math`.

Formulas: Ganea, Bécigneul, Hofmann, "Hyperbolic Neural Networks" (NeurIPS 2018), and Shimizu,
Mukuta, Harada, "Hyperbolic Neural Networks++" (ICLR 2021).
"""

import torch
from torch import Tensor

from hsac.ball.arsinh import arsinh
from hsac.ball.pairwise import squared_differences
from hsac.ball.series import asinhc, atanhc, sinhc_coshr, tanhc

# How far `project` keeps points from the boundary: nearer to it, 1 - c|x|² is mostly rounding.
# The values are geoopt's. In float32 a point is thus at most 6.2/√c from the origin.
BOUNDARY = {torch.float32: 4e-3, torch.float64: 1e-5}


def squared_norm(x: Tensor) -> Tensor:
    """Compute |x|² over the last axis, which is kept.

    Args:
        x: Vectors (..., d).

    Returns:
        Squared norms (..., 1).
    """
    return (x * x).sum(-1, keepdim=True)


def safe_norm(x: Tensor) -> Tensor:
    """Compute |x| over the last axis, which is kept, with finite derivatives at 0.

    Args:
        x: Vectors (..., d).

    Returns:
        Norms (..., 1).
    """
    # The root's second derivative at 0 goes as shift^(-3/2). It would overflow for tiny itself.
    return (squared_norm(x) + torch.finfo(x.dtype).tiny ** 0.5).sqrt()


def clip_norm(u: Tensor, radius: float) -> Tensor:
    """Scale vectors longer than a radius down to it (Guo et al., CVPR 2022).

    Points of clipped tangent vectors are at most 2·radius apart, for any c.

    Args:
        u: Tangent vectors at the origin (..., d).
        radius: Largest norm, above 0.

    Returns:
        The clipped vectors (..., d).
    """
    return u * (radius / safe_norm(u)).clamp(max=1.0)


def project(x: Tensor, c: Tensor) -> Tensor:
    """Pull points at or beyond the boundary to √c|x| = 1 - ε, with ε by dtype (`BOUNDARY`).

    It is the identity inside.

    Args:
        x: Points (..., d).
        c: Curvature.

    Returns:
        Points inside the ball (..., d).
    """
    s = c * squared_norm(x)
    edge = 1 - BOUNDARY[x.dtype]
    outside = s > edge**2
    # the inner choice keeps the root away from 0, where its derivative would be infinite
    return torch.where(outside, x * (edge / torch.where(outside, s, torch.ones_like(s)).sqrt()), x)


def conformal_factor(x: Tensor, c: Tensor) -> Tensor:
    """Compute the conformal factor λ_x = 2/(1 - c|x|²).

    Args:
        x: Points (..., d).
        c: Curvature.

    Returns:
        λ_x (..., 1), which is 2 at c = 0.
    """
    return 2 / (1 - c * squared_norm(x))


def mobius_add(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Compute the Möbius sum x ⊕_c y, which is x + y at c = 0.

    Args:
        x: Points (..., d).
        y: Points (..., d).
        c: Curvature.

    Returns:
        Points (..., d).
    """
    xy = (x * y).sum(-1, keepdim=True)
    xx, yy = squared_norm(x), squared_norm(y)
    # Inside the ball the denominator is at least (1 - c|x||y|)², so it needs no clamp.
    return ((1 + 2 * c * xy + c * yy) * x + (1 - c * xx) * y) / (1 + 2 * c * xy + c * c * xx * yy)


def mobius_scalar_mul(r: Tensor, x: Tensor, c: Tensor) -> Tensor:
    """Compute the Möbius scalar product r ⊗_c x = expmap0(r logmap0(x)), which is r x at c = 0.

    Args:
        r: Factor, a scalar or (..., 1).
        x: Points (..., d).
        c: Curvature.

    Returns:
        Points (..., d).
    """
    return expmap0(r * logmap0(x, c), c)


def expmap0(u: Tensor, c: Tensor) -> Tensor:
    """Compute the exponential map at the origin, tanh(√c|u|) u/(√c|u|).

    Args:
        u: Tangent vectors at the origin (..., d).
        c: Curvature.

    Returns:
        Points (..., d).
    """
    return tanhc(c * squared_norm(u)) * u


def logmap0(x: Tensor, c: Tensor) -> Tensor:
    """Compute the logarithmic map at the origin, artanh(√c|x|) x/(√c|x|).

    Args:
        x: Points (..., d).
        c: Curvature.

    Returns:
        Tangent vectors at the origin (..., d).
    """
    return atanhc(c * squared_norm(x)) * x


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
    return mobius_add(x, tanhc(c * half * half * squared_norm(u)) * half * u, c)


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
    return atanhc(c * squared_norm(z)) * z * 2 / conformal_factor(x, c)


def squared_distance(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Compute the squared geodesic distance, which is smooth also at x = y.

    d² = 4δ·(arsinh(√(cδ))/√(cδ))² with δ = |x-y|²/((1-c|x|²)(1-c|y|²)). At c = 0 it is 4|x-y|².

    Args:
        x: Points (..., d).
        y: Points (..., d).
        c: Curvature, which broadcasts against (..., 1).

    Returns:
        Squared distances (...).
    """
    delta = squared_norm(x - y) / ((1 - c * squared_norm(x)) * (1 - c * squared_norm(y)))
    # Unlike artanh of |-x ⊕ y|, arsinh has no pole where points are at the boundary.
    return (4 * delta * asinhc(c * delta).square()).squeeze(-1)


def pairwise_squared_distance(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Compute `squared_distance` of all pairs, with memory for the pairs alone.

    Args:
        x: Points (..., n, d).
        y: Points (..., m, d).
        c: Curvature.

    Returns:
        Squared distances (..., n, m).
    """
    # an outer product: (..., n, 1) times (..., 1, m)
    outer = (1 - c * squared_norm(x)) * (1 - c * squared_norm(y)).mT
    delta = squared_differences(x, y) / outer
    return 4 * delta * asinhc(c * delta).square()


def dist(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Compute the geodesic distance (2/√c) artanh(√c|-x ⊕ y|).

    Its gradient is finite also at x = y.

    Args:
        x: Points (..., d).
        y: Points (..., d).
        c: Curvature, which broadcasts against (..., 1).

    Returns:
        Distances (...).
    """
    return _root(squared_distance(x, y, c))


def pairwise_distance(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Compute `dist` of all pairs, with memory for the pairs alone.

    Args:
        x: Points (..., n, d).
        y: Points (..., m, d).
        c: Curvature.

    Returns:
        Distances (..., n, m).
    """
    return _root(pairwise_squared_distance(x, y, c))


def _root(square: Tensor) -> Tensor:
    # As in `safe_norm`, so that derivatives are finite also at x = y.
    return (square + torch.finfo(square.dtype).tiny ** 0.5).sqrt()


def midpoint(x: Tensor, c: Tensor) -> Tensor:
    """Compute the Möbius gyromidpoint over axis -2, which is the Einstein midpoint in this model.

    It is ½ ⊗ Σ λ_i x_i / Σ (λ_i - 1), and the mean at c = 0 (Ungar 2008; Shimizu et al. 2021,
    eq. 15).

    Args:
        x: Points (..., n, d).
        c: Curvature.

    Returns:
        Midpoints (..., d).
    """
    gamma = conformal_factor(x, c)
    # λ - 1 is at least 1, so this divides by no 0.
    mean = (gamma * x).sum(-2) / (gamma - 1).sum(-2)
    # ½ ⊗ y = y/(1 + √(1 - c|y|²)). Rounding can bring y to the boundary, hence the clamp.
    s = c * squared_norm(mean)
    return mean / (1 + (1 - s).clamp(min=torch.finfo(x.dtype).eps).sqrt())


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
    gamma = conformal_factor(x, c)
    # eq. 6 has sinh and cosh of 2√c r
    sinh, cosh = sinhc_coshr(4 * c * r * r)
    return _mlr(gamma * x, gamma - 1, sinh, cosh, z, r, c)


def mlr_logits_tangent(u: Tensor, z: Tensor, r: Tensor, c: Tensor) -> Tensor:
    """Compute `mlr_logits(expmap0(u, c), z, r, c)` without going through the points.

    With x = expmap0(u), λ_x x = u·2 sinhc(4c|u|²) and λ_x - 1 = cosh(2√c|u|). So nothing has to be
    projected, and the result is exact for every |u|.

    Args:
        u: Tangent vectors at the origin (B, d).
        z: Normals (K, d).
        r: Offsets (K,).
        c: Curvature, a scalar.

    Returns:
        Logits (B, K).
    """
    # the tensors are small, so that one call costs less than two
    squares = torch.cat((squared_norm(u).squeeze(-1), r * r))
    both_sinh, both_cosh = sinhc_coshr(4 * c * squares)
    sinh, sinh_r = both_sinh.split((len(u), len(r)))
    cosh, cosh_r = both_cosh.split((len(u), len(r)))
    return _mlr(2 * sinh[:, None] * u, cosh[:, None], sinh_r, cosh_r, z, r, c)


def _mlr(
    scaled: Tensor,
    gamma_minus_1: Tensor,
    sinh: Tensor,
    cosh: Tensor,
    z: Tensor,
    r: Tensor,
    c: Tensor,
) -> Tensor:
    # The product of matrices is the largest tensor: every factor but the last goes into it.
    length = safe_norm(z)
    normals = z * (cosh[:, None] / length)
    # √c t is the argument of arsinh in eq. 6.
    t = torch.addmm(gamma_minus_1 @ (-2 * r * sinh)[None], scaled, normals.mT)
    return 2 * length.squeeze(-1) * arsinh(t, c)
