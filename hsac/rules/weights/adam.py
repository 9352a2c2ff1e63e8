"""Adam."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hsac.parts import require
from hsac.rules.types import Gradient, State


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, ICLR 2015), as torch.optim.Adam.

    Weight decay is part of the objective.

    Attributes:
        lr: Learning rate, which the schedule multiplies.
        betas: Factors of the running means of the gradient and of its square, each in [0, 1).
        eps: Added to the root of the second, above 0.
    """

    lr: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.lr > 0, "lr", self.lr, "a number above 0")
        # Values come from a configuration file, so they may be of any type.
        inside = all(isinstance(b, int | float) and 0 <= b < 1 for b in self.betas)
        ok = len(self.betas) == 2 and inside
        require(ok, "betas", self.betas, "two numbers in [0, 1)")
        require(self.eps > 0, "eps", self.eps, "a number above 0")

    def init(self, w: Tensor) -> State:
        """Return zero moments.

        Args:
            w: Weights (R, P).

        Returns:
            The state.
        """
        # `Hsac` has a tensor as count, because its runs can skip steps.
        return {"first": torch.zeros_like(w), "second": torch.zeros_like(w), "count": 0}

    def apply(self, w: Tensor, state: State, g: Tensor, rate: float = 1.0) -> tuple[Tensor, State]:
        """Take one step along a gradient.

        Args:
            w: The parameters (..., P).
            state: The state from `init` or the previous call.
            g: The gradient, of w's shape.
            rate: Factor on the learning rate.

        Returns:
            The new w and the new state.
        """
        first_beta, second_beta = self.betas
        count = state["count"] + 1
        first = first_beta * state["first"] + (1 - first_beta) * g
        second = second_beta * state["second"] + (1 - second_beta) * g * g
        # both means start at 0, and the factors undo that bias
        # As torch has it, eps is added to the corrected root.
        scale = (second / (1 - second_beta**count)).sqrt() + self.eps
        moved = w - rate * self.lr * first / (1 - first_beta**count) / scale
        return moved, {"first": first, "second": second, "count": count}

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
        moved, state = self.apply(w, state, g.weights, rate)
        return moved, state, g
