"""Fully hyperbolic network."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Generator, Tensor

from hsac.ball import logmap0, mlr_logits_tangent
from hsac.ball.maps import squared_norm
from hsac.ball.series import sinhc
from hsac.models.heads import Headed
from hsac.models.layers import Params, bounded, channels, with_channels
from hsac.parts import require


def poincare_linear(u: Tensor, z: Tensor, r: Tensor, c: Tensor) -> Tensor:
    """Poincaré fully connected layer of HNN++ (Shimizu et al., ICLR 2021, eq. 7) on expmap0(u): a
    point of the ball.

    v_k the unidirectional MLR logit of normal z_k, offset r_k; w_k = sinh(√c v_k)/√c; y = w / (1 +
    √(1 + c|w|²)). u (B, d) tangent, z (K, d), r (K,) -> (B, K); at c = 0 it is v/2 = 2(u·z - |z|
    r).
    """
    v = mlr_logits_tangent(u, z, r, c)
    w = v * sinhc(c * v * v)
    return w / (1 + (1 + c * squared_norm(w)).sqrt())


@dataclass(frozen=True)
class Hnn(Headed):
    """Poincaré fully connected layers (HNN++, Shimizu et al., ICLR 2021) and a head, each with its
    own curvature.

    Images are average-pooled by `pool` first. Between layers: ReLU and a norm clip at `clip` in the
    tangent space of the origin, so that every layer may have another ball. At c = 0 it is a
    multilayer perceptron.
    """

    inputs: tuple[int, ...]
    classes: int
    space: str
    hidden: int = 64
    dim: int = 8
    clip: float = 2.0
    pool: int = 1
    head: dict = None  # type: ignore[assignment]
    layer_names: ClassVar[tuple[str, ...]] = ("layer0", "layer1")
    vmapped: ClassVar[bool] = True
    dtype: ClassVar[torch.dtype] = torch.float64

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        for name in ("hidden", "dim", "pool"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "an integer from 1")
        side = min(self.inputs[-2:])
        require(self.pool <= side, "pool", self.pool, f"at most the image's side, {side}")
        require(self.clip > 0, "clip", self.clip, "a number above 0")

    def init(self, generator: Generator) -> Params:
        """Normals z0, z1 (out, in), offsets r0, r1 (out,), and the head's. At c = 0 layers start as
        He et al.'s.
        """
        height, width = self.inputs[-2:]
        pixels = channels(self.inputs) * (height // self.pool) * (width // self.pool)
        params: Params = {}
        for i, (fan_in, out) in enumerate(pairwise((pixels, self.hidden, self.dim))):
            z = torch.randn((out, fan_in), generator=generator, dtype=torch.float64)
            params[f"z{i}"] = z * (2 / fan_in) ** 0.5 / 2
            params[f"r{i}"] = torch.zeros(out, dtype=torch.float64)
        return params | self.classifier.init(generator)

    def embed(self, params: Params, c: Tensor, x: Tensor) -> Tensor:
        """Images x (B, H, W) or (B, 3, H, W) in [0, 1] -> tangent features at the origin (B, d)."""
        x = (
            torch.nn.functional.avg_pool2d(with_channels(x, self.inputs), self.pool)
            if self.pool > 1
            else x
        )
        u = x.flatten(1)
        for i in range(2):
            u = bounded(u if i == 0 else u.relu(), self.clip, self.space)
            u = logmap0(poincare_linear(u, params[f"z{i}"], params[f"r{i}"], c[i]), c[i])
        return bounded(u, self.clip, self.space)

    def forward(self, params: Params, c: Tensor, x: Tensor) -> Tensor:
        """Images x (B, H, W) or (B, 3, H, W), c (3,) -> logits (B, K)."""
        return self.logits(params, c, self.embed(params, c, x))
