"""The Poincaré ball: maps as plain functions of (points, c), and the curvature parameter.

The names are geoopt's. The sign is not: `c` is positive, and the ball has curvature -c.
"""

from hsac.ball.curvature import Curvature, Transform
from hsac.ball.maps import (
    clip_norm,
    conformal_factor,
    dist,
    expmap,
    expmap0,
    logmap,
    logmap0,
    midpoint,
    mlr_logits,
    mlr_logits_tangent,
    mobius_add,
    mobius_scalar_mul,
    pairwise_distance,
    pairwise_squared_distance,
    project,
    squared_distance,
)
from hsac.ball.tangent import dist_tangent, pairwise_squared_distance_tangent

__all__ = [
    "Curvature",
    "Transform",
    "clip_norm",
    "conformal_factor",
    "dist",
    "dist_tangent",
    "expmap",
    "expmap0",
    "logmap",
    "logmap0",
    "midpoint",
    "mlr_logits",
    "mlr_logits_tangent",
    "mobius_add",
    "mobius_scalar_mul",
    "pairwise_distance",
    "pairwise_squared_distance",
    "pairwise_squared_distance_tangent",
    "project",
    "squared_distance",
]
