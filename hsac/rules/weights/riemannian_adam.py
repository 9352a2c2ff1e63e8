"""Riemannian Adam."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import geoopt
import torch
from torch import Tensor

from hsac.rules.types import Gradient, State
from hsac.rules.weights.adam import Adam


@dataclass(frozen=True)
class RiemannianAdam:
    """Riemannian Adam (Bécigneul and Ganea, ICLR 2019) by geoopt: points of the ball stay on it,
    the rest is Adam.

    `points` are filled in from the model: start and end in w, dimension, column of the curvature of
    their ball, which may change between steps.
    """

    points: tuple[tuple[int, int, int, int], ...]
    lr: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        Adam(self.lr, self.betas, self.eps)  # refuses what it refuses

    def init(self, w: Tensor) -> State:
        """One geoopt optimiser a run; it keeps its moments inside."""
        flat = torch.ones(w.shape[1], dtype=torch.bool, device=w.device)
        for start, end, *_ in self.points:
            flat[start:end] = False
        return {"flat": flat, "runs": [self._optimiser(row, flat) for row in w.detach()]}

    def _optimiser(self, w: Tensor, flat: Tensor) -> Any:
        balls = [
            geoopt.ManifoldParameter(
                w[start:end].view(-1, size).clone(),
                manifold=geoopt.Stereographic(torch.tensor(0.0).to(w)),
            )
            for start, end, size, _ in self.points
        ]
        parameters = [torch.nn.Parameter(w[flat].clone()), *balls]
        return geoopt.optim.RiemannianAdam(parameters, lr=self.lr, betas=self.betas, eps=self.eps)

    def update(
        self, w: Tensor, state: State, gradient: Callable[[Tensor], Gradient], rate: float
    ) -> tuple[Tensor, State, Gradient]:
        """One gradient evaluation."""
        g = gradient(w)
        assert g.curvature is not None
        moved = w.clone()
        for i, optimiser in enumerate(state["runs"]):
            (group,) = optimiser.param_groups
            group["lr"] = rate * self.lr
            flat, *balls = group["params"]
            places = [state["flat"], *(slice(start, end) for start, end, *_ in self.points)]
            for (_, _, _, column), ball in zip(self.points, balls, strict=True):
                ball.manifold.k.copy_(-g.curvature[i, column])
            for place, parameter in zip(places, (flat, *balls), strict=True):
                parameter.data.copy_(w[i, place].view_as(parameter))
                parameter.grad = g.weights[i, place].view_as(parameter).clone()
            optimiser.step()
            for place, parameter in zip(places, (flat, *balls), strict=True):
                moved[i, place] = parameter.data.flatten()
        return moved, state, g
