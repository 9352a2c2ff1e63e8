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
    """ReLU layers, and a head on clipped features.

    It has one curvature, the head's.

    Attributes:
        inputs: Shape of an image, filled in from the data: (H, W) grey, (3, H, W) in colour.
        classes: Number of classes, filled in from the data.
        space: euclidean or hyperbolic, filled in from the method.
        hidden: Width of the hidden layers.
        layers: Number of hidden layers.
        dim: Dimension of the features.
        clip: Norm that the features are clipped to in hyperbolic space.
        pool: Side of the squares that images are first averaged over. 1 leaves them as they are.
        head: {rule, parameters} of the head, filled in from the method. A Poincaré MLR by default.
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
    # Mixed derivatives in c lose accuracy in float32. This model is small enough for float64.
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
        """Draw weights (out, in) and biases (out,) of each layer, and the head's parameters.

        Args:
            generator: Draws the start, in float64 whatever the model's `dtype`.

        Returns:
            The parameters, by name.
        """
        widths = self._widths()
        params: Params = {}
        for i, (fan_in, out) in enumerate(pairwise(widths)):
            params[f"w{i}"] = he_normal((out, fan_in), fan_in, generator)
            params[f"b{i}"] = torch.zeros(out, dtype=torch.float64)
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
        for i in range(self.layers + 1):
            # There is no ReLU behind the last layer, so that features have both signs.
            u = torch.addmm(params[f"b{i}"], u if i == 0 else u.relu(), params[f"w{i}"].mT)
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
