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
    """MAML of learn2learn on Conv4 and a linear classifier (Finn et al., ICML 2017), a Euclidean
    baseline.

    Every episode starts from the same weights and takes `steps` gradient steps at rate `inner_lr`
    on its support, in training as in evaluation; the adapted network answers the queries. Training
    differentiates through these steps, or with `first_order` takes their gradients for constants,
    which costs less than half: the gradient, and with it measured sharpness, is then an
    approximation. Group normalisation, so that nothing passes between the images of an episode but
    through the weights.
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
        """The four blocks."""
        return ConvBlocks(self.inputs, self.width, self.groups, 4)

    def init(self, generator: Generator) -> Params:
        """Those of the blocks, then the classifier's weights z (way, d) and biases r (way,)."""
        params = self.body.init(generator)
        d = self.body.features
        z = torch.randn((self.way, d), generator=generator, dtype=torch.float64) / d**0.5
        return params | {"z": z, "r": torch.zeros(self.way, dtype=torch.float64)}

    @property
    def gradients_per_pass(self) -> int:
        """Gradient evaluations that one of the whole network counts for: its own and those of the
        adaptation.
        """
        return self.steps + 1

    def embed(self, params: Params, c: Tensor, x: Tensor) -> Tensor:
        """Images x (B, H, W) or (B, 3, H, W) -> features before adaptation (B, d)."""
        return self.body.forward(params, x)

    def forward(self, params: Params, c: Tensor, x: Tensor) -> Tensor:
        """Episodes x (E, way, shot + query, *inputs) -> logits (E, way·query, way), queries in
        class order.
        """
        return torch.stack(
            [self._adapted(params, e[:, : self.shot])(e[:, self.shot :].flatten(0, 1)) for e in x]
        )

    def _adapted(self, params: Params, support: Tensor) -> nn.Module:
        """The network after the steps on the support (way, shot, *inputs); outside of autograd it
        holds no graph.
        """
        first_order = self.first_order or not torch.is_grad_enabled()
        with torch.enable_grad():
            start = {
                k: p if p.requires_grad else p.detach().requires_grad_() for k, p in params.items()
            }
            network = _Network(self.body, start)
            learner = (
                learn2learn()
                .algorithms.MAML(network, lr=self.inner_lr, first_order=first_order)
                .clone()
            )
            images, labels = support.flatten(0, 1), torch.arange(self.way, device=support.device)
            for _ in range(self.steps):
                learner.adapt(
                    functional.cross_entropy(learner(images), labels.repeat_interleave(self.shot))
                )
        return learner


class _Network(nn.Module):
    """Blocks and classifier as a module on given tensors, through which gradients flow back to what
    these are of.
    """

    def __init__(self, body: ConvBlocks, params: Params) -> None:
        super().__init__()
        self.body = body
        own: Any = self._parameters
        own.update(params)  # as they are: an nn.Parameter would be a leaf

    def forward(self, x: Tensor) -> Tensor:
        p: Any = self._parameters  # where learn2learn puts the adapted tensors
        return functional.linear(self.body.forward(p, x), p["z"], p["r"])
