"""The interface of models, and the protocols of some of them.

Every model is a `Model`. The other protocols here are for the features of some models. The code
that trains asks for them with `isinstance`, so a model need not inherit from any of them.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from hsac.models.heads import Head
from hsac.models.layers import Params


class Model(Protocol):
    """A model: parameters as a dict of tensors, the forward pass a pure function of them.

    `c` (C,) holds one curvature per name in `curvature_names`. The input `x` is a batch of images
    for classification, a graph, or a batch of episodes.
    """

    @property
    def curvature_names(self) -> tuple[str, ...]:
        """Return one name a curvature, in the order of the layers."""
        ...

    @property
    def vmapped(self) -> bool:
        """Return whether many seeds run faster as one program."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype that the model is trained in."""
        ...

    @property
    def space(self) -> str:
        """Return "hyperbolic" or "euclidean"."""
        ...

    def init(self, generator: Generator) -> Params:
        """Draw the parameters.

        Args:
            generator: Draws the start, in float64 whatever the model's `dtype`.

        Returns:
            The parameters, by name.
        """
        ...

    def embed(self, params: Params, c: Tensor, x: Any) -> Tensor:
        """Compute the features.

        Args:
            params: The parameters, as `init` returns them.
            c: Curvatures (C,), one per name in `curvature_names`.
            x: The input.

        Returns:
            Tangent features at the origin (B, d).
        """
        ...

    def forward(self, params: Params, c: Tensor, x: Any) -> Tensor:
        """Compute the logits.

        Args:
            params: The parameters, as `init` returns them.
            c: Curvatures (C,), one per name in `curvature_names`.
            x: The input.

        Returns:
            Logits (B, K), for episodes (E, way·query, way).
        """
        ...


# From here on `isinstance` goes by the names alone, so no other model may have them.
@runtime_checkable
class BatchNormalised(Protocol):
    """A model that normalises by batch: its `forward` and `embed` also take a `state`."""

    def statistics(self, params: Params, c: Tensor, x: Tensor) -> Params:
        """Compute the moments before each normalisation.

        Args:
            params: The parameters, as `init` returns them.
            c: Curvatures (C,), one per name in `curvature_names`.
            x: A batch of training images.

        Returns:
            Moments by the normalisation's name. Their mean over batches is a `state`.
        """
        ...


@runtime_checkable
class WithHead(Protocol):
    """A model with a head that its configuration names."""

    @property
    def classifier(self) -> Head:
        """Return the head."""
        ...


@runtime_checkable
class WithDropout(Protocol):
    """A model whose `forward` and `embed` also take dropout masks."""

    @property
    def dropout(self) -> float:
        """Return the rate of dropout, 0 for none."""
        ...

    @property
    def hidden(self) -> int:
        """Return the width of the hidden layer, of whose features some are dropped."""
        ...


@runtime_checkable
class Adapting(Protocol):
    """A model whose forward pass takes gradient steps of its own."""

    @property
    def gradients_per_pass(self) -> int:
        """Return the gradient evaluations that one of the whole network counts for."""
        ...


@runtime_checkable
class Episodic(Protocol):
    """A model of episodes whose features do not depend on the episode."""

    def classify(self, params: Params, c: Tensor, u: Tensor) -> Tensor:
        """Compute the logits of the queries from features.

        Args:
            params: The parameters, as `init` returns them.
            c: Curvatures (C,), one per name in `curvature_names`.
            u: Episodes of tangent features (E, way, shot + query, d).

        Returns:
            Logits (E, way·query, way), queries in class order.
        """
        ...
