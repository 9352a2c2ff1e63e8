"""Prototypical network on the ball."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Generator, Tensor

from hsac.ball import expmap0, midpoint, pairwise_squared_distance
from hsac.models.layers import ConvBlocks, Params, bounded
from hsac.parts import require


@dataclass(frozen=True)
class Conv4Protonet:
    """Conv4 features, prototypes at the gyromidpoint of the support, logits -d²/T (Khrulkov et al.,
    CVPR 2020).

    Euclidean space gives the prototypical network of Snell et al. (NeurIPS 2017). T is learned,
    always: curvature acts as a temperature too, so a fixed T would let learning c stand in for
    learning T. Group normalisation, so that the network is a pure function of its weights.
    """

    inputs: tuple[int, ...]
    shot: int
    space: str
    width: int = 16
    groups: int = 4
    clip: float = 2.0
    temperature: float = 1.0
    temperature_rate: float = 10.0
    curvature_names: ClassVar[tuple[str, ...]] = ("head",)
    vmapped: ClassVar[bool] = False  # convolutions under vmap are 2 to 4 times slower on a CPU
    dtype: ClassVar[torch.dtype] = torch.float32

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        for name in ("clip", "temperature", "temperature_rate"):
            require(getattr(self, name) > 0, name, getattr(self, name), "a number above 0")
        _ = self.body

    @cached_property
    def body(self) -> ConvBlocks:
        """The four blocks."""
        return ConvBlocks(self.inputs, self.width, self.groups, 4)

    def init(self, generator: Generator) -> Params:
        """Kernels (out, in, 3, 3), group-norm scales and shifts (out,), and t with T = exp(rate·t)."""
        start = torch.tensor(self.temperature, dtype=torch.float64).log() / self.temperature_rate
        return self.body.init(generator) | {"t": start}

    def embed(self, params: Params, c: Tensor, x: Tensor) -> Tensor:
        """Images x (B, H, W) or (B, 3, H, W) -> tangent features at the origin (B, d)."""
        return bounded(self.body.forward(params, x), self.clip, self.space)

    def forward(self, params: Params, c: Tensor, x: Tensor) -> Tensor:
        """Episodes x (E, way, shot + query, *inputs), c (1,) -> logits (E, way·query, way), queries
        in class order.
        """
        episodes, way, images = x.shape[:3]
        return self.classify(
            params, c, self.embed(params, c, x.flatten(0, 2)).unflatten(0, (episodes, way, images))
        )

    def classify(self, params: Params, c: Tensor, u: Tensor) -> Tensor:
        """Episodes of tangent features u (E, way, shot + query, d) -> logits (E, way·query, way)."""
        points = expmap0(u, c[0])
        prototypes = midpoint(points[:, :, : self.shot], c[0])
        queries = points[:, :, self.shot :].flatten(1, 2)
        temperature = (self.temperature_rate * params["t"]).exp()
        return -pairwise_squared_distance(queries, prototypes, c[0]) / temperature
