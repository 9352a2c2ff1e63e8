"""Stochastic gradient descent."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hsac.parts import require
from hsac.rules.types import Gradient, State


@dataclass(frozen=True)
class Sgd:
    """Gradient descent with heavy-ball momentum, as torch.optim.SGD.

    Weight decay is part of the objective.

    Attributes:
        lr: Learning rate, which the schedule multiplies.
        momentum: Factor of the last step's velocity, in [0, 1).
    """

    lr: float = 0.1
    momentum: float = 0.9

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.lr > 0, "lr", self.lr, "a number above 0")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "a number in [0, 1)")

    def init(self, w: Tensor) -> State:
        """Return zero momentum.

        Args:
            w: Weights (R, P).

        Returns:
            The state.
        """
        return {"momentum": torch.zeros_like(w)}

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
        # As in torch the gradient enters whole: a steady g comes to moves of lr·g/(1 - momentum).
        momentum = self.momentum * state["momentum"] + g.weights
        return w - rate * self.lr * momentum, {"momentum": momentum}, g
