"""Linear head."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from hsac.models.heads._scale import check_scale, scale_start, scaled
from hsac.models.layers import Params


@dataclass(frozen=True)
class Linear:
    """Euclidean linear layer on the features: no curvature of its own.

    It starts as the Poincaré MLR does at c = 0, which is 4 (u·z - |z| r): at one learning rate the
    MLR's steps are longer.
    """

    dim: int
    classes: int
    scale: str = "fixed"
    start: float = 1.0
    rate: float = 1.0
    curved: ClassVar[bool] = False
    vmapped: ClassVar[bool] = True
    points: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        check_scale(self.scale, self.start, self.rate)

    def init(self, generator: Generator) -> Params:
        """Weights z (K, d), biases r (K,)."""
        z = torch.randn((self.classes, self.dim), generator=generator, dtype=torch.float64) * (
            2 / self.dim**0.5
        )
        return {"z": z, "r": torch.zeros(self.classes, dtype=torch.float64)} | scale_start(
            self.scale, self.start, self.rate
        )

    def forward(self, params: Params, c: Tensor, u: Tensor) -> Tensor:
        """u (B, d) -> logits (B, K)."""
        return scaled(torch.addmm(params["r"], u, params["z"].mT), params, self.start, self.rate)
