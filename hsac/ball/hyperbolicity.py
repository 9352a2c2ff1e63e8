"""How tree-like a finite metric space is."""

import torch
from torch import Tensor

from hsac.ball.inputs import full_precision


@full_precision
def four_point(distance: Tensor) -> Tensor:
    """Compute Gromov's δ by the four-point definition, exactly.

    δ is the smallest number with (x|y) ≥ min((x|z), (z|y)) - δ for all x, y, z and every base point
    w. The Gromov products are (x|y) = ½(d(x, w) + d(y, w) - d(x, y)). Equivalently δ is half the
    largest gap between the two larger of the three sums of opposite sides of four points. A tree
    has δ = 0.

    For one base point δ is the largest entry of G ⊗ G - G, with ⊗ the max-min matrix product
    (Fournier, Ismail, Vigneron, Information Processing Letters 2015). It takes N⁴/4 operations.

    Args:
        distance: Distances of the points of one or more spaces (..., N, N).

    Returns:
        δ of each space (...), in the unit of the distances.
    """
    delta = distance.new_zeros(distance.shape[:-2])
    # Of four points only the first is made the base: the other three give the same gap. So each
    # base meets only the points after it.
    for base in range(distance.shape[-1] - 3):
        rest, to_base = distance[..., base + 1 :, base + 1 :], distance[..., base + 1 :, base]
        product = (to_base[..., :, None] + to_base[..., None, :] - rest) / 2
        best = product
        # One z at a time: all at once would take N³ numbers.
        for z in range(product.shape[-1]):
            through_z = torch.minimum(product[..., :, z, None], product[..., None, z, :])
            best = torch.maximum(best, through_z)
        delta = torch.maximum(delta, (best - product).amax((-2, -1)))
    return delta


@full_precision
def relative_hyperbolicity(distance: Tensor) -> Tensor:
    """Compute δ_rel = 2δ/diameter, which does not depend on the unit of distances.

    Args:
        distance: Distances of the points of one or more spaces (..., N, N).

    Returns:
        δ_rel of each space (...), in [0, 1]. It is 0 where all points coincide.
    """
    diameter = distance.amax((-2, -1))
    relative = 2 * four_point(distance) / diameter
    # Where all points coincide it is 0/0.
    return torch.where(diameter > 0, relative, torch.zeros_like(diameter))
