"""Prototypical network on the ball."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor
from torch.nn import functional

from hsac.ball import exp0, midpoint, squared_distance
from hsac.models.layers import Params, bounded, he_normal
from hsac.registry import require


@dataclass(frozen=True)
class Conv4Protonet:
    """Conv4 features, prototypes at the gyromidpoint of the support, logits -d²/T (Khrulkov et al., CVPR 2020).

    Euclidean space gives the prototypical network of Snell et al. (NeurIPS 2017). T is learned, always: curvature acts
    as a temperature too, so a fixed T would let learning c stand in for learning T. Group normalisation, so that the
    network is a pure function of its weights.
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
        require(self.width >= 1, "width", self.width, "an integer from 1")
        require(self.groups >= 1 and self.width % self.groups == 0, "groups", self.groups, "a divisor of width")
        for name in ("clip", "temperature", "temperature_rate"):
            require(getattr(self, name) > 0, name, getattr(self, name), "a number above 0")

    def init(self, generator: Generator) -> Params:
        """Kernels (out, in, 3, 3), group-norm scales and shifts (out,), and t with T = exp(rate·t)."""
        params: Params = {}
        fan_in = 1
        for i in range(4):
            params[f"w{i}"] = he_normal((self.width, fan_in, 3, 3), 9 * fan_in, generator)
            params[f"g{i}"] = torch.ones(self.width, dtype=torch.float64)
            params[f"b{i}"] = torch.zeros(self.width, dtype=torch.float64)
            fan_in = self.width
        start = torch.tensor(self.temperature, dtype=torch.float64).log() / self.temperature_rate
        return params | {"t": start}

    def embed(self, params: Params, c: Tensor, x: Tensor) -> Tensor:
        """Images x (B, H, W) -> tangent features at the origin (B, d)."""
        h = x[:, None]
        for i in range(4):
            h = functional.conv2d(h, params[f"w{i}"], padding=1)
            h = functional.group_norm(h, self.groups, params[f"g{i}"], params[f"b{i}"])
            h = functional.max_pool2d(h, 2).relu()  # the same as the other way round, on a quarter of the numbers
        return bounded(h.flatten(1), self.clip, self.space)

    def forward(self, params: Params, c: Tensor, x: Tensor) -> Tensor:
        """Episodes x (E, way, shot + query, H, W), c (1,) -> logits (E, way·query, way), queries in class order."""
        episodes, way, images = x.shape[:3]
        return self.classify(params, c, self.embed(params, c, x.flatten(0, 2)).unflatten(0, (episodes, way, images)))

    def classify(self, params: Params, c: Tensor, u: Tensor) -> Tensor:
        """Episodes of tangent features u (E, way, shot + query, d) -> logits (E, way·query, way)."""
        points = exp0(u, c[0])
        prototypes = midpoint(points[:, :, : self.shot], c[0])
        queries = points[:, :, self.shot :].flatten(1, 2)
        temperature = (self.temperature_rate * params["t"]).exp()
        return -squared_distance(queries[:, :, None], prototypes[:, None], c[0]) / temperature
