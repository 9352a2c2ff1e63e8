"""How long and at which rates a training goes."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """How long and at which rates to train, and when and how to measure.

    Attributes:
        epochs: Epochs of training.
        weight_decay: Factor of |w|²/2 in the objective.
        kind: How the learning rate changes: `constant`, `cosine` or `warmup_steps`.
        evaluations: Evaluations, evenly spread; the last is at the end.
        radius: Radius of the scope that sharpness is measured in.
        ascent_steps: Steps of the ascent that finds the worst point of the scope.
        rate: A factor on the learning rate beside the schedule's.
    """

    epochs: int
    weight_decay: float
    kind: str
    evaluations: int
    radius: float
    ascent_steps: int
    rate: float = 1.0

    def factor(self, step: int, total: int) -> float:
        """Compute the factor on the learning rate at a step.

        `warmup_steps` is the recipe of Cao et al. (NeurIPS 2019) in shares of training (there 5,
        160 and 180 of 200 epochs): a linear rise over the first 2.5 %, 0.01 from 80 % on, 0.0001
        from 90 % on.

        Args:
            step: The step, from 0.
            total: Steps of the whole training.

        Returns:
            The factor, from 0.
        """
        if self.kind == "cosine":
            return self.rate * (0.5 * (1 + math.cos(math.pi * step / total)))
        if self.kind == "warmup_steps":
            done = step / total
            # From step + 1, so that the first step already moves the weights.
            rising = min(1.0, (step + 1) / (0.025 * total))
            return self.rate * rising * (1.0 if done < 0.8 else 0.01 if done < 0.9 else 0.0001)
        return self.rate

    def evaluated(self, total: int) -> set[int]:
        """Compute after which steps to evaluate.

        Args:
            total: Steps of the whole training.

        Returns:
            Numbers of steps done, from 1 to `total`.
        """
        # A set, as a short training may have fewer steps than evaluations.
        return {round(total * (i + 1) / self.evaluations) for i in range(self.evaluations)}
