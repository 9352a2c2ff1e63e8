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
    """Convolution blocks, a linear layer and a head on clipped features.

    Normalisation is by groups, so that the network is a pure function of its weights. It has one
    curvature, the head's.

    Attributes:
        inputs: Shape of an image, filled in from the data: (H, W) grey, (3, H, W) in colour.
        classes: Number of classes, filled in from the data.
        space: euclidean or hyperbolic, filled in from the method.
        width: Channels of every block.
        blocks: Convolution blocks, each of which halves the image's side.
        groups: Groups of a normalisation, a divisor of `width`.
        dim: Dimension of the features.
        clip: Norm that the features are clipped to in hyperbolic space.
        head: {rule, parameters} of the head, filled in from the method. A Poincaré MLR by default.
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
        # refuses bad parameters of the blocks at once
        _ = self.body

    @cached_property
    def body(self) -> ConvBlocks:
        """Return the blocks."""
        return ConvBlocks(self.inputs, self.width, self.groups, self.blocks)

    def init(self, generator: Generator) -> Params:
        """Draw the blocks' parameters, a linear layer w (dim, features), b (dim,), and the head's.

        Args:
            generator: Draws the start, in float64 whatever the model's `dtype`.

        Returns:
            The parameters, by name.
        """
        params = self.body.init(generator)
        params["w"] = he_normal((self.dim, self.body.features), self.body.features, generator)
        params["b"] = torch.zeros(self.dim, dtype=torch.float64)
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
        u = torch.addmm(params["b"], self.body.forward(params, x), params["w"].mT)
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
