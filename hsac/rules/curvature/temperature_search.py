"""Curvature searched by the held-out loss at its own best temperature."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hsac.ball.curvature import Transform
from hsac.parts import require
from hsac.rules.curvature.fixed import Fixed
from hsac.rules.types import Trial


# It is a `Fixed`, because c rests within each of its trainings.
@dataclass(frozen=True)
class TemperatureSearch(Fixed):
    """Descent on the held-out loss of whole trainings.

    It goes by the sign of paired differences. U(θ) = min_a mean CE(e^a f, y) over the validation
    part, with f the logits of the network trained at θ. The best temperature is taken out, because
    curvature acts as one too. For each step, trainings at θ - `pair` and θ + `pair`, from the same
    start and on the same batches, tell which way U falls. θ goes that far. All curvatures of a
    network move together, in θ. The training of least U is chosen.

    A training that was done before is not done again. With the defaults the second pair has one new
    point and the last θ none, three trainings in all.

    Attributes:
        pair: Distance in θ of the two trainings from their middle.
        steps: Lengths of the steps in θ, in order.
    """

    pair: float = 0.6
    steps: tuple[float, ...] = (1.2, 0.6)
    searches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(0 < self.pair < math.inf, "pair", self.pair, "a number above 0")
        positive = all(isinstance(s, int | float) and 0 < s < math.inf for s in self.steps)
        ok = bool(self.steps) and positive
        require(ok, "steps", self.steps, "a list of numbers above 0")

    def propose(
        self, start: Tensor, tried: Sequence[Trial], transform: Transform, stream: torch.Generator
    ) -> Tensor | None:
        """Return the first θ on the way of the search that was not trained at yet.

        Args:
            start: θ (C,) of the method's initial curvature.
            tried: The trainings so far, in order.
            transform: Maps θ to curvatures and knows their bounds.
            stream: The run's own random stream.

        Returns:
            θ (C,) of the next training, None when the search is at its end.
        """

        def found(offset: float) -> float | None:
            """Return U at the start moved by so much, None where it is not known."""
            # Trainings are at clamped θ, so that points beyond a bound are all found there.
            theta = transform.clamp(start + offset)
            for trial in tried:
                # Sums of steps that lead to the same place differ by rounding, in float32 the more.
                if torch.allclose(trial.theta, theta, rtol=0, atol=1e-6):
                    return trial.tempered
            return None

        offset = 0.0
        for step in self.steps:
            ends = offset - self.pair, offset + self.pair
            losses = [found(end) for end in ends]
            for end, loss in zip(ends, losses, strict=True):
                if loss is None:
                    return transform.clamp(start + end)
            below, above = losses
            # the sign of below - above, and 0 where they are equal
            offset += step * ((below > above) - (below < above))  # type: ignore[operator]
        return None if found(offset) is not None else transform.clamp(start + offset)

    def score(self, trial: Trial) -> Any:
        """Return -U.

        Args:
            trial: A finished training.

        Returns:
            The score. The training with the largest is chosen.
        """
        return -trial.tempered
