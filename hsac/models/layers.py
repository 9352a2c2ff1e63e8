"""Pieces that several models share."""

import torch
from torch import Generator, Tensor

from hsac.ball import clip_norm

Params = dict[str, Tensor]


def he_normal(shape: tuple[int, ...], fan_in: int, generator: Generator) -> Tensor:
    """He et al. (ICCV 2015) normal start, float64 so that every dtype starts from the same numbers."""
    return torch.randn(shape, generator=generator, dtype=torch.float64) * (2 / fan_in) ** 0.5


def bounded(u: Tensor, clip: float, space: str) -> Tensor:
    """Tangent features clipped to norm `clip` in hyperbolic space; untouched in Euclidean space."""
    return u if space == "euclidean" else clip_norm(u, clip)
