"""Carry parameters that are points of a ball over to the ball of another curvature."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hsac.ball.maps import conformal_factor, expmap0, logmap0, project
from hsac.rules.types import Place


def carry(
    places: Sequence[Place], w: Tensor, before: Tensor, after: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Carry points along the identity of the tangent spaces at the origin.

    p goes to expmap0(logmap0(p, c), c'). A tangent vector at p goes to the origin by parallel
    transport, and from the origin of the new ball to the new point: there is a factor
    λ_p/λ_p' and no rotation. Distances from the origin and lengths stay.

    Args:
        places: Where w holds points.
        w: Weights (R, P).
        before: Curvatures (R, one a name of the model's) of the balls that the points are in.
        after: Those of the balls that they go to. Where it is the same, nothing changes.

    Returns:
        The new weights (R, P), and for each place the factors (R, points, 1) of tangent vectors.
    """
    w, factors = w.clone(), []
    for start, end, size, column in places:
        old, new = (c[:, column, None, None] for c in (before, after))
        # Weight rules that know of no ball may have taken points off it. Heads project them, too.
        x = project(w[:, start:end].unflatten(1, (-1, size)), old)
        moved = project(expmap0(logmap0(x, old), new), new)
        factor = conformal_factor(x, old) / conformal_factor(moved, new)
        # To the bit where c rests: rounding would add up over the steps.
        still = old == new
        factors.append(torch.where(still, torch.ones_like(factor), factor))
        at = w[:, start:end]
        w[:, start:end] = torch.where(still.flatten(1), at, moved.flatten(1))
    return w, factors
