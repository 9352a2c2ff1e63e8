"""Riemannian Adam."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hsac import imports
from hsac.rules.types import Gradient, Place, State
from hsac.rules.weights.adam import Adam

with imports.quiet():
    import geoopt


@dataclass(frozen=True)
class RiemannianAdam:
    """Riemannian Adam for points of the ball, Adam for the rest.

    After Bécigneul and Ganea (ICLR 2019), by geoopt. Points of the ball stay on it. Their ball's
    curvature may change between steps.

    Attributes:
        points: Filled in from the model. For each parameter of points: start and end in w,
            dimension, and column of its ball's curvature.
        lr: Learning rate, which the schedule multiplies.
        betas: Factors of the running means of the gradient and of its square, each in [0, 1).
        eps: Added to the root of the second, above 0.
    """

    points: tuple[Place, ...]
    lr: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        # Adam has the same parameters and checks
        Adam(self.lr, self.betas, self.eps)

    def init(self, w: Tensor) -> State:
        """Return one geoopt optimizer a run, which keeps its moments inside.

        Args:
            w: Weights (R, P).

        Returns:
            The state.
        """
        flat = self._flat(w)
        # A manifold of geoopt has one curvature, and each run has its own.
        return {"runs": [self._optimizer(row, flat) for row in w.detach()]}

    def _flat(self, w: Tensor) -> Tensor:
        """Return which coordinates of w belong to no point of the ball, (P,)."""
        flat = torch.ones(w.shape[1], dtype=torch.bool, device=w.device)
        for start, end, *_ in self.points:
            flat[start:end] = False
        return flat

    def _optimizer(self, w: Tensor, flat: Tensor) -> Any:
        balls = []
        for start, end, size, _ in self.points:
            # the curvature is set before every step
            manifold = geoopt.Stereographic(torch.tensor(0.0).to(w))
            points = w[start:end].view(-1, size).clone()
            balls.append(geoopt.ManifoldParameter(points, manifold=manifold))
        parameters = [torch.nn.Parameter(w[flat].clone()), *balls]
        return geoopt.optim.RiemannianAdam(parameters, lr=self.lr, betas=self.betas, eps=self.eps)

    def update(
        self, w: Tensor, state: State, gradient: Callable[[Tensor], Gradient], rate: float
    ) -> tuple[Tensor, State, Gradient]:
        """Take one step, with one gradient evaluation.

        Args:
            w: Weights (R, P).
            state: The state from `init` or the previous call.
            gradient: Evaluates the training objective at weights (R, P). Each call is counted.
            rate: The schedule's factor on the learning rate, in [0, 1].

        Returns:
            The new weights (R, P), the new state, and the last gradient that was evaluated.
        """
        g = gradient(w)
        # Gradients of the training loop always carry it.
        assert g.curvature is not None
        moved, elsewhere = w.clone(), self._flat(w)
        for i, optimizer in enumerate(state["runs"]):
            (group,) = optimizer.param_groups
            group["lr"] = rate * self.lr
            flat, *balls = group["params"]
            places: list[Any] = [elsewhere, *(slice(start, end) for start, end, *_ in self.points)]
            # geoopt's curvature is negative, ours is not
            for (_, _, _, column), ball in zip(self.points, balls, strict=True):
                ball.manifold.k.copy_(-g.curvature[i, column])
            # geoopt's parameters are only its workspace, w is where other rules look
            for place, parameter in zip(places, (flat, *balls), strict=True):
                parameter.data.copy_(w[i, place].view_as(parameter))
                parameter.grad = g.weights[i, place].view_as(parameter).clone()
            optimizer.step()
            for place, parameter in zip(places, (flat, *balls), strict=True):
                moved[i, place] = parameter.data.flatten()
        return moved, state, g

    def transport(self, state: State, factors: Sequence[Tensor]) -> State:
        """Take the first moments of points along when these go over to another ball.

        The second ones are running means of squared lengths, which transport keeps.

        Args:
            state: The state after an update.
            factors: What tangent vectors are multiplied by, (R, points, 1) for each parameter of
                points.

        Returns:
            The state, with its moments changed in place.
        """
        for i, optimizer in enumerate(state["runs"]):
            _, *balls = optimizer.param_groups[0]["params"]
            for ball, factor in zip(balls, factors, strict=True):
                optimizer.state[ball]["exp_avg"].mul_(factor[i])
        return state
