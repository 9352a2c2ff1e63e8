"""Wide residual network for images of side 32."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from hsac.models.layers import Params, batch_norm, channels, with_channels
from hsac.models.residual import Block, Moments, Normalised, add_kernel, add_norm, convolved, stages
from hsac.parts import require


@dataclass(frozen=True)
class WideResnet(Normalised):
    """Wide ResNet WRN-depth-width (Zagoruyko and Komodakis 2016), and a head on clipped features.

    Normalisation and ReLU come before each convolution. Where the channels change, the shortcut is
    a 1 x 1 convolution of the block's normalised input. There is no dropout, and one curvature,
    the head's. How it normalises by batch is said in `Normalised`.

    Attributes:
        inputs: Shape of an image, filled in from the data: (H, W) grey, (3, H, W) in colour.
        classes: Number of classes, filled in from the data.
        space: euclidean or hyperbolic, filled in from the method.
        depth: Number of convolutions, one a stage for its shortcut included: 6n + 4.
        width: Factor on the widths 16, 32, 64 of the three stages.
        clip: Norm that the features are clipped to in hyperbolic space.
        head: {rule, parameters} of the head, filled in from the method. A Poincaré MLR by default.
    """

    inputs: tuple[int, ...]
    classes: int
    space: str
    depth: int = 28
    width: int = 2
    clip: float = 2.0
    head: dict = None  # type: ignore[assignment]
    vmapped: ClassVar[bool] = False  # convolutions under vmap are 2 to 4 times slower on a CPU
    dtype: ClassVar[torch.dtype] = torch.float32

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        ok = self.depth >= 10 and self.depth % 6 == 4
        require(ok, "depth", self.depth, "6n + 4 with n from 1, such as 10, 16 or 28")
        require(self.width >= 1, "width", self.width, "an integer from 1")
        require(self.clip > 0, "clip", self.clip, "a number above 0")

    @property
    def dim(self) -> int:
        """Return the dimension of the pooled features."""
        return 64 * self.width

    def _blocks(self) -> list[Block]:
        widths = [16 * self.width, 32 * self.width, 64 * self.width]
        return stages(16, widths, (self.depth - 4) // 6)

    def init(self, generator: Generator) -> Params:
        """Draw kernels `NAME.w` (out, in, k, k), norms `NAME.g` and `NAME.b`, and the head's.

        A norm has the name of the convolution that it stands before. The last one is `last`.

        Args:
            generator: Draws the start, in float64 whatever the model's `dtype`.

        Returns:
            The parameters, by name.
        """
        params: Params = {}
        add_kernel(params, "stem", (channels(self.inputs), 16, 3), generator)
        for block in self._blocks():
            add_norm(params, f"{block.name}.first", block.inside)
            add_kernel(params, f"{block.name}.first", (block.inside, block.out, 3), generator)
            add_norm(params, f"{block.name}.second", block.out)
            add_kernel(params, f"{block.name}.second", (block.out, block.out, 3), generator)
            if block.changes:
                shape = (block.inside, block.out, 1)
                add_kernel(params, f"{block.name}.shortcut", shape, generator)
        add_norm(params, "last", self.dim)
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

        def active(name: str, h: Tensor) -> Tensor:
            return batch_norm(h, params[f"{name}.g"], params[f"{name}.b"], moments(name, h)).relu()

        h = convolved(params, "stem", with_channels(x, self.inputs))
        for block in self._blocks():
            first, second = f"{block.name}.first", f"{block.name}.second"
            given = active(first, h)
            inner = convolved(params, first, given, block.stride)
            inner = convolved(params, second, active(second, inner))
            if block.changes:
                h = convolved(params, f"{block.name}.shortcut", given, block.stride)
            h = inner + h
        return active("last", h).mean((-2, -1))
