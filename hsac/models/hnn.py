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
    """Compute the Poincaré fully connected layer of HNN++ on points given by tangent vectors.

    With v_k the unidirectional MLR logit of normal z_k and offset r_k, and w_k = sinh(√c v_k)/√c,
    it is y = w / (1 + √(1 + c|w|²)) (Shimizu et al., ICLR 2021, eq. 7). At c = 0 it is
    v/2 = 2(u·z - |z| r).

    Args:
        u: Tangent vectors at the origin (B, d). The layer takes the points expmap0(u).
        z: Normals (K, d).
        r: Offsets (K,).
        c: Curvature, a scalar.

    Returns:
        Points (B, K).
    """
    v = mlr_logits_tangent(u, z, r, c)
    w = v * sinhc(c * v * v)
    # √c|y| is below 1 for every w, so no projection is needed.
    return w / (1 + (1 + c * squared_norm(w)).sqrt())


@dataclass(frozen=True)
class Hnn(Headed):
    """Two Poincaré fully connected layers and a head, a curvature each.

    After HNN++ (Shimizu et al., ICLR 2021). Between layers there is a ReLU and a norm clip in the
    tangent space of the origin, so that every layer may have another ball. At c = 0 it is a
    multilayer perceptron.

    Attributes:
        inputs: Shape of an image, filled in from the data: (H, W) grey, (3, H, W) in colour.
        classes: Number of classes, filled in from the data.
        space: euclidean or hyperbolic, filled in from the method.
        hidden: Width of the hidden layer.
        dim: Dimension of the features.
        clip: Norm that features are clipped to in hyperbolic space, before each layer and the head.
        pool: Side of the squares that images are first averaged over. 1 leaves them as they are.
        head: {rule, parameters} of the head, filled in from the method. A Poincaré MLR by default.
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
    # Mixed derivatives in c lose accuracy in float32. This model is small enough for float64.
    dtype: ClassVar[torch.dtype] = torch.float64

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        for name in ("hidden", "dim", "pool"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "an integer from 1")
        side = min(self.inputs[-2:])
        require(self.pool <= side, "pool", self.pool, f"at most the image's side, {side}")
        require(self.clip > 0, "clip", self.clip, "a number above 0")

    def init(self, generator: Generator) -> Params:
        """Draw normals z0, z1 (out, in), offsets r0, r1 (out,), and the head's parameters.

        At c = 0 layers start as He et al.'s.

        Args:
            generator: Draws the start, in float64 whatever the model's `dtype`.

        Returns:
            The parameters, by name.
        """
        height, width = self.inputs[-2:]
        pixels = channels(self.inputs) * (height // self.pool) * (width // self.pool)
        params: Params = {}
        for i, (fan_in, out) in enumerate(pairwise((pixels, self.hidden, self.dim))):
            z = torch.randn((out, fan_in), generator=generator, dtype=torch.float64)
            # at c = 0 the layer is 2 u·z, hence half of He et al.'s
            params[f"z{i}"] = z * (2 / fan_in) ** 0.5 / 2
            params[f"r{i}"] = torch.zeros(out, dtype=torch.float64)
        return params | self.classifier.init(generator)

    def embed(self, params: Params, c: Tensor, x: Tensor) -> Tensor:
        """Compute the features.

        Args:
            params: The parameters, as `init` returns them.
            c: Curvatures (C,), one per name in `curvature_names`.
            x: Images in [0, 1], (B, H, W) or (B, 3, H, W).

        Returns:
            Tangent features at the origin (B, dim).
        """
        if self.pool > 1:
            x = torch.nn.functional.avg_pool2d(with_channels(x, self.inputs), self.pool)
        u = x.flatten(1)
        for i in range(2):
            u = bounded(u if i == 0 else u.relu(), self.clip, self.space)
            # Back to the origin's tangent space, which is the same for the next layer's ball.
            u = logmap0(poincare_linear(u, params[f"z{i}"], params[f"r{i}"], c[i]), c[i])
        return bounded(u, self.clip, self.space)

    def forward(self, params: Params, c: Tensor, x: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            params: The parameters, as `init` returns them.
            c: Curvatures (C,), one per name in `curvature_names`.
            x: Images in [0, 1], (B, H, W) or (B, 3, H, W).

        Returns:
            Logits (B, K).
        """
        return self.logits(params, c, self.embed(params, c, x))
