"""What residual networks for images share: blocks, convolutions, and batch normalisation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Generator, Tensor
from torch.nn import functional

from hsac.models.heads import Headed
from hsac.models.layers import Params, batch_moments, bounded, he_normal, norm_start

# (name of a normalisation, its input) -> moments to normalise by, None for those of the input
Moments = Callable[[str, Tensor], Tensor | None]


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


def stages(inside: int, widths: Sequence[int], count: int) -> list[Block]:
    """Lay out blocks in stages, each but the first of which halves the image's side.

    Args:
        inside: Channels that the first block gets.
        widths: Channels of each stage.
        count: Blocks of a stage.

    Returns:
        The blocks, in order.
    """
    blocks = []
    for stage, width in enumerate(widths):
        for i in range(count):
            stride = 2 if stage > 0 and i == 0 else 1
            blocks.append(Block(f"{stage}.{i}", inside, width, stride))
            inside = width
    return blocks


def add_kernel(
    params: Params, name: str, shape: tuple[int, int, int], generator: Generator
) -> None:
    """Draw the kernel `NAME.w` (out, in, k, k) of a convolution.

    It has no bias: the normalisation behind a convolution would take it out.

    Args:
        params: Where the kernel goes.
        name: The convolution's name.
        shape: Channels in, channels out, and the kernel's side k.
        generator: Draws it.
    """
    inside, out, kernel = shape
    fan_in = kernel * kernel * inside
    params[f"{name}.w"] = he_normal((out, inside, kernel, kernel), fan_in, generator)


def add_norm(params: Params, name: str, width: int) -> None:
    """Start the scale `NAME.g` and the shift `NAME.b` (width,) of a normalisation.

    Args:
        params: Where they go.
        name: The normalisation's name.
        width: Number of channels.
    """
    params[f"{name}.g"], params[f"{name}.b"] = norm_start(width)


def convolved(params: Params, name: str, h: Tensor, stride: int = 1) -> Tensor:
    """Convolve with the kernel `NAME.w`, padded so that stride 1 keeps the side.

    Args:
        params: The parameters.
        name: The convolution's name.
        h: Channels (B, in, H, W).
        stride: The stride.

    Returns:
        Channels (B, out, H', W').
    """
    kernel = params[f"{name}.w"]
    return functional.conv2d(h, kernel, stride=stride, padding=kernel.shape[-1] // 2)


class Normalised(Headed):
    """A network that normalises by batch, and a head on its clipped features.

    Training normalises by the batch at hand, so it is a pure function of weights and batch. For
    evaluation `statistics` gives the moments before every normalisation, of batches of training
    images at these very weights, and `forward` takes their mean as its `state`. This is "precise
    BN" (Wu and Johnson, arXiv:2105.07576), as torch.optim.swa_utils.update_bn does it, not running
    averages of past moments.

    Attributes:
        space: euclidean or hyperbolic.
        clip: Norm that the features are clipped to in hyperbolic space.
    """

    space: str
    clip: float

    def features(self, params: Params, x: Tensor, moments: Moments) -> Tensor:
        """Compute pooled features (B, dim) of images, as each network does for itself."""
        raise NotImplementedError

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

        self.features(params, x, collect)
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
        u = self.features(params, x, lambda name, h: None if state is None else state[name])
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
