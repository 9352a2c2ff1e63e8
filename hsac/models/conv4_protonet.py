"""Prototypical network on the ball."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch

from hsac.models.layers import ConvBlocks
from hsac.models.protonets import Protonet


@dataclass(frozen=True)
class Conv4Protonet(Protonet):
    """Conv4 features, prototypes at the support's gyromidpoint.

    Logits are -d²/T (Khrulkov et al., CVPR 2020), as `Protonet` computes them. Normalisation is by
    groups, so that the network is a pure function of its weights.

    Attributes:
        inputs: Shape of an image, filled in from the data: (H, W) grey, (3, H, W) in colour.
        shot: Support images a class, filled in from the data.
        space: euclidean or hyperbolic, filled in from the method.
        width: Channels of every block.
        groups: Groups of a normalisation, a divisor of `width`.
        clip: Norm that the features are clipped to in hyperbolic space.
        temperature: Start of T.
        temperature_rate: T = exp(rate·t) with the weight t. A step of Adam moves log T `rate` times
            as far as another weight.
        power: Power of the distance in the logits: 2, or 1 for -d/T.
    """

    inputs: tuple[int, ...]
    shot: int
    space: str
    width: int = 16
    groups: int = 4
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
    def body(self) -> ConvBlocks:
        """Return the four blocks."""
        return ConvBlocks(self.inputs, self.width, self.groups, 4)
