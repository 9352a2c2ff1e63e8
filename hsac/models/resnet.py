"""Residual network for images of side 32."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor
from torch.nn import functional

from hsac.models.layers import Params, batch_norm, channels, with_channels
from hsac.models.residual import Block, Moments, Normalised, add_kernel, add_norm, convolved, stages
from hsac.parts import require

WIDTHS = {18: (64, 128, 256, 512), 20: (16, 32, 64), 32: (16, 32, 64)}


@dataclass(frozen=True)
class Resnet(Normalised):
    """CIFAR ResNet (He et al. 2016), and a head on clipped features.

    Depths 20 and 32 are those of section 4.2 there, with widths 16, 32, 64. Where the shape
    changes, the shortcut drops every other pixel and fills new channels with zeros (option A).
    Depth 18 has the widths 64 to 512 of its ImageNet network behind a 3 x 3 stem without pooling,
    and shortcuts by 1 x 1 convolution (option B). There is one curvature, the head's.
    How it normalises by batch is said in `Normalised`.

    Attributes:
        inputs: Shape of an image, filled in from the data: (H, W) grey, (3, H, W) in colour.
        classes: Number of classes, filled in from the data.
        space: euclidean or hyperbolic, filled in from the method.
        depth: 18, 20 or 32.
        clip: Norm that the features are clipped to in hyperbolic space.
        head: {rule, parameters} of the head, filled in from the method. A Poincaré MLR by default.
    """

    inputs: tuple[int, ...]
    classes: int
    space: str
    depth: int = 32
    clip: float = 2.0
    head: dict = None  # type: ignore[assignment]
    vmapped: ClassVar[bool] = False  # convolutions under vmap are 2 to 4 times slower on a CPU
    dtype: ClassVar[torch.dtype] = torch.float32

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.depth in WIDTHS, "depth", self.depth, ", ".join(map(str, WIDTHS)))
        require(self.clip > 0, "clip", self.clip, "a number above 0")

    @property
    def dim(self) -> int:
        """Return the dimension of the pooled features."""
        return WIDTHS[self.depth][-1]

    def _blocks(self) -> list[Block]:
        widths = WIDTHS[self.depth]
        # The depth counts the stem, the head, and two convolutions a block.
        return stages(widths[0], widths, (self.depth - 2) // (2 * len(widths)))

    @property
    def _projected(self) -> bool:
        return self.depth == 18

    def init(self, generator: Generator) -> Params:
        """Draw kernels `NAME.w` (out, in, k, k), norms `NAME.g` and `NAME.b`, and the head's.

        Args:
            generator: Draws the start, in float64 whatever the model's `dtype`.

        Returns:
            The parameters, by name.
        """
        params: Params = {}

        def convolution(name: str, inside: int, out: int, kernel: int) -> None:
            add_kernel(params, name, (inside, out, kernel), generator)
            add_norm(params, name, out)

        convolution("stem", channels(self.inputs), WIDTHS[self.depth][0], 3)
        for block in self._blocks():
            convolution(f"{block.name}.first", block.inside, block.out, 3)
            convolution(f"{block.name}.second", block.out, block.out, 3)
            if block.changes and self._projected:
                convolution(f"{block.name}.shortcut", block.inside, block.out, 1)
        return params | self.classifier.init(generator)

    def features(self, params: Params, x: Tensor, moments: Moments) -> Tensor:
        """Compute pooled features of images.

        Args:
            params: The parameters, as `init` returns them.
            x: Images in [0, 1], (B, H, W) or (B, 3, H, W).
            moments: Gives the moments of the normalisation of a name, given its input.

        Returns:
            Features (B, dim).
        """

        def convolution(name: str, h: Tensor, stride: int = 1) -> Tensor:
            h = convolved(params, name, h, stride)
            return batch_norm(h, params[f"{name}.g"], params[f"{name}.b"], moments(name, h))

        h = convolution("stem", with_channels(x, self.inputs)).relu()
        for block in self._blocks():
            inner = convolution(f"{block.name}.first", h, block.stride).relu()
            inner = convolution(f"{block.name}.second", inner)
            if block.changes and self._projected:
                h = convolution(f"{block.name}.shortcut", h, block.stride)
            elif block.changes:
                # option A: no weights in the shortcut
                new = block.out - block.inside
                h = h[:, :, :: block.stride, :: block.stride]
                h = functional.pad(h, (0, 0, 0, 0, new // 2, new - new // 2))
            h = (inner + h).relu()
        return h.mean((-2, -1))
