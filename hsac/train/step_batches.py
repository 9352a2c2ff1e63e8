"""What a step draws for its curvature rule."""

from functools import cache

import torch
from torch import Tensor

from hsac.hypergradient.operator import Loss
from hsac.rules.types import HeadLevel
from hsac.train.frozen import head_level
from hsac.train.losses import BilevelLosses


class StepBatches:
    """What a step draws when a curvature rule first asks for it.

    There is one training, validation or meta batch a purpose, the same all through the step.
    """

    def __init__(self, losses: BilevelLosses, w: Tensor, theta: Tensor) -> None:
        """Draw nothing yet.

        Args:
            losses: The losses, whose task draws.
            w: Weights (R, P) at which features are taken.
            theta: θ (R, C) at which features are taken.
        """
        self.losses, self.w, self.theta = losses, w, theta
        # Cached, so that however often a rule asks in a step it sees one batch a purpose.
        self.batch = cache(lambda purpose, times: losses.task.batch(purpose, times))
        self.held_out_batch = cache(losses.draw_held_out)
        self.meta_batch = cache(losses.draw_meta)

    def loss(self, times: int = 1) -> Loss:
        """Draw the upper level's loss.

        Args:
            times: The size of the sample, in training batches.

        Returns:
            The loss (w, θ) -> (R,).
        """
        return self.losses.loss(self.batch("upper", times), times=times)

    def objective(self, times: int = 1, shared: bool = False, decay: bool = True) -> Loss:
        """Draw the lower level's objective.

        Args:
            times: The size of the sample, in training batches.
            shared: Whether the sample is the upper level's.
            decay: Whether weight decay is part of it.

        Returns:
            The objective (w, θ) -> (R,).
        """
        batch = self.batch("upper" if shared else "lower", times)
        return (self.losses.objective if decay else self.losses.loss)(batch, times=times)

    def adversary(self, times: int = 1) -> Loss:
        """Draw the loss that an adversary is found on.

        Args:
            times: The size of the sample, in training batches.

        Returns:
            The loss (w, θ) -> (R,).
        """
        return self.losses.loss(self.batch("adversary", times), times=times)

    def held_out(self, stream: str = "held_out") -> Loss:
        """Draw a loss on the validation part.

        Args:
            stream: The stream of random numbers, by name.

        Returns:
            The loss (w, θ) -> (R,).
        """
        return self.losses.held_out(self.held_out_batch(stream))

    def meta(self, stream: str = "meta") -> Loss:
        """Draw a loss on the meta set.

        Args:
            stream: The stream of random numbers, by name.

        Returns:
            The loss (w, θ) -> (R,).

        Raises:
            InputError: The variant has no meta set.
        """
        return self.losses.held_out(self.meta_batch(stream))

    def features(self) -> Tensor:
        """Compute tangent features (R, N, d) of a training batch that is fresh at each call."""
        with torch.no_grad():
            c = self.losses.tau(self.theta)
            return self.losses.task.features(self.losses.ensemble, self.w, c)

    def head(self, stream: str, rows: int) -> HeadLevel:
        """Make the problem of the head alone, on the features of a sample at w and θ.

        Args:
            stream: The stream of random numbers, by name.
            rows: Size of the sample in training rows.

        Returns:
            The problem.

        Raises:
            InputError: The model has no head.
        """
        return head_level(self.losses, self.w, self.theta, stream, rows)
