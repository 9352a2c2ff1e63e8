"""Prototypical network on the ball."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Generator, Tensor

from hsac.ball import expmap0, midpoint, pairwise_squared_distance
from hsac.ball.tangent import may_be_far, midpoint_tangent, replace_far, shortened
from hsac.models.layers import ConvBlocks, Params, bounded
from hsac.parts import require


@dataclass(frozen=True)
class Conv4Protonet:
    """Conv4 features, prototypes at the support's gyromidpoint.

    Logits are -d²/T (Khrulkov et al., CVPR 2020). Euclidean space gives the prototypical network of
    Snell et al. (NeurIPS 2017). T is always learned: curvature acts as a temperature too, so a
    fixed T would let learning c stand in for learning T. Normalisation is by groups, so that the
    network is a pure function of its weights.

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
    """

    inputs: tuple[int, ...]
    shot: int
    space: str
    width: int = 16
    groups: int = 4
    clip: float = 2.0
    temperature: float = 1.0
    temperature_rate: float = 10.0
    curvature_names: ClassVar[tuple[str, ...]] = ("head",)
    vmapped: ClassVar[bool] = False  # convolutions under vmap are 2 to 4 times slower on a CPU
    dtype: ClassVar[torch.dtype] = torch.float32

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        for name in ("clip", "temperature", "temperature_rate"):
            require(getattr(self, name) > 0, name, getattr(self, name), "a number above 0")
        _ = self.body

    @cached_property
    def body(self) -> ConvBlocks:
        """Return the four blocks."""
        return ConvBlocks(self.inputs, self.width, self.groups, 4)

    def init(self, generator: Generator) -> Params:
        """Draw kernels (out, in, 3, 3), group-norm scales and shifts (out,), and t of T.

        Args:
            generator: Draws the start, in float64 whatever the model's `dtype`.

        Returns:
            The parameters, by name.
        """
        # T = exp(rate·t) is positive for every t
        start = torch.tensor(self.temperature, dtype=torch.float64).log() / self.temperature_rate
        return self.body.init(generator) | {"t": start}

    def embed(self, params: Params, c: Tensor, x: Tensor) -> Tensor:
        """Compute the features.

        Args:
            params: The parameters, as `init` returns them.
            c: Curvatures (C,), one per name in `curvature_names`.
            x: Images in [0, 1], (B, H, W) or (B, 3, H, W).

        Returns:
            Tangent features at the origin (B, d).
        """
        return bounded(self.body.forward(params, x), self.clip, self.space)

    def forward(self, params: Params, c: Tensor, x: Tensor) -> Tensor:
        """Compute the logits of the queries.

        Args:
            params: The parameters, as `init` returns them.
            c: Curvatures (C,), one per name in `curvature_names`.
            x: Episodes (E, way, shot + query, *inputs).

        Returns:
            Logits (E, way·query, way), queries in class order.
        """
        features = self.embed(params, c, x.flatten(0, 2))
        return self.classify(params, c, features.unflatten(0, x.shape[:3]))

    def classify(self, params: Params, c: Tensor, u: Tensor) -> Tensor:
        """Compute the logits of the queries from features.

        Args:
            params: The parameters, as `init` returns them.
            c: Curvatures (C,), one per name in `curvature_names`.
            u: Episodes of tangent features (E, way, shot + query, d).

        Returns:
            Logits (E, way·query, way), queries in class order.
        """
        # Only unclipped features are far. Their points have lost the digits of distances.
        far = may_be_far(u, c[0])
        points = expmap0(shortened(u, c[0]) if far else u, c[0])
        prototypes = midpoint(points[:, :, : self.shot], c[0])
        queries = points[:, :, self.shot :].flatten(1, 2)
        distance = pairwise_squared_distance(queries, prototypes, c[0])
        if far:
            tangent = midpoint_tangent(u[:, :, : self.shot], c[0])
            distance = replace_far(distance, u[:, :, self.shot :].flatten(1, 2), tangent, c[0])
        temperature = (self.temperature_rate * params["t"]).exp()
        # At c = 0 this is four times the squared Euclidean distance, which T makes up for.
        return -distance / temperature
