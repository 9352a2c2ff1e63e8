"""Small convolutional classifier."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Generator, Tensor

from hsac.models.heads import Headed
from hsac.models.layers import ConvBlocks, Params, bounded, he_normal
from hsac.parts import require


@dataclass(frozen=True)
class Cnn(Headed):
    """Convolution blocks of `width` channels, a linear layer to `dim` features clipped to norm
    `clip`, Poincaré MLR.

    Group normalisation, so that the network is a pure function of its weights. One curvature, the
    head's.
    """

    inputs: tuple[int, ...]
    classes: int
    space: str
    width: int = 32
    blocks: int = 3
    groups: int = 4
    dim: int = 16
    clip: float = 2.0
    head: dict = None  # type: ignore[assignment]
    vmapped: ClassVar[bool] = False  # convolutions under vmap are 2 to 4 times slower on a CPU
    dtype: ClassVar[torch.dtype] = torch.float32

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.dim >= 1, "dim", self.dim, "an integer from 1")
        require(self.clip > 0, "clip", self.clip, "a number above 0")
        _ = self.body

    @cached_property
    def body(self) -> ConvBlocks:
        """The blocks."""
        return ConvBlocks(self.inputs, self.width, self.groups, self.blocks)

    def init(self, generator: Generator) -> Params:
        """The blocks' parameters, the linear layer's weight (dim, features) and bias (dim,), and
        the head's.
        """
        params = self.body.init(generator)
        params["w"] = he_normal((self.dim, self.body.features), self.body.features, generator)
        params["b"] = torch.zeros(self.dim, dtype=torch.float64)
        return params | self.classifier.init(generator)

    def embed(self, params: Params, c: Tensor, x: Tensor) -> Tensor:
        """Images x (B, H, W) or (B, 3, H, W) in [0, 1] -> tangent features at the origin (B, d)."""
        u = torch.addmm(params["b"], self.body.forward(params, x), params["w"].mT)
        return bounded(u, self.clip, self.space)

    def forward(self, params: Params, c: Tensor, x: Tensor) -> Tensor:
        """Images x (B, H, W) or (B, 3, H, W), c (1,) -> logits (B, K)."""
        return self.logits(params, c, self.embed(params, c, x))
