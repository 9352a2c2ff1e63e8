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
    """Where a residual block stands: its name, channels in and out, the stride of its first
    convolution.
    """

    name: str
    inside: int
    out: int
    stride: int

    @property
    def changes(self) -> bool:
        """Whether what comes out has another shape than what goes in."""
        return self.stride > 1 or self.inside != self.out


@dataclass(frozen=True)
class Resnet(Headed):
    """CIFAR ResNet of basic blocks (He et al., CVPR 2016), pooled features clipped to norm `clip`,
    Poincaré MLR.

    `depth` 20 and 32: section 4.2 there, widths 16, 32, 64, where the shape changes the shortcut
    drops every other pixel and fills new channels with zeros (option A). `depth` 18: the widths 64
    to 512 of its ImageNet network behind a 3 x 3 stem without pooling, shortcuts by 1 x 1
    convolution (option B). One curvature, the head's.

    Batch normalisation by the batch at hand: training is a pure function of weights and batch. For
    evaluation `statistics` gives, of batches of training images, what `forward` takes as its
    `state` in their place: the moments before every normalisation at these very weights ("precise
    BN", Wu and Johnson, arXiv:2105.07576; what torch.optim.swa_utils.update_bn does), not running
    averages of past ones.
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
        """Numbers of the pooled features."""
        return WIDTHS[self.depth][-1]

    def _blocks(self) -> Iterator[Block]:
        widths = WIDTHS[self.depth]
        count = (self.depth - 2) // (2 * len(widths))
        inside = widths[0]
        for stage, width in enumerate(widths):
            for i in range(count):
                yield Block(f"{stage}.{i}", inside, width, 2 if stage > 0 and i == 0 else 1)
                inside = width

    @property
    def _projected(self) -> bool:
        return self.depth == 18

    def init(self, generator: Generator) -> Params:
        """Kernels `NAME.w` (out, in, k, k), norm scales `NAME.g` and shifts `NAME.b` (out,), and
        the head's.
        """
        params: Params = {}

        def convolution(name: str, inside: int, out: int, kernel: int) -> None:
            params[f"{name}.w"] = he_normal(
                (out, inside, kernel, kernel), kernel * kernel * inside, generator
            )
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
        """Images -> pooled features (B, dim); `moments` of the normalisation named so, given what
        goes into it.
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
                new = block.out - block.inside
                h = h[:, :, :: block.stride, :: block.stride]
                h = functional.pad(h, (0, 0, 0, 0, new // 2, new - new // 2))
            h = (inner + h).relu()
        return h.mean((-2, -1))

    def statistics(self, params: Params, c: Tensor, x: Tensor) -> Params:
        """Images x -> the moments (2, channels) before each normalisation, by its name; their mean
        over batches of one size is a `state`.
        """
        found: Params = {}

        def collect(name: str, h: Tensor) -> None:
            found[name] = batch_moments(h)

        self._features(params, x, collect)
        return found

    def embed(self, params: Params, c: Tensor, x: Tensor, state: Params | None = None) -> Tensor:
        """Images x (B, H, W) or (B, 3, H, W) in [0, 1] -> tangent features at the origin (B, d)."""
        u = self._features(params, x, lambda name, h: None if state is None else state[name])
        return bounded(u, self.clip, self.space)

    def forward(self, params: Params, c: Tensor, x: Tensor, state: Params | None = None) -> Tensor:
        """Images x (B, H, W) or (B, 3, H, W), c (1,) -> logits (B, K)."""
        return self.logits(params, c, self.embed(params, c, x, state))
