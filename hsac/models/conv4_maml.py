"""Model-agnostic meta-learning, a Euclidean baseline."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from hsac._learn2learn import learn2learn
from hsac.models.layers import ConvBlocks, Params
from hsac.parts import require


@dataclass(frozen=True)
class Conv4Maml:
    """MAML (Finn et al. 2017) on Conv4: a Euclidean baseline.

    By learn2learn (ICML 2017), with a linear classifier. Every episode starts from the same weights
    and takes gradient steps on its support, in training as in evaluation. The adapted network
    answers the queries. Normalisation is by groups, so that nothing passes between the images of an
    episode but through the weights.

    Attributes:
        inputs: Shape of an image, filled in from the data: (H, W) grey, (3, H, W) in colour.
        way: Classes of an episode, filled in from the data.
        shot: Support images a class, filled in from the data.
        space: euclidean or hyperbolic, filled in from the method. It makes no difference.
        width: Channels of every block.
        groups: Groups of a normalisation, a divisor of `width`.
        steps: Gradient steps on the support.
        inner_lr: Their learning rate.
        first_order: Whether training takes the gradients of these steps for constants. It costs
            less than half, but the gradient, and with it measured sharpness, is then an
            approximation.
    """

    inputs: tuple[int, ...]
    way: int
    shot: int
    space: str
    width: int = 16
    groups: int = 4
    steps: int = 5
    inner_lr: float = 0.1
    first_order: bool = False
    curvature_names: ClassVar[tuple[str, ...]] = ()
    vmapped: ClassVar[bool] = False  # adapts one network after the other
    dtype: ClassVar[torch.dtype] = torch.float32

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.steps >= 1, "steps", self.steps, "an integer from 1")
        require(self.inner_lr > 0, "inner_lr", self.inner_lr, "a number above 0")
        _ = self.body

    @cached_property
    def body(self) -> ConvBlocks:
        """Return the four blocks."""
        return ConvBlocks(self.inputs, self.width, self.groups, 4)

    def init(self, generator: Generator) -> Params:
        """Draw the blocks' parameters, and the classifier's weights z (way, d) and biases r (way,).

        Args:
            generator: Draws the start, in float64 whatever the model's `dtype`.

        Returns:
            The parameters, by name.
        """
        params = self.body.init(generator)
        d = self.body.features
        z = torch.randn((self.way, d), generator=generator, dtype=torch.float64) / d**0.5
        return params | {"z": z, "r": torch.zeros(self.way, dtype=torch.float64)}

    @property
    def gradients_per_pass(self) -> int:
        """Return the gradient evaluations that one of the whole network counts for.

        These are its own and those of the adaptation.
        """
        return self.steps + 1

    def embed(self, params: Params, c: Tensor, x: Tensor) -> Tensor:
        """Compute the features before adaptation.

        Args:
            params: The parameters, as `init` returns them.
            c: Curvatures (C,), one per name in `curvature_names`.
            x: Images in [0, 1], (B, H, W) or (B, 3, H, W).

        Returns:
            Features (B, d).
        """
        return self.body.forward(params, x)

    def forward(self, params: Params, c: Tensor, x: Tensor) -> Tensor:
        """Compute the logits of the queries.

        Args:
            params: The parameters, as `init` returns them.
            c: Curvatures (C,), one per name in `curvature_names`.
            x: Episodes (E, way, shot + query, *inputs).

        Returns:
            Logits (E, way·query, way), queries in class order.
        """
        logits = []
        for episode in x:
            support, queries = episode[:, : self.shot], episode[:, self.shot :]
            logits.append(self._adapted(params, support)(queries.flatten(0, 1)))
        return torch.stack(logits)

    def _adapted(self, params: Params, support: Tensor) -> nn.Module:
        """Return the network after the steps on the support (way, shot, *inputs).

        Outside of autograd it holds no graph.
        """
        # Without autograd nobody differentiates through the steps.
        first_order = self.first_order or not torch.is_grad_enabled()
        images = support.flatten(0, 1)
        labels = torch.arange(self.way, device=support.device).repeat_interleave(self.shot)
        maml = learn2learn().algorithms.MAML
        # the steps need gradients in evaluation, too
        with torch.enable_grad():
            network = _Network(self.body, {name: _leaf(p) for name, p in params.items()})
            # A clone is adapted, so that the weights that episodes share stay as they are.
            learner = maml(network, lr=self.inner_lr, first_order=first_order).clone()
            for _ in range(self.steps):
                learner.adapt(functional.cross_entropy(learner(images), labels))
        return learner


def _leaf(p: Tensor) -> Tensor:
    # In evaluation weights need no gradient, but the steps on the support do.
    return p if p.requires_grad else p.detach().requires_grad_()


class _Network(nn.Module):
    """Blocks and classifier as a module on given tensors.

    Gradients flow through it, and on to whatever these tensors are computed from.
    """

    def __init__(self, body: ConvBlocks, params: Params) -> None:
        super().__init__()
        self.body = body
        own: Any = self._parameters
        own.update(params)  # as they are: an nn.Parameter would be a leaf

    def forward(self, x: Tensor) -> Tensor:
        p: Any = self._parameters  # where learn2learn puts the adapted tensors
        return functional.linear(self.body.forward(p, x), p["z"], p["r"])
