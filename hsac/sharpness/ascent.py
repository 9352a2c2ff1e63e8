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
    """Perturbation e (R, P), |e/T| = ρ, that approximately maximises the loss at w + e.

    With `layers`, the sizes of the parameter tensors, |e/T| = ρ in each of them: a ball per layer,
    not one for all.

    Each step goes to the scope's maximiser of the loss linearised at the present point, e =
    ρT²g/|Tg|; of the points visited the one with the highest loss is returned, so more steps never
    find less. From e = 0 one step is SAM's (Foret et al., ICLR 2021), adaptive SAM's for T = |w|.
    `start` carries the adversary over from an earlier call, which keeps it off the degenerate
    direction -w at a converged regularised minimum. `gradient` maps w (R, P) to losses (R,) and
    gradients (R, P) and is called `steps` times, once more where steps > 1.
    """
    e = torch.zeros_like(w) if start is None else start
    best, highest = e, w.new_full((len(w), 1), -torch.inf)
    for step in range(steps):
        value, g = gradient(w + e)
        if step > 0:
            best, highest = _higher(e, value, best, highest)
        tg = scale * g
        e = radius * scale * tg / layer_norm(tg, layers)
    if steps > 1:
        best, _ = _higher(e, gradient(w + e)[0], best, highest)
        return best
    return e


def _higher(e: Tensor, value: Tensor, best: Tensor, highest: Tensor) -> tuple[Tensor, Tensor]:
    value = value[:, None]
    return torch.where(value > highest, e, best), torch.maximum(value, highest)
