"""What each reading of the method would minimise over c, at a solved head."""

import torch
from torch import Tensor

from hsac.frozen.head import HeadProblem
from hsac.sharpness import ScopeObjective, perturbed_loss

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


def value(
    problem: HeadProblem, w: Tensor, theta: Tensor, scope: ScopeObjective, draw: int
) -> Tensor:
    """Compute a reading at a point.

    At a minimum of the regularised loss the plain loss falls towards 0. A climb from the weights
    themselves therefore goes along -w, which no data decides. A climb that is to converge begins
    at a random point of the sphere instead, and at the opposite one. The higher end counts.

    Args:
        problem: The problems.
        w: Weights (R, P).
        theta: log c (R, 1).
        scope: The reading.
        draw: Number of the draw of start and Gaussian noise, the same for every c.

    Returns:
        Nats (R,).
    """
    # The same for every problem, so that it does not matter which others there are.
    generator = torch.Generator().manual_seed(draw)

    def normal(size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64).expand(len(w), -1)

    starts: list[Tensor | None] = [None]
    if scope.ascent_steps > 1:
        direction = normal(scope.carried_size(w.shape[-1], theta.shape[-1]))
        random = scope.radius * direction / direction.norm(dim=-1, keepdim=True)
        starts = [random, -random]
    found = []
    for start in starts:
        places = scope.find(
            problem.loss, (w, theta), start, lambda: normal(w.shape[-1]), problem.layers
        )
        with torch.no_grad():
            found.append(perturbed_loss(problem.loss, places.added, places.taken)(w, theta))
    return torch.stack(found).amax(0)
