"""Multinomial logistic regression in the Lorentz model."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from hsac.ball import mlr_logits_tangent
from hsac.models.heads._scale import check_scale, scale_start, scaled
from hsac.models.layers import Params


@dataclass(frozen=True)
class LorentzMlr:
    """MLR on the hyperboloid, the Poincaré MLR's functions by other weights.

    After Bdeir, Schwethelm, Landwehr (ICLR 2024), with the hyperplanes of Mishne et al. (ICML
    2023). On the hyperboloid -t² + |x|² = -1/c a class has the logit |z| times the signed distance
    from its hyperplane, arsinh(√c (cosh(√c r)⟨x, z⟩/|z| - sinh(√c r) t))/√c.

    Features are tangent vectors at the ball's origin, where the conformal factor is 2. The isometry
    makes u the point x = sinh(2√c|u|) u/(√c|u|). In these terms the logits are the Poincaré MLR's
    with z/2 and r/2, and they are computed so: coordinates of far points have no digits left, and t
    is infinite at c = 0. So the head can do what `poincare_mlr` can. It differs in what a step of
    an optimizer and weight decay do: at one learning rate, steps are shorter here.

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

        Logits start as those of `poincare_mlr`.

        Args:
            generator: Draws the start, in float64.

        Returns:
            The parameters, by name.
        """
        shape = (self.classes, self.dim)
        # twice the Poincaré MLR's normals
        z = torch.randn(shape, generator=generator, dtype=torch.float64) / self.dim**0.5
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
        logits = mlr_logits_tangent(u, params["z"] / 2, params["r"] / 2, c)
        return scaled(logits, params, self.start, self.rate)
