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
    """Unidirectional Poincaré MLR (Shimizu et al., ICLR 2021); a linear layer at c = 0."""

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
        """Normals z (K, d), offsets r (K,)."""
        z = torch.randn((self.classes, self.dim), generator=generator, dtype=torch.float64) / (
            2 * self.dim**0.5
        )
        return {"z": z, "r": torch.zeros(self.classes, dtype=torch.float64)} | scale_start(
            self.scale, self.start, self.rate
        )

    def forward(self, params: Params, c: Tensor, u: Tensor) -> Tensor:
        """u (B, d) tangent features -> logits (B, K)."""
        return scaled(
            mlr_logits_tangent(u, params["z"], params["r"], c), params, self.start, self.rate
        )
