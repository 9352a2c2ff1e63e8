"""Upper-level objectives."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hsac.hypergradient.operator import Loss

OBJECTIVES = ("worst", "gap", "mean", "loss")
WITH_ADVERSARY = ("worst", "gap")


def perturbed_loss(loss: Loss, perturbations: Sequence[Tensor], gap: bool) -> Loss:
    """U(w, θ): the mean of L(w + e, θ) over the perturbations (R, P), less L(w, θ) for `gap`.

    `worst` and `gap` have one perturbation, the scope's adversary; `mean` has Gaussian draws, what
    a PAC-Bayes bound averages; `loss` has none, and U is L itself. Perturbations are constants to
    the hypergradient.
    """
    if not perturbations:
        return loss

    def upper(w: Tensor, theta: Tensor) -> Tensor:
        value = torch.stack([loss(w + e, theta) for e in perturbations]).mean(0)
        return value - loss(w, theta) if gap else value

    return upper
