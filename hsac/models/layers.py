"""Pieces that several models share."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from hsac.ball import clip_norm
from hsac.ball.maps import root
from hsac.models.graphs import SparseFeatures
from hsac.parts import require

Params = dict[str, Tensor]


def he_normal(shape: tuple[int, ...], fan_in: int, generator: Generator) -> Tensor:
    """Draw a weight from the normal distribution of He et al. (ICCV 2015).

    Args:
        shape: Shape of the weight.
        fan_in: Inputs of one output.
        generator: Draws it.

    Returns:
        The weight, float64 so that every dtype starts from the same numbers.
    """
    # Each number has variance 2/fan_in, which ReLU layers keep.
    return torch.randn(shape, generator=generator, dtype=torch.float64) * (2 / fan_in) ** 0.5


def bounded(u: Tensor, clip: float, space: str) -> Tensor:
    """Clip tangent features in hyperbolic space, and leave them in Euclidean space.

    Args:
        u: Tangent features (..., d).
        clip: Largest norm.
        space: euclidean or hyperbolic.

    Returns:
        The features (..., d).
    """
    return u if space == "euclidean" else clip_norm(u, clip)


def check_power(power: int) -> None:
    """Refuse a power of distances that is neither 1 nor 2.

    Args:
        power: The power.

    Raises:
        InputError: It is refused.
    """
    require(power in (1, 2), "power", power, "1 or 2")


def distance_power(square: Tensor, power: int) -> Tensor:
    """Compute a power of distances.

    Args:
        square: Squared distances, any shape.
        power: 1 for the distances, 2 for their squares.

    Returns:
        The powers, of the same shape.
    """
    return square if power == 2 else root(square)


def glorot_uniform(shape: tuple[int, int], generator: Generator) -> Tensor:
    """Draw a weight from the uniform distribution of Glorot and Bengio (AISTATS 2010).

    Args:
        shape: Shape (out, in) of the weight.
        generator: Draws it.

    Returns:
        The weight, float64.
    """
    drawn = 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
    return drawn * (6 / sum(shape)) ** 0.5


def propagate(u: Tensor, source: Tensor, target: Tensor, weight: Tensor, nodes: int) -> Tensor:
    """Send rows along edges and sum them at each node.

    Args:
        u: A row of each node (N, d).
        source: Where each edge starts (E,).
        target: Where each edge ends (E,).
        weight: Weight of each edge (E,), which multiplies the row that is sent.
        nodes: Number of nodes that can be a target.

    Returns:
        Sums (nodes, d).
    """
    message = u.index_select(0, source) * weight[:, None]
    return message.new_zeros((nodes, u.shape[1])).index_add(0, target, message)


def first_linear(
    x: Tensor | SparseFeatures, weight: Tensor, masks: Params | None, rate: float
) -> Tensor:
    """Apply the linear layer of a graph's features, after inverted dropout where there are masks.

    Features are sparse, so dropout acts on the entries that are not 0 (Srivastava et al., JMLR
    2014).

    Args:
        x: Features (N, F), dense or sparse.
        weight: The layer's weight (out, F).
        masks: `masks["layer0"]` is over the entries that are not 0, in the order of nonzero(). None
            in evaluation.
        rate: Rate of dropout.

    Returns:
        x @ weightᵀ (N, out).
    """
    if masks is None:
        return x @ weight.mT
    sparse = x if isinstance(x, SparseFeatures) else SparseFeatures.of(x)
    return sparse.times(masks["layer0"] / (1 - rate)) @ weight.mT


def dropped(u: Tensor, masks: Params | None, rate: float) -> Tensor:
    """Apply inverted dropout to hidden features, where there are masks.

    Args:
        u: Hidden features (N, d).
        masks: `masks["layer1"]` is over their entries. None in evaluation.
        rate: Rate of dropout.

    Returns:
        The features (N, d).
    """
    return u if masks is None else u * masks["layer1"] / (1 - rate)


def channels(inputs: tuple[int, ...]) -> int:
    """Return the number of channels of images.

    Args:
        inputs: Shape of an image, (H, W) or (channels, H, W).

    Returns:
        The number.
    """
    return 1 if len(inputs) == 2 else inputs[0]


def with_channels(x: Tensor, inputs: tuple[int, ...]) -> Tensor:
    """Give images an axis of channels.

    Args:
        x: Images (B, *inputs).
        inputs: Shape of an image, (H, W) or (channels, H, W).

    Returns:
        Images (B, channels, H, W).
    """
    return x[:, None] if len(inputs) == 2 else x


def norm_start(width: int) -> tuple[Tensor, Tensor]:
    """Return scale and shift at which a normalisation is one and nothing else.

    Args:
        width: Number of channels.

    Returns:
        Ones and zeros (width,).
    """
    return torch.ones(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)


def batch_norm(h: Tensor, scale: Tensor, shift: Tensor, moments: Tensor | None = None) -> Tensor:
    """Normalise by batch, with ε = 1e-5 (Ioffe and Szegedy, ICML 2015).

    Args:
        h: Channels of a batch (B, K, H, W).
        scale: Factor of each channel (K,).
        shift: Summand of each channel (K,).
        moments: Mean and mean square of a population (2, K). None for those of this batch.

    Returns:
        The normalised channels (B, K, H, W).
    """
    if moments is None:
        # Without running averages no buffer changes, so the forward pass stays a pure function.
        return functional.batch_norm(h, None, None, scale, shift, training=True)
    mean, square = moments
    # rounding can make it negative where a channel is constant
    variance = (square - mean * mean).clamp(min=0)
    return functional.batch_norm(h, mean.to(h), variance.to(h), scale, shift)


def batch_moments(h: Tensor) -> Tensor:
    """Compute mean and mean square by channel.

    Unlike variances, these average over batches to the moments of their union (Wu and Johnson,
    2021, section 3).

    Args:
        h: Channels of a batch (B, K, H, W).

    Returns:
        Moments (2, K), float64.
    """
    # Population variance, so that the mean square is variance + mean².
    variance, mean = torch.var_mean(h.detach(), (0, 2, 3), correction=0)
    # In float64, because their difference is taken once they are averaged.
    variance, mean = variance.double(), mean.double()
    return torch.stack((mean, variance + mean * mean))


@dataclass(frozen=True)
class ConvBlocks:
    """Blocks of 3 x 3 convolution, group normalisation, ReLU and 2 x 2 max pooling.

    Group normalisation (Wu and He, ECCV 2018) leaves the features a pure function of weights and
    image.

    Attributes:
        inputs: Shape of an image, (H, W) or (channels, H, W).
        width: Channels of every block.
        groups: Groups of a normalisation, a divisor of `width`.
        blocks: Number of blocks, each of which halves the image's side.
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
        # Not 2**blocks, which takes for ever where blocks is huge.
        ok = bool(min(self.inputs[-2:]) >> self.blocks)
        allowed = f"images of side 2^{self.blocks} or more, halved each block"
        require(ok, "inputs", self.inputs, allowed)

    @property
    def features(self) -> int:
        """Return how many numbers the last block gives."""
        height, width = self.inputs[-2:]
        # Each pooling drops an odd last row or column, as a shift does.
        return self.width * (height >> self.blocks) * (width >> self.blocks)

    def init(self, generator: Generator) -> Params:
        """Draw kernels (out, in, 3, 3), group-norm scales and shifts (out,).

        Args:
            generator: Draws them, in float64.

        Returns:
            The parameters, by name.
        """
        params: Params = {}
        fan_in = channels(self.inputs)
        for i in range(self.blocks):
            params[f"w{i}"] = he_normal((self.width, fan_in, 3, 3), 9 * fan_in, generator)
            params[f"g{i}"], params[f"b{i}"] = norm_start(self.width)
            fan_in = self.width
        return params

    def forward(self, params: Params, x: Tensor) -> Tensor:
        """Compute the features.

        Args:
            params: The parameters, as `init` returns them.
            x: Images (B, *inputs).

        Returns:
            Features (B, features).
        """
        h = with_channels(x, self.inputs)
        for i in range(self.blocks):
            h = functional.conv2d(h, params[f"w{i}"], padding=1)
            h = functional.group_norm(h, self.groups, params[f"g{i}"], params[f"b{i}"])
            # the same as the other way round, on a quarter of the numbers
            h = functional.max_pool2d(h, 2).relu()
        return h.flatten(1)
