"""The Poincaré ball B_c = {x : c|x|² < 1} of curvature -c, as plain functions of (points, c).

Shapes: points are (..., d), `c` is a scalar tensor or broadcasts against (..., 1). Every function
is twice differentiable in its points and in c, c = 0 (Euclidean space) included, and has no branch
on data, so `torch.func.vmap` takes it. Formulas: Ganea, Bécigneul, Hofmann, "Hyperbolic Neural
Networks" (NeurIPS 2018), and Shimizu, Mukuta, Harada, "Hyperbolic Neural Networks++" (ICLR 2021).
"""

import torch
from torch import Tensor

from hsac.ball.arsinh import arsinh
from hsac.ball.pairwise import squared_differences
from hsac.ball.series import asinhc, atanhc, sinhc_coshr, tanhc

BOUNDARY = {torch.float32: 4e-3, torch.float64: 1e-5}


def squared_norm(x: Tensor) -> Tensor:
    """|x|² over the last axis, kept: (..., d) -> (..., 1)."""
    return (x * x).sum(-1, keepdim=True)


def safe_norm(x: Tensor) -> Tensor:
    """|x| over the last axis, kept, with derivatives at 0 that are finite: (..., d) -> (..., 1)."""
    return (squared_norm(x) + torch.finfo(x.dtype).tiny ** 0.5).sqrt()


def clip_norm(u: Tensor, radius: float) -> Tensor:
    """Scale vectors longer than `radius` down to it (Guo et al., CVPR 2022); bounds distances by
    2·radius for any c.
    """
    return u * (radius / safe_norm(u)).clamp(max=1.0)


def project(x: Tensor, c: Tensor) -> Tensor:
    """Pull points at or beyond the boundary to √c|x| = 1 - eps (eps by dtype); the identity inside."""
    s = c * squared_norm(x)
    edge = 1 - BOUNDARY[x.dtype]
    outside = s > edge**2
    return torch.where(outside, x * (edge / torch.where(outside, s, torch.ones_like(s)).sqrt()), x)


def conformal_factor(x: Tensor, c: Tensor) -> Tensor:
    """λ_x = 2/(1 - c|x|²): (..., d) -> (..., 1)."""
    return 2 / (1 - c * squared_norm(x))


def mobius_add(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Möbius addition x ⊕_c y; x + y at c = 0."""
    xy = (x * y).sum(-1, keepdim=True)
    xx, yy = squared_norm(x), squared_norm(y)
    return ((1 + 2 * c * xy + c * yy) * x + (1 - c * xx) * y) / (1 + 2 * c * xy + c * c * xx * yy)


def mobius_scalar_mul(r: Tensor, x: Tensor, c: Tensor) -> Tensor:
    """Möbius scalar multiplication r ⊗_c x = expmap0(r logmap0(x)); r x at c = 0."""
    return expmap0(r * logmap0(x, c), c)


def expmap0(u: Tensor, c: Tensor) -> Tensor:
    """Exponential map at the origin: tanh(√c|u|) u/(√c|u|)."""
    return tanhc(c * squared_norm(u)) * u


def logmap0(x: Tensor, c: Tensor) -> Tensor:
    """Logarithmic map at the origin: artanh(√c|x|) x/(√c|x|)."""
    return atanhc(c * squared_norm(x)) * x


def expmap(x: Tensor, u: Tensor, c: Tensor) -> Tensor:
    """Exponential map at x: x ⊕ tanh(√c λ_x|u|/2) u/(√c|u|)."""
    half = conformal_factor(x, c) / 2
    return mobius_add(x, tanhc(c * half * half * squared_norm(u)) * half * u, c)


def logmap(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Logarithmic map at x of y: (2/λ_x) artanh(√c|z|) z/(√c|z|), z = -x ⊕ y."""
    z = mobius_add(-x, y, c)
    return atanhc(c * squared_norm(z)) * z * 2 / conformal_factor(x, c)


def squared_distance(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Geodesic distance squared, smooth also at x = y: (..., d), (..., d) -> (...).

    d² = 4δ·(arsinh(√(cδ))/√(cδ))², δ = |x-y|²/((1-c|x|²)(1-c|y|²)); 4|x-y|² at c = 0.
    """
    delta = squared_norm(x - y) / ((1 - c * squared_norm(x)) * (1 - c * squared_norm(y)))
    return (4 * delta * asinhc(c * delta).square()).squeeze(-1)


def pairwise_squared_distance(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """`squared_distance` of all pairs, in memory for the pairs alone: (..., n, d), (..., m, d) ->
    (..., n, m).
    """
    outer = (1 - c * squared_norm(x)) * (1 - c * squared_norm(y)).mT
    delta = squared_differences(x, y) / outer
    return 4 * delta * asinhc(c * delta).square()


def dist(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Geodesic distance (2/√c) artanh(√c|-x ⊕ y|): (..., d), (..., d) -> (...). Finite gradient at
    x = y.
    """
    return _root(squared_distance(x, y, c))


def pairwise_distance(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """`dist` of all pairs, in memory for the pairs alone: (..., n, d), (..., m, d) -> (..., n,
    m).
    """
    return _root(pairwise_squared_distance(x, y, c))


def _root(square: Tensor) -> Tensor:
    return (square + torch.finfo(square.dtype).tiny ** 0.5).sqrt()


def midpoint(x: Tensor, c: Tensor) -> Tensor:
    """Möbius gyromidpoint (the Einstein midpoint in this model) over axis -2: (..., n, d) -> (...,
    d).

    ½ ⊗ Σ λ_i x_i / Σ (λ_i - 1); the mean at c = 0 (Ungar 2008; Shimizu et al. 2021, eq. 15).
    """
    gamma = conformal_factor(x, c)
    mean = (gamma * x).sum(-2) / (gamma - 1).sum(-2)
    s = c * squared_norm(mean)
    return mean / (1 + (1 - s).clamp(min=torch.finfo(x.dtype).eps).sqrt())


def mlr_logits(x: Tensor, z: Tensor, r: Tensor, c: Tensor) -> Tensor:
    """Unidirectional Poincaré multinomial logistic regression of points (Shimizu et al. 2021, eq.
    6).

    x (B, d) on the ball, z (K, d) normals, r (K,) offsets -> (B, K). At c = 0: 4(⟨x, z⟩ - r|z|).
    """
    gamma = conformal_factor(x, c)
    sinh, cosh = sinhc_coshr(4 * c * r * r)
    return _mlr(gamma * x, gamma - 1, sinh, cosh, z, r, c)


def mlr_logits_tangent(u: Tensor, z: Tensor, r: Tensor, c: Tensor) -> Tensor:
    """`mlr_logits(expmap0(u, c), z, r, c)` without passing by the boundary: no projection, exact for
    every |u|.

    λ_x x = u·2 sinhc(4c|u|²) and λ_x - 1 = cosh(2√c|u|) for x = expmap0(u). u (B, d) -> (B, K).
    """
    squares = torch.cat(
        (squared_norm(u).squeeze(-1), r * r)
    )  # small tensors: one call costs less than two
    (sinh, sinh_r), (cosh, cosh_r) = (
        f.split((len(u), len(r))) for f in sinhc_coshr(4 * c * squares)
    )
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
    # every factor but the last goes into the product of matrices, whose result is the largest
    # tensor
    length = safe_norm(z)
    normals = z * (cosh[:, None] / length)
    t = torch.addmm(gamma_minus_1 @ (-2 * r * sinh)[None], scaled, normals.mT)
    return 2 * length.squeeze(-1) * arsinh(t, c)
