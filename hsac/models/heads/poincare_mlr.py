"""Poincaré multinomial logistic regression."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from hsac.ball import mlr_logits_tangent
from hsac.models.heads._scale import check_scale, scale_start, scaled
from hsac.models.layers import Params


@dataclass(frozen=True)
class PoincareMlr:
    """Unidirectional Poincaré MLR, a linear layer at c = 0.

    After Shimizu et al. (ICLR 2021).

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
    vmapped: ClassVar[bool] = True
    points: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        check_scale(self.scale, self.start, self.rate)

    def init(self, generator: Generator) -> Params:
        """Draw normals z (K, d), and offsets r (K,) of 0.

        Args:
            generator: Draws the start, in float64.

        Returns:
            The parameters, by name.
        """
        shape = (self.classes, self.dim)
        # At c = 0 logits are 4 u·z, so they start with standard deviation 2|u|/√dim.
        z = torch.randn(shape, generator=generator, dtype=torch.float64) / (2 * self.dim**0.5)
        params = {"z": z, "r": torch.zeros(self.classes, dtype=torch.float64)}
        return params | scale_start(self.scale, self.start, self.rate)

    def forward(self, params: Params, c: Tensor, u: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            params: The parameters, as `init` returns them.
            c: The head's curvature, a scalar.
            u: Tangent features at the origin (B, d).

        Returns:
            Logits (B, K).
        """
        logits = mlr_logits_tangent(u, params["z"], params["r"], c)
        return scaled(logits, params, self.start, self.rate)
