"""Poincaré multinomial logistic regression by geoopt."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from hsac import imports
from hsac.models.heads._scale import check_scale, scale_start, scaled
from hsac.models.layers import Params

with imports.quiet():
    from geoopt.manifolds.stereographic import math as stereographic


@dataclass(frozen=True)
class GeooptMlr:
    """Poincaré MLR by geoopt's maps, with points p and normals a.

    After Ganea et al. (NeurIPS 2018, eq. 24): an independent implementation, to cross-check
    `poincare_mlr`. Points lie on the ball. With the weight rule `riemannian_adam` geoopt trains
    them as such. Another rule moves them as vectors, and where one leaves the ball, or the ball
    shrinks away from it, its projection is used.

    Attributes:
        dim: Dimension of the features, filled in by the model.
        classes: Number of classes, filled in by the model.
        scale: Whether the logits' scale is fixed or learned.
        start: Start of the scale.
        rate: A learned scale is exp(rate·s) with the weight s.
    """

    dim: int
    classes: int
    scale: str = "fixed"
    start: float = 1.0
    rate: float = 1.0
    curved: ClassVar[bool] = True
    vmapped: ClassVar[bool] = False  # geoopt's maps are scripted
    points: ClassVar[tuple[str, ...]] = ("p",)

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        check_scale(self.scale, self.start, self.rate)

    def init(self, generator: Generator) -> Params:
        """Draw points p (K, d) at the origin and normals a (K, d).

        Logits start as those of `poincare_mlr`.

        Args:
            generator: Draws the start, in float64.

        Returns:
            The parameters, by name.
        """
        shape = (self.classes, self.dim)
        # From p = 0 the logits are those of `poincare_mlr` with the normals a.
        a = torch.randn(shape, generator=generator, dtype=torch.float64) / (2 * self.dim**0.5)
        return {"p": torch.zeros_like(a), "a": a} | scale_start(self.scale, self.start, self.rate)

    def forward(self, params: Params, c: Tensor, u: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            params: The parameters, as `init` returns them.
            c: The head's curvature, a scalar.
            u: Tangent features at the origin (B, d).

        Returns:
            Logits (B, K).
        """
        # geoopt's curvature is negative, ours is not
        k = -c
        # another weight rule than geoopt's may have moved p off the ball
        p = stereographic.project(params["p"], k=k)
        x = stereographic.expmap0(u, k=k)[:, None]
        distance = stereographic.dist2plane(x, p, params["a"], k=k, signed=True, scaled=True)
        return scaled(stereographic.lambda_x(p, k=k) * distance, params, self.start, self.rate)
