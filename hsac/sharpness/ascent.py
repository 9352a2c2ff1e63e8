"""The inner maximum over the scope."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hsac.sharpness.scope import layer_norm


def ascend(
    gradient: Callable[[Tensor], tuple[Tensor, Tensor]],
    w: Tensor,
    scale: Tensor,
    radius: float,
    steps: int = 1,
    start: Tensor | None = None,
    layers: Sequence[int] = (),
) -> Tensor:
    """Find a perturbation that approximately maximises the loss within the scope.

    Each step goes to the scope's maximiser of the loss linearised at the present point,
    e = ρT²g/|Tg|. Of the points visited the one with the highest loss is returned, so more steps
    never find less. From e = 0 one step is that of SAM (Foret et al., ICLR 2021), or of adaptive
    SAM for T = |w|.

    Args:
        gradient: Maps weights (R, P) to losses (R,) and gradients (R, P). It is called `steps`
            times, and once more where steps > 1.
        w: Weights (R, P).
        scale: T (R, P), as from `scope_scale`.
        radius: ρ, above 0.
        steps: Ascent steps.
        start: The perturbation (R, P) to start from, None for 0. An adversary carried over from an
            earlier call keeps off -w, the degenerate direction at a converged regularised minimum.
        layers: Sizes of the parameter tensors that make up w. With them |e/T| = ρ holds in each
            tensor (a ball a layer), not over all of w.

    Returns:
        The perturbation e (R, P), with |e/T| = ρ.
    """
    e = torch.zeros_like(w) if start is None else start
    best, highest = e, w.new_full((len(w), 1), -torch.inf)
    for step in range(steps):
        value, g = gradient(w + e)
        # the start is no candidate: it is 0, or was found at earlier weights
        if step > 0:
            best, highest = _higher(e, value, best, highest)
        # the maximiser of g·e over |e/T| ≤ ρ
        tg = scale * g
        e = radius * scale * tg / layer_norm(tg, layers)
    # one step needs no comparison, which saves a gradient
    if steps > 1:
        best, _ = _higher(e, gradient(w + e)[0], best, highest)
        return best
    return e


def _higher(e: Tensor, value: Tensor, best: Tensor, highest: Tensor) -> tuple[Tensor, Tensor]:
    value = value[:, None]
    # NaN is higher than nothing, so a point with such a loss is never chosen.
    return torch.where(value > highest, e, best), torch.maximum(value, highest)
