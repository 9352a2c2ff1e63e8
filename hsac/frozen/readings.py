"""What each reading of the method would minimise over c, at a solved head."""

import torch
from torch import Tensor

from hsac.frozen.head import HeadProblem
from hsac.hypergradient.operator import Loss
from hsac.sharpness import ScopeObjective

# Name -> objective, what the scope is a ball in, its scale, and whether it is climbed until the
# adversary stands still or by one step from the weights themselves.
READINGS: dict[str, tuple[str, str, str, bool]] = {
    "gap": ("gap", "weights", "euclidean", True),
    "literal": ("gap", "weights", "euclidean", False),
    "range": ("range", "weights", "euclidean", True),
    "worst": ("worst", "weights", "adaptive", True),
    "mean": ("mean", "weights", "euclidean", False),
    "adaptive_gap": ("gap", "weights", "adaptive", True),
    "curvature_scope": ("gap", "curvature", "euclidean", True),
    "joint_scope": ("gap", "both", "euclidean", True),
}


def reading(name: str, radius: float, ascent_steps: int, draws: int) -> ScopeObjective:
    """Return a reading without its loss.

    Args:
        name: One of `READINGS`.
        radius: ρ, above 0.
        ascent_steps: Steps of an ascent that is to converge.
        draws: Gaussian draws of the reading mean.
    """
    objective, over, scope, climbs = READINGS[name]
    return ScopeObjective(
        objective=objective,
        over=over,
        scope=scope,
        radius=radius,
        per_layer=False,
        ascent_steps=ascent_steps if climbs else 1,
        live=False,
        samples=draws,
    )


def upper_level(
    problem: HeadProblem, w: Tensor, theta: Tensor, scope: ScopeObjective, draw: int
) -> Loss:
    """Return a reading with the perturbations that it has at a solved head.

    Args:
        problem: The problems.
        w: Weights (R, P).
        theta: log c (R, 1).
        scope: The reading.
        draw: Number of the draw of start and Gaussian noise, the same for every c.

    Returns:
        U, a function of w and θ. The perturbations are constants to it.
    """
    # The same for every problem, so that it does not matter which others there are.
    generator = torch.Generator().manual_seed(draw)
    size = scope.carried_size(w.shape[-1], theta.shape[-1])

    def normal() -> Tensor:
        drawn = torch.randn(size, generator=generator, dtype=torch.float64)
        return drawn.to(w).expand(len(w), -1)

    return scope.climbed(problem.loss, (w, theta), normal, problem.layers)
