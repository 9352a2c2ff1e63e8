"""Multilayer perceptron with a hyperbolic head."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Generator, Tensor

from hsac.models.heads import Headed
from hsac.models.layers import Params, bounded, channels, he_normal, with_channels
from hsac.parts import require


@dataclass(frozen=True)
class Mlp(Headed):
    """ReLU layers of width `hidden`, features of dimension `dim` clipped to norm `clip`, Poincaré
    MLR.

    Images are average-pooled by `pool` first. One curvature, the head's.
    """

    inputs: tuple[int, ...]
    classes: int
    space: str
    hidden: int = 64
    layers: int = 1
    dim: int = 8
    clip: float = 2.0
    pool: int = 1
    head: dict = None  # type: ignore[assignment]
    vmapped: ClassVar[bool] = True
    dtype: ClassVar[torch.dtype] = torch.float64

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        for name in ("hidden", "layers", "dim", "pool"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "an integer from 1")
        side = min(self.inputs[-2:])
        require(self.pool <= side, "pool", self.pool, f"at most the image's side, {side}")
        require(self.clip > 0, "clip", self.clip, "a number above 0")

    def _widths(self) -> list[int]:
        height, width = self.inputs[-2:]
        pixels = channels(self.inputs) * (height // self.pool) * (width // self.pool)
        return [pixels, *[self.hidden] * self.layers, self.dim]

    def init(self, generator: Generator) -> Params:
        """Weights (out, in) and biases (out,) a layer, and the head's."""
        widths = self._widths()
        params: Params = {}
        for i, (fan_in, out) in enumerate(pairwise(widths)):
            params[f"w{i}"] = he_normal((out, fan_in), fan_in, generator)
            params[f"b{i}"] = torch.zeros(out, dtype=torch.float64)
        return params | self.classifier.init(generator)

    def embed(self, params: Params, c: Tensor, x: Tensor) -> Tensor:
        """Images x (B, H, W) or (B, 3, H, W) in [0, 1] -> tangent features at the origin (B, d)."""
        x = (
            torch.nn.functional.avg_pool2d(with_channels(x, self.inputs), self.pool)
            if self.pool > 1
            else x
        )
        u = x.flatten(1)
        for i in range(self.layers + 1):
            u = torch.addmm(params[f"b{i}"], u if i == 0 else u.relu(), params[f"w{i}"].mT)
        return bounded(u, self.clip, self.space)

    def forward(self, params: Params, c: Tensor, x: Tensor) -> Tensor:
        """Images x (B, H, W) or (B, 3, H, W), c (1,) -> logits (B, K)."""
        return self.logits(params, c, self.embed(params, c, x))
