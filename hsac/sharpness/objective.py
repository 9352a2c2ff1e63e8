"""Upper-level objectives."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hsac.hypergradient.operator import Loss, norm
from hsac.sharpness.scope import adaptive_scale

OBJECTIVES = ("worst", "gap", "range", "mean", "loss")
WITH_ADVERSARY = ("worst", "gap", "range")  # objectives that need the ascent


@dataclass(frozen=True)
class Perturbation:
    """A step from the point (w, θ), a constant to the hypergradient.

    Attributes:
        weights: The step e in w (R, P), None for none.
        theta: The step in θ (R, C), None for none.
        live: Whether `weights` is e/T, to be multiplied by the adaptive scope's T at the w that the
            loss is asked for. The hypergradient then sees how T changes with w.
    """

    weights: Tensor | None = None
    theta: Tensor | None = None
    live: bool = False

    def move(self, w: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Take the step.

        Args:
            w: Weights (R, P).
            theta: θ (R, C).

        Returns:
            The weights and θ after it.
        """
        if self.weights is not None:
            w = w + (adaptive_scale(w) * self.weights if self.live else self.weights)
        return w, theta if self.theta is None else theta + self.theta


HERE = Perturbation()


def perturbed_loss(
    loss: Loss,
    added: Sequence[Perturbation],
    taken: Sequence[Perturbation] = (),
    mixing: float = 0.0,
) -> Loss:
    """Build the upper level U(w, θ) from losses at perturbed points.

    U is the mean of L over the perturbations `added`, less that over `taken`, plus `mixing` times
    L(w, θ). The objective worst adds the scope's adversary alone, gap takes L(w, θ) off, range the
    loss at the scope's lowest point. mean adds Gaussian draws, what a PAC-Bayes bound averages.
    loss adds L(w, θ) itself.

    Args:
        loss: The loss L.
        added: Perturbations, at least one.
        taken: Perturbations whose losses are subtracted.
        mixing: Factor of the loss itself.

    Returns:
        U, a function of w (R, P) and θ (R, C).
    """

    def upper(w: Tensor, theta: Tensor) -> Tensor:
        value = _mean(loss, added, w, theta)
        # These are differentiated as well: of gap, U_w is L_w(w + e) - L_w(w).
        if taken:
            value = value - _mean(loss, taken, w, theta)
        return value + mixing * loss(w, theta) if mixing else value

    return upper


def _mean(loss: Loss, places: Sequence[Perturbation], w: Tensor, theta: Tensor) -> Tensor:
    return torch.stack([loss(*place.move(w, theta)) for place in places]).mean(0)


def sam_loss(plain: Loss, objective: Loss, radius: float) -> Loss:
    """Build the objective that SAM minimises: the plain loss one ascent step away, and the rest.

    SAM (Foret et al., ICLR 2021, eq. 2) perturbs the plain loss alone and leaves out of its
    gradient how the perturbation ρg/|g| moves with w. Here it moves, so that this is a function
    with a symmetric Hessian.

    Args:
        plain: The plain loss.
        objective: The training objective, weight decay included.
        radius: ρ, above 0.

    Returns:
        The objective, a function of w (R, P) and θ (R, C).
    """

    def lower(w: Tensor, theta: Tensor) -> Tensor:
        with torch.enable_grad():
            at = w if w.requires_grad else w.detach().requires_grad_()
            here = plain(at, theta)
            (g,) = torch.autograd.grad(here.sum(), at, create_graph=True)
            e = radius * g / norm(g)
        # The difference is the weight decay.
        return plain(w + e, theta) + (objective(w, theta) - here)

    return lower
