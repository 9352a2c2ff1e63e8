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
    """Two-layer GCN (Kipf and Welling, ICLR 2017), the Euclidean baseline of the field: no
    curvature.

    Features are scaled to row sums of 1 first; dropout at rate `dropout` before each layer.
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
        """Weights (out, in) and biases (out,)."""
        params: Params = {}
        for i, shape in enumerate(((self.hidden, self.inputs), (self.classes, self.hidden))):
            params[f"w{i}"] = glorot_uniform(shape, generator)
            params[f"b{i}"] = torch.zeros(shape[0], dtype=torch.float64)
        return params

    def embed(self, params: Params, c: Tensor, graph: Any, masks: Params | None = None) -> Tensor:
        """Graph (x (N, F), source (E,), target (E,), weight (E,)) -> hidden features (N, d)."""
        x, source, target, weight = graph
        u = first_linear(row_shares(x), params["w0"], masks, self.dropout)
        return (propagate(u, source, target, weight, len(x)) + params["b0"]).relu()

    def forward(self, params: Params, c: Tensor, graph: Any, masks: Params | None = None) -> Tensor:
        """Graph -> logits of every node (N, K); `masks` of training, none in evaluation."""
        x, source, target, weight = graph
        u = dropped(self.embed(params, c, graph, masks), masks, self.dropout)
        return propagate(u @ params["w1"].mT, source, target, weight, len(x)) + params["b1"]
