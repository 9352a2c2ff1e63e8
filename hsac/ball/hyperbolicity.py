"""How tree-like a finite metric space is."""

import torch
from torch import Tensor


def four_point(distance: Tensor) -> Tensor:
    """Gromov's δ of metric spaces given by distances (..., N, N) -> (...): the four-point
    definition, exact.

    δ is the smallest number with (x|y) ≥ min((x|z), (z|y)) - δ for all x, y, z and every base point
    w, of the Gromov products (x|y) = ½(d(x, w) + d(y, w) - d(x, y)); that is half the largest gap
    between the two larger of the three sums of opposite sides of four points. For one base point it
    is the largest entry of G ⊗ G - G, ⊗ the max-min matrix product (Fournier et al., Information
    Processing Letters 2015). A tree has δ = 0. N⁴/4 operations: of four points only the first is
    made the base, which changes nothing.
    """
    delta = distance.new_zeros(distance.shape[:-2])
    for base in range(distance.shape[-1] - 3):
        rest, to_base = distance[..., base + 1 :, base + 1 :], distance[..., base + 1 :, base]
        product = (to_base[..., :, None] + to_base[..., None, :] - rest) / 2
        best = product
        for z in range(product.shape[-1]):
            best = torch.maximum(
                best, torch.minimum(product[..., :, z, None], product[..., None, z, :])
            )
        delta = torch.maximum(delta, (best - product).amax((-2, -1)))
    return delta


def relative_hyperbolicity(distance: Tensor) -> Tensor:
    """δ_rel = 2δ/diameter in [0, 1], whatever the unit of distances (..., N, N); 0 where all points
    coincide.
    """
    diameter = distance.amax((-2, -1))
    return torch.where(
        diameter > 0, 2 * four_point(distance) / diameter, torch.zeros_like(diameter)
    )
