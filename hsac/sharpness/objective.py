"""Upper-level objectives."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hsac.hypergradient.operator import Loss

OBJECTIVES = ("worst", "gap", "mean", "loss")
WITH_ADVERSARY = ("worst", "gap")  # objectives that need the ascent


def perturbed_loss(loss: Loss, perturbations: Sequence[Tensor], gap: bool) -> Loss:
    """Build the upper level U(w, θ): the mean of L(w + e, θ) over perturbations e.

    The objectives `worst` and `gap` have one perturbation, the scope's adversary. `mean` has
    Gaussian draws, what a PAC-Bayes bound averages. `loss` has none, and U is L itself.
    Perturbations are constants to the hypergradient.

    Args:
        loss: The loss L.
        perturbations: Perturbations of the weights (R, P) each.
        gap: Whether L(w, θ) is subtracted.

    Returns:
        U, a function of w (R, P) and θ (R, C).
    """
    if not perturbations:
        return loss

    def upper(w: Tensor, theta: Tensor) -> Tensor:
        value = torch.stack([loss(w + e, theta) for e in perturbations]).mean(0)
        # L(w, θ) is differentiated as well: of gap, U_w is L_w(w + e) - L_w(w).
        return value - loss(w, theta) if gap else value

    return upper
