"""Graph convolutional network."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from hsac.models.graphs import row_shares
from hsac.models.layers import Params, dropped, first_linear, glorot_uniform, propagate
from hsac.parts import require


@dataclass(frozen=True)
class Gcn:
    """Two-layer GCN, the Euclidean baseline of the field: no curvature.

    After Kipf and Welling (ICLR 2017). Features are first scaled to row sums of 1.

    Attributes:
        inputs: Number of features, filled in from the data.
        classes: Number of classes, filled in from the data.
        space: euclidean or hyperbolic, filled in from the method. It makes no difference.
        hidden: Width of the hidden layer.
        dropout: Rate of dropout before each layer, in [0, 1).
    """

    inputs: int
    classes: int
    space: str
    hidden: int = 16
    dropout: float = 0.5
    curvature_names: ClassVar[tuple[str, ...]] = ()
    vmapped: ClassVar[bool] = True
    dtype: ClassVar[torch.dtype] = torch.float32

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.hidden >= 1, "hidden", self.hidden, "an integer from 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "a number in [0, 1)")

    def init(self, generator: Generator) -> Params:
        """Draw weights (out, in) and biases (out,).

        Args:
            generator: Draws the start, in float64 whatever the model's `dtype`.

        Returns:
            The parameters, by name.
        """
        params: Params = {}
        for i, shape in enumerate(((self.hidden, self.inputs), (self.classes, self.hidden))):
            params[f"w{i}"] = glorot_uniform(shape, generator)
            params[f"b{i}"] = torch.zeros(shape[0], dtype=torch.float64)
        return params

    def embed(self, params: Params, c: Tensor, graph: Any, masks: Params | None = None) -> Tensor:
        """Compute the hidden features.

        Args:
            params: The parameters, as `init` returns them.
            c: Curvatures (C,), one per name in `curvature_names`.
            graph: Features (N, F), dense or sparse, then source (E,), target (E,) and weight (E,)
                of edges.
            masks: Dropout masks of a training step, None in evaluation.

        Returns:
            Features (N, hidden).
        """
        x, source, target, weight = graph
        # the weights come first: they narrow the features before these are sent along edges
        u = first_linear(row_shares(x), params["w0"], masks, self.dropout)
        return (propagate(u, source, target, weight, len(x)) + params["b0"]).relu()

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
        x, source, target, weight = graph
        u = dropped(self.embed(params, c, graph, masks), masks, self.dropout)
        # Again the weights come first, because classes are mostly fewer than hidden features.
        return propagate(u @ params["w1"].mT, source, target, weight, len(x)) + params["b1"]
