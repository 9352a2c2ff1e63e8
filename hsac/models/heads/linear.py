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

    It starts as the Poincaré MLR does at c = 0, which is 4 (u·z - |z| r). At one learning rate the
    MLR's steps are longer.

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
    curved: ClassVar[bool] = False
    vmapped: ClassVar[bool] = True
    points: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        check_scale(self.scale, self.start, self.rate)

    def init(self, generator: Generator) -> Params:
        """Draw weights z (K, d), and biases r (K,) of 0.

        Args:
            generator: Draws the start, in float64.

        Returns:
            The parameters, by name.
        """
        shape = (self.classes, self.dim)
        # four times the Poincaré MLR's normals, because its logits are 4 u·z at c = 0
        z = torch.randn(shape, generator=generator, dtype=torch.float64) * (2 / self.dim**0.5)
        params = {"z": z, "r": torch.zeros(self.classes, dtype=torch.float64)}
        return params | scale_start(self.scale, self.start, self.rate)

    def forward(self, params: Params, c: Tensor, u: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            params: The parameters, as `init` returns them.
            c: Not used.
            u: Features (B, d).

        Returns:
            Logits (B, K).
        """
        return scaled(torch.addmm(params["r"], u, params["z"].mT), params, self.start, self.rate)
