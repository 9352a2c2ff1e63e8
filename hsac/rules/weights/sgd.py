"""Stochastic gradient descent."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hsac.parts import require
from hsac.rules.types import Gradient, State


@dataclass(frozen=True)
class Sgd:
    """Gradient descent with heavy-ball momentum, as torch.optim.SGD (weight decay is part of the
    objective).
    """

    lr: float = 0.1
    momentum: float = 0.9

    def __post_init__(self) -> None:
        require(self.lr > 0, "lr", self.lr, "a number above 0")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "a number in [0, 1)")

    def init(self, w: Tensor) -> State:
        """Zero momentum."""
        return {"momentum": torch.zeros_like(w)}

    def update(
        self, w: Tensor, state: State, gradient: Callable[[Tensor], Gradient], rate: float
    ) -> tuple[Tensor, State, Gradient]:
        """One gradient evaluation."""
        g = gradient(w)
        momentum = self.momentum * state["momentum"] + g.weights
        return w - rate * self.lr * momentum, {"momentum": momentum}, g
