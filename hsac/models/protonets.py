"""What prototypical networks share, whatever computes their features."""

from typing import ClassVar, Protocol

import torch
from torch import Generator, Tensor

from hsac.ball import expmap0, midpoint, pairwise_squared_distance
from hsac.ball.tangent import may_be_far, midpoint_tangent, replace_far, shortened
from hsac.models.layers import Params, bounded, check_power, distance_power
from hsac.parts import require


class Body(Protocol):
    """A network from images to features."""

    def init(self, generator: Generator) -> Params:
        """Draw the parameters, by name.

        Args:
            generator: Draws them, in float64.
        """
        ...

    def forward(self, params: Params, x: Tensor) -> Tensor:
        """Compute features (B, features) of images (B, *inputs).

        Args:
            params: The parameters, as `init` returns them. Others may be among them.
            x: The images.
        """
        ...


class Protonet:
    """Prototypes at the support's gyromidpoint, logits -d²/T or -d/T.

    After Khrulkov et al. (CVPR 2020). Euclidean space gives the prototypical network of Snell et
    al. (NeurIPS 2017). T is always learned: curvature acts as a temperature too, so a fixed T would
    let learning c stand in for learning T.

    Attributes:
        shot: Support images a class.
        space: euclidean or hyperbolic.
        clip: Norm that the features are clipped to in hyperbolic space.
        temperature: Start of T.
        temperature_rate: T = exp(rate·t) with the weight t.
        power: Power of the distance in the logits, 1 or 2.
    """

    shot: int
    space: str
    clip: float
    temperature: float
    temperature_rate: float
    power: int
    curvature_names: ClassVar[tuple[str, ...]] = ("head",)

    @property
    def body(self) -> Body:
        """Return what computes the features."""
        raise NotImplementedError

    def check(self) -> None:
        """Refuse parameters that are out of range, those of the body included.

        Raises:
            InputError: One of them is refused. The message names it.
        """
        for name in ("clip", "temperature", "temperature_rate"):
            require(getattr(self, name) > 0, name, getattr(self, name), "a number above 0")
        check_power(self.power)
        _ = self.body

    def init(self, generator: Generator) -> Params:
        """Draw the body's parameters, and t of T.

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
        # At c = 0 the distance is twice the Euclidean one, which T makes up for.
        return -distance_power(distance, self.power) / temperature
