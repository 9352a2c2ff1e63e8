"""Pieces that several models share."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from hsac.ball import clip_norm
from hsac.models.graphs import SparseFeatures
from hsac.parts import require

Params = dict[str, Tensor]


def he_normal(shape: tuple[int, ...], fan_in: int, generator: Generator) -> Tensor:
    """He et al. (ICCV 2015) normal start, float64 so that every dtype starts from the same numbers."""
    return torch.randn(shape, generator=generator, dtype=torch.float64) * (2 / fan_in) ** 0.5


def bounded(u: Tensor, clip: float, space: str) -> Tensor:
    """Tangent features clipped to norm `clip` in hyperbolic space; untouched in Euclidean space."""
    return u if space == "euclidean" else clip_norm(u, clip)


def glorot_uniform(shape: tuple[int, int], generator: Generator) -> Tensor:
    """Glorot and Bengio (AISTATS 2010) uniform start of a weight (out, in), float64."""
    return (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1) * (
        6 / sum(shape)
    ) ** 0.5


def propagate(u: Tensor, source: Tensor, target: Tensor, weight: Tensor, nodes: int) -> Tensor:
    """Rows of u (N, d) sent along edges source -> target (E,), times their weight (E,), and summed:
    (nodes, d).
    """
    message = u.index_select(0, source) * weight[:, None]
    return message.new_zeros((nodes, u.shape[1])).index_add(0, target, message)


def first_linear(
    x: Tensor | SparseFeatures, weight: Tensor, masks: Params | None, rate: float
) -> Tensor:
    """x @ weightᵀ, x (N, F) a graph's features, after inverted dropout (Srivastava et al., JMLR
    2014) where there are masks. Features are sparse, so `masks["layer0"]` is over the entries that
    are not 0, in the order of nonzero().
    """
    if masks is None:
        return x @ weight.mT
    sparse = x if isinstance(x, SparseFeatures) else SparseFeatures.of(x)
    return sparse.times(masks["layer0"] / (1 - rate)) @ weight.mT


def dropped(u: Tensor, masks: Params | None, rate: float) -> Tensor:
    """Inverted dropout of hidden features u (N, d) by `masks["layer1"]`, where there are masks."""
    return u if masks is None else u * masks["layer1"] / (1 - rate)


def channels(inputs: tuple[int, ...]) -> int:
    """Channels of images (H, W) or (channels, H, W)."""
    return 1 if len(inputs) == 2 else inputs[0]


def with_channels(x: Tensor, inputs: tuple[int, ...]) -> Tensor:
    """Images (B, *inputs) -> (B, channels, H, W)."""
    return x[:, None] if len(inputs) == 2 else x


def norm_start(width: int) -> tuple[Tensor, Tensor]:
    """Scale and shift (width,) at which a normalisation is one and nothing else."""
    return torch.ones(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)


def batch_norm(h: Tensor, scale: Tensor, shift: Tensor, moments: Tensor | None = None) -> Tensor:
    """Batch normalisation of h (B, K, H, W), ε = 1e-5 (Ioffe and Szegedy, ICML 2015).

    By the mean and variance of the batch, or by `moments` (2, K), the mean and the mean square of a
    population.
    """
    if moments is None:
        return functional.batch_norm(h, None, None, scale, shift, training=True)
    mean, square = moments
    variance = (square - mean * mean).clamp(min=0)
    return functional.batch_norm(h, mean.to(h), variance.to(h), scale, shift)


def batch_moments(h: Tensor) -> Tensor:
    """Mean and mean square of h (B, K, H, W) by channel: (2, K), float64.

    These, unlike variances, are averaged over batches to the moments of their union (Wu and
    Johnson, 2021, section 3).
    """
    variance, mean = (
        value.double() for value in torch.var_mean(h.detach(), (0, 2, 3), correction=0)
    )
    return torch.stack((mean, variance + mean * mean))


@dataclass(frozen=True)
class ConvBlocks:
    """Blocks of 3 x 3 convolution, group normalisation, ReLU and 2 x 2 max pooling, each `width`
    channels wide.

    Group normalisation (Wu and He, ECCV 2018), so that the features are a pure function of weights
    and image.
    """

    inputs: tuple[int, ...]
    width: int
    groups: int
    blocks: int

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        for name in ("width", "groups", "blocks"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "an integer from 1")
        require(self.width % self.groups == 0, "groups", self.groups, "a divisor of width")
        side = 2**self.blocks
        require(
            min(self.inputs[-2:]) >= side,
            "inputs",
            self.inputs,
            f"images of side {side} or more, halved each block",
        )

    @property
    def features(self) -> int:
        """Numbers of the last block's output."""
        height, width = self.inputs[-2:]
        return self.width * (height >> self.blocks) * (width >> self.blocks)

    def init(self, generator: Generator) -> Params:
        """Kernels (out, in, 3, 3), group-norm scales and shifts (out,)."""
        params: Params = {}
        fan_in = channels(self.inputs)
        for i in range(self.blocks):
            params[f"w{i}"] = he_normal((self.width, fan_in, 3, 3), 9 * fan_in, generator)
            params[f"g{i}"], params[f"b{i}"] = norm_start(self.width)
            fan_in = self.width
        return params

    def forward(self, params: Params, x: Tensor) -> Tensor:
        """Images x (B, *inputs) -> (B, features)."""
        h = with_channels(x, self.inputs)
        for i in range(self.blocks):
            h = functional.conv2d(h, params[f"w{i}"], padding=1)
            h = functional.group_norm(h, self.groups, params[f"g{i}"], params[f"b{i}"])
            h = functional.max_pool2d(
                h, 2
            ).relu()  # the same as the other way round, on a quarter of the numbers
        return h.flatten(1)
