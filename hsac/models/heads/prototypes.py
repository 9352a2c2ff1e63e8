"""Head of learned prototypes."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from hsac.ball import pairwise_squared_distance_tangent
from hsac.models.heads._scale import check_scale, scale_start, scaled
from hsac.models.layers import Params, check_power, distance_power


@dataclass(frozen=True)
class Prototypes:
    """One learned prototype a class, logits -scale·d² or -scale·d.

    After Snell et al. (NeurIPS 2017), on the ball as Khrulkov et al. (CVPR 2020). At c = 0 the
    distance is twice the Euclidean one. Prototypes are kept as tangent vectors at the origin.

    Attributes:
        dim: Dimension of the features, filled in by the model.
        classes: Number of classes, filled in by the model.
        power: Power of the distance in the logits: 2, or 1 for -scale·d.
        scale: Whether the logits' scale is fixed or learned.
        start: Start of the scale.
        rate: A learned scale is exp(rate·s) with the weight s.
    """

    dim: int
    classes: int
    power: int = 2
    # In -scale·d² curvature acts as a scale, too. A fixed one would let c stand in for it.
    scale: str = "learned"
    start: float = 1.0
    rate: float = 1.0
    curved: ClassVar[bool] = True
    vmapped: ClassVar[bool] = True
    points: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        check_power(self.power)
        check_scale(self.scale, self.start, self.rate)

    def init(self, generator: Generator) -> Params:
        """Draw prototypes z (K, d), of norm about 1.

        Args:
            generator: Draws the start, in float64.

        Returns:
            The parameters, by name.
        """
        shape = (self.classes, self.dim)
        z = torch.randn(shape, generator=generator, dtype=torch.float64) / self.dim**0.5
        return {"z": z} | scale_start(self.scale, self.start, self.rate)

    def forward(self, params: Params, c: Tensor, u: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            params: The parameters, as `init` returns them.
            c: The head's curvature, a scalar.
            u: Tangent features at the origin (B, d).

        Returns:
            Logits (B, K).
        """
        # tangent vectors, because points would leave the ball as it shrinks
        distance = pairwise_squared_distance_tangent(u, params["z"], c)
        return scaled(-distance_power(distance, self.power), params, self.start, self.rate)
