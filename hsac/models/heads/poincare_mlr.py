"""Poincaré multinomial logistic regression."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from hsac.ball import mlr_logits_tangent
from hsac.models.layers import Params


@dataclass(frozen=True)
class PoincareMlr:
    """Unidirectional Poincaré MLR (Shimizu et al., ICLR 2021); a linear layer at c = 0."""

    dim: int
    classes: int

    def init(self, generator: Generator) -> Params:
        """Normals z (K, d), offsets r (K,)."""
        z = torch.randn((self.classes, self.dim), generator=generator, dtype=torch.float64) / (2 * self.dim**0.5)
        return {"z": z, "r": torch.zeros(self.classes, dtype=torch.float64)}

    def forward(self, params: Params, c: Tensor, u: Tensor) -> Tensor:
        """u (B, d) tangent features -> logits (B, K)."""
        return mlr_logits_tangent(u, params["z"], params["r"], c)
