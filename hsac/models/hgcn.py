"""Hyperbolic graph convolutional network."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from hsac.ball import expmap0, logmap0, mobius_add
from hsac.models.heads import Headed
from hsac.models.layers import Params, bounded, dropped, first_linear, he_normal, propagate
from hsac.parts import require


@dataclass(frozen=True)
class Hgcn(Headed):
    """Two HGCN layers with tangent-space aggregation, and a head.

    After Chami et al. (NeurIPS 2019). There is one curvature a layer and one for the head. At c = 0
    it is a GCN (Kipf and Welling, ICLR 2017).

    Attributes:
        inputs: Number of features, filled in from the data.
        classes: Number of classes, filled in from the data.
        space: euclidean or hyperbolic, filled in from the method.
        hidden: Width of the hidden layer.
        dim: Dimension of the features.
        clip: Norm that features are clipped to in hyperbolic space, before each layer and the head.
        dropout: Rate of dropout of each layer's input, in tangent space, in [0, 1).
        head: {rule, parameters} of the head, filled in from the method. A Poincaré MLR by default.
    """

    inputs: int
    classes: int
    space: str
    hidden: int = 8
    dim: int = 8
    clip: float = 2.0
    dropout: float = 0.0
    head: dict = None  # type: ignore[assignment]
    layer_names: ClassVar[tuple[str, ...]] = ("layer0", "layer1")
    vmapped: ClassVar[bool] = True
    # Mixed derivatives in c lose accuracy in float32. This model is small enough for float64.
    dtype: ClassVar[torch.dtype] = torch.float64

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        for name in ("hidden", "dim"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "an integer from 1")
        require(self.clip > 0, "clip", self.clip, "a number above 0")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "a number in [0, 1)")

    def init(self, generator: Generator) -> Params:
        """Draw weights (out, in), biases (out,) as tangent vectors, and the head's parameters.

        Args:
            generator: Draws the start, in float64 whatever the model's `dtype`.

        Returns:
            The parameters, by name.
        """
        params: Params = {}
        for i, (fan_in, out) in enumerate(((self.inputs, self.hidden), (self.hidden, self.dim))):
            params[f"w{i}"] = he_normal((out, fan_in), fan_in, generator)
            params[f"b{i}"] = torch.zeros(out, dtype=torch.float64)
        return params | self.classifier.init(generator)

    def embed(self, params: Params, c: Tensor, graph: Any, masks: Params | None = None) -> Tensor:
        """Compute the features of every node.

        Args:
            params: The parameters, as `init` returns them.
            c: Curvatures (C,), one per name in `curvature_names`.
            graph: Features (N, F), dense or sparse, then source (E,), target (E,) and weight (E,)
                of edges.
            masks: Dropout masks of a training step, None in evaluation.

        Returns:
            Tangent features at the origin (N, dim).
        """
        x, source, target, weight = graph
        u = first_linear(x, params["w0"], masks, self.dropout)
        for i in range(2):
            point = expmap0(bounded(u, self.clip, self.space), c[i])
            # As a tangent vector the bias is on the ball for every c.
            bias = expmap0(params[f"b{i}"], c[i])[None]
            point = mobius_add(point, bias, c[i])
            # Neighbours are summed in the tangent space, the same for every c.
            u = propagate(logmap0(point, c[i]), source, target, weight, len(x))
            # Layer 1's weights act in the tangent space, too: its ball may be another one.
            u = dropped(u.relu(), masks, self.dropout) @ params["w1"].mT if i == 0 else u
        return bounded(u, self.clip, self.space)

    def forward(self, params: Params, c: Tensor, graph: Any, masks: Params | None = None) -> Tensor:
        """Compute the logits of every node.

        Args:
            params: The parameters, as `init` returns them.
            c: Curvatures (C,), one per name in `curvature_names`.
            graph: Features (N, F), dense or sparse, then source (E,), target (E,) and weight (E,)
                of edges.
            masks: Dropout masks of a training step, None in evaluation.

        Returns:
            Logits (N, K).
        """
        return self.logits(params, c, self.embed(params, c, graph, masks))
