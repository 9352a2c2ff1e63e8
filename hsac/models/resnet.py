"""Residual network for images of side 32."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor
from torch.nn import functional

from hsac.models.heads import Headed
from hsac.models.layers import (
    Params,
    batch_moments,
    batch_norm,
    bounded,
    channels,
    he_normal,
    norm_start,
    with_channels,
)
from hsac.parts import require

WIDTHS = {18: (64, 128, 256, 512), 20: (16, 32, 64), 32: (16, 32, 64)}


@dataclass(frozen=True)
class Block:
    """The place of a residual block in the network.

    Attributes:
        name: Its name, which its parameters begin with.
        inside: Channels in.
        out: Channels out.
        stride: Stride of its first convolution.
    """

    name: str
    inside: int
    out: int
    stride: int

    @property
    def changes(self) -> bool:
        """Return whether the output has another shape than the input."""
        return self.stride > 1 or self.inside != self.out


@dataclass(frozen=True)
class Resnet(Headed):
    """CIFAR ResNet (He et al. 2016), and a head on clipped features.

    Depths 20 and 32 are those of section 4.2 there, with widths 16, 32, 64. Where the shape
    changes, the shortcut drops every other pixel and fills new channels with zeros (option A).
    Depth 18 has the widths 64 to 512 of its ImageNet network behind a 3 x 3 stem without pooling,
    and shortcuts by 1 x 1 convolution (option B). There is one curvature, the head's.

    Training normalises by the batch at hand, so it is a pure function of weights and batch. For
    evaluation `statistics` gives the moments before every normalisation, of batches of training
    images at these very weights, and `forward` takes their mean as its `state`. This is "precise
    BN" (Wu and Johnson, arXiv:2105.07576), as torch.optim.swa_utils.update_bn does it, not running
    averages of past moments.

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

    def _blocks(self) -> Iterator[Block]:
        widths = WIDTHS[self.depth]
        # The depth counts the stem, the head, and two convolutions a block.
        count = (self.depth - 2) // (2 * len(widths))
        inside = widths[0]
        for stage, width in enumerate(widths):
            for i in range(count):
                # Each stage but the first halves the image's side.
                yield Block(f"{stage}.{i}", inside, width, 2 if stage > 0 and i == 0 else 1)
                inside = width

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
            # Convolutions have no bias: the normalisation behind them would take it out.
            fan_in = kernel * kernel * inside
            params[f"{name}.w"] = he_normal((out, inside, kernel, kernel), fan_in, generator)
            params[f"{name}.g"], params[f"{name}.b"] = norm_start(out)

        convolution("stem", channels(self.inputs), WIDTHS[self.depth][0], 3)
        for block in self._blocks():
            convolution(f"{block.name}.first", block.inside, block.out, 3)
            convolution(f"{block.name}.second", block.out, block.out, 3)
            if block.changes and self._projected:
                convolution(f"{block.name}.shortcut", block.inside, block.out, 1)
        return params | self.classifier.init(generator)

    def _features(
        self, params: Params, x: Tensor, moments: Callable[[str, Tensor], Tensor | None]
    ) -> Tensor:
        """Compute pooled features (B, dim) of images.

        `moments` gives those of the normalisation of a name, given its input.
        """

        def convolution(name: str, h: Tensor, stride: int = 1) -> Tensor:
            kernel = params[f"{name}.w"]
            h = functional.conv2d(h, kernel, stride=stride, padding=kernel.shape[-1] // 2)
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

    def statistics(self, params: Params, c: Tensor, x: Tensor) -> Params:
        """Compute the moments before each normalisation.

        Args:
            params: The parameters, as `init` returns them.
            c: Curvatures (C,), one per name in `curvature_names`.
            x: Images in [0, 1], (B, H, W) or (B, 3, H, W).

        Returns:
            Moments (2, channels) by the normalisation's name. Their mean over batches of one size
            is a `state` of `forward`.
        """
        found: Params = {}

        def collect(name: str, h: Tensor) -> None:
            # It returns None, at which this batch's moments normalise, as in training.
            found[name] = batch_moments(h)

        self._features(params, x, collect)
        return found

    def embed(self, params: Params, c: Tensor, x: Tensor, state: Params | None = None) -> Tensor:
        """Compute the features.

        Args:
            params: The parameters, as `init` returns them.
            c: Curvatures (C,), one per name in `curvature_names`.
            x: Images in [0, 1], (B, H, W) or (B, 3, H, W).
            state: Moments to normalise by. None normalises by x itself, as training does.

        Returns:
            Tangent features at the origin (B, dim).
        """
        u = self._features(params, x, lambda name, h: None if state is None else state[name])
        return bounded(u, self.clip, self.space)

    def forward(self, params: Params, c: Tensor, x: Tensor, state: Params | None = None) -> Tensor:
        """Compute the logits.

        Args:
            params: The parameters, as `init` returns them.
            c: Curvatures (C,), one per name in `curvature_names`.
            x: Images in [0, 1], (B, H, W) or (B, 3, H, W).
            state: Moments to normalise by. None normalises by x itself, as training does.

        Returns:
            Logits (B, K).
        """
        return self.logits(params, c, self.embed(params, c, x, state))
