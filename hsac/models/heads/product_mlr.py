"""Multinomial logistic regression in a product of spaces of signed curvatures."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from hsac.ball import mlr_logits_tangent
from hsac.ball.sphere import spherical_mlr_logits_tangent
from hsac.models.heads._scale import check_scale, scale_start, scaled
from hsac.models.layers import Params
from hsac.parts import require

KINDS = {-1: "hyperbolic", 1: "spherical"}


@dataclass(frozen=True)
class ProductMlr:
    """MLR in a product of balls and spheres, each with a curvature of its own.

    After Gu et al. (ICLR 2019). The features are split evenly among the factors, and a class's
    logit is the sum of the factors' logits, as the linear classifiers of Tabaghi et al. (2021) sum
    signed distances. A ball has the logits of `poincare_mlr`, a sphere those of Bachmann et al.
    (ICML 2020). At c = 0 the head is a linear layer.

    As in Gu et al., the signs are given and the sizes learned: each factor has a c > 0 like any
    layer, and a sphere's curvature is +c. No curvature changes its sign in training, though in
    Bachmann et al. it may: bounds and transform of c keep it above 0. No factor is flat or a line,
    because it would have no curvature to learn.

    Attributes:
        dim: Dimension of the features, filled in by the model.
        classes: Number of classes, filled in by the model.
        signs: Sign of each factor's curvature: -1 for a ball, 1 for a sphere. Each factor has two
            dimensions or more.
        scale: Whether the logits' scale is fixed or learned.
        start: Start of the scale.
        rate: A learned scale is exp(rate·s) with the weight s.
    """

    dim: int
    classes: int
    signs: tuple[int, ...] = (-1, 1)
    scale: str = "fixed"
    start: float = 1.0
    rate: float = 1.0
    curved: ClassVar[bool] = True
    vmapped: ClassVar[bool] = True
    points: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        check_scale(self.scale, self.start, self.rate)
        known = all(sign in KINDS for sign in self.signs)
        # a line is not curved: c would change nothing
        most = self.dim // 2
        fits = 1 <= len(self.signs) <= most
        allowed = f"a list of -1 and 1, at most {most} where features have {self.dim} dimensions"
        require(known and fits, "signs", list(self.signs), allowed)

    @property
    def curvature_names(self) -> tuple[str, ...]:
        """Return one name a factor, which tells the sign of its curvature."""
        return tuple(f"{i}.{KINDS[sign]}" for i, sign in enumerate(self.signs))

    def init(self, generator: Generator) -> Params:
        """Draw normals z (K, d) of all factors, and offsets r (K, factors) of 0.

        With one factor, a ball, they start as those of `poincare_mlr`.

        Args:
            generator: Draws the start, in float64.

        Returns:
            The parameters, by name.
        """
        shape = (self.classes, self.dim)
        z = torch.randn(shape, generator=generator, dtype=torch.float64) / (2 * self.dim**0.5)
        params = {"z": z, "r": torch.zeros(self.classes, len(self.signs), dtype=torch.float64)}
        return params | scale_start(self.scale, self.start, self.rate)

    def forward(self, params: Params, c: Tensor, u: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            params: The parameters, as `init` returns them.
            c: Sizes of the factors' curvatures (factors,).
            u: Tangent features at the origin (B, d). Where d is no multiple of the factors, the
                first ones have a dimension more.

        Returns:
            Logits (B, K).
        """
        count = len(self.signs)
        split = zip(u.tensor_split(count, -1), params["z"].tensor_split(count, -1), strict=True)
        logits = []
        for i, (features, normals) in enumerate(split):
            of_factor = mlr_logits_tangent if self.signs[i] < 0 else spherical_mlr_logits_tangent
            logits.append(of_factor(features, normals, params["r"][:, i], c[i]))
        return scaled(torch.stack(logits).sum(0), params, self.start, self.rate)
