"""Prototypical network of ResNet-12 features."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Generator, Tensor
from torch.nn import functional

from hsac.models.layers import Params, channels, with_channels
from hsac.models.protonets import Protonet
from hsac.models.residual import add_kernel, add_norm, convolved
from hsac.parts import require

SLOPE = 0.1  # of the leaky ReLU below 0
CONVOLUTIONS = ("first", "second", "third")


@dataclass(frozen=True)
class PooledBlocks:
    """Residual blocks of three convolutions, each block with 2 x 2 max pooling behind it.

    Attributes:
        inputs: Shape of an image, (H, W) or (channels, H, W).
        widths: Channels of each block.
        groups: Groups of a normalisation, a divisor of every width.
    """

    inputs: tuple[int, ...]
    widths: tuple[int, ...]
    groups: int

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        ok = len(self.widths) >= 1 and min(self.widths) >= 1
        require(ok, "widths", list(self.widths), "integers from 1, one a block")
        ok = self.groups >= 1 and not any(width % self.groups for width in self.widths)
        require(ok, "groups", self.groups, "a divisor of every width")
        count = len(self.widths)
        allowed = f"images of side 2^{count} or more, halved each block"
        require(bool(min(self.inputs[-2:]) >> count), "inputs", self.inputs, allowed)

    def init(self, generator: Generator) -> Params:
        """Draw kernels `NAME.w` (out, in, k, k), norms `NAME.g` and `NAME.b`.

        Args:
            generator: Draws them, in float64.

        Returns:
            The parameters, by name.
        """
        params: Params = {}
        given = channels(self.inputs)
        for i, width in enumerate(self.widths):
            inside = given
            for name in CONVOLUTIONS:
                add_kernel(params, f"{i}.{name}", (inside, width, 3), generator)
                add_norm(params, f"{i}.{name}", width)
                inside = width
            add_kernel(params, f"{i}.shortcut", (given, width, 1), generator)
            add_norm(params, f"{i}.shortcut", width)
            given = width
        return params

    def forward(self, params: Params, x: Tensor) -> Tensor:
        """Compute the features, means over the pixels of the last block.

        Args:
            params: The parameters, as `init` returns them.
            x: Images (B, *inputs).

        Returns:
            Features (B, last width).
        """

        def convolution(name: str, h: Tensor) -> Tensor:
            h = convolved(params, name, h)
            return functional.group_norm(h, self.groups, params[f"{name}.g"], params[f"{name}.b"])

        h = with_channels(x, self.inputs)
        for i in range(len(self.widths)):
            inner = h
            for name in CONVOLUTIONS[:-1]:
                inner = functional.leaky_relu(convolution(f"{i}.{name}", inner), SLOPE)
            h = convolution(f"{i}.{CONVOLUTIONS[-1]}", inner) + convolution(f"{i}.shortcut", h)
            # the same as the other way round, on a quarter of the numbers
            h = functional.leaky_relu(functional.max_pool2d(h, 2), SLOPE)
        return h.mean((-2, -1))


@dataclass(frozen=True)
class Resnet12(Protonet):
    """ResNet-12 features, prototypes at the support's gyromidpoint.

    The network of 640 features that few-shot papers use (Lee et al., CVPR 2019), without its
    dropout. They normalise by batch. Here normalisation is by groups, so that the network is a pure
    function of its weights. Logits are those of `Protonet`.

    Attributes:
        inputs: Shape of an image, filled in from the data: (H, W) grey, (3, H, W) in colour.
        shot: Support images a class, filled in from the data.
        space: euclidean or hyperbolic, filled in from the method.
        widths: Channels of each block, each of which halves the image's side.
        groups: Groups of a normalisation, a divisor of every width.
        clip: Norm that the features are clipped to in hyperbolic space.
        temperature: Start of T.
        temperature_rate: T = exp(rate·t) with the weight t. A step of Adam moves log T `rate` times
            as far as another weight.
        power: Power of the distance in the logits: 2, or 1 for -d/T.
    """

    inputs: tuple[int, ...]
    shot: int
    space: str
    widths: tuple[int, ...] = (64, 160, 320, 640)
    groups: int = 32
    clip: float = 2.0
    temperature: float = 1.0
    temperature_rate: float = 10.0
    power: int = 2
    vmapped: ClassVar[bool] = False  # convolutions under vmap are 2 to 4 times slower on a CPU
    dtype: ClassVar[torch.dtype] = torch.float32

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        self.check()

    @cached_property
    def body(self) -> PooledBlocks:
        """Return the blocks."""
        return PooledBlocks(self.inputs, self.widths, self.groups)
