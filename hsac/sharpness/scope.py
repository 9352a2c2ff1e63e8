"""The scope: which perturbations of the weights count as near."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hsac.hypergradient.operator import norm

SCOPES = ("euclidean", "adaptive")
FLOOR = 0.01  # keeps weights at 0 movable (Kwon et al., ASAM, ICML 2021, η)


def scope_scale(w: Tensor, scope: str) -> Tensor:
    """T of the scope {e : |e/T| ≤ ρ}, detached: 1 (euclidean) or |w| + 0.01 (adaptive). (R, P) ->
    (R, P).

    The adaptive scope does not change when a weight is rescaled and the next layer, or the
    curvature, undoes it.
    """
    w = w.detach()
    return w.abs() + FLOOR if scope == "adaptive" else w.new_ones(()).expand_as(w)


def layer_norm(a: Tensor, layers: Sequence[int]) -> Tensor:
    """Norm that bounds each coordinate's perturbation: the whole vector's (R, 1), or with `layers`,
    the numbers of weights of the parameter tensors in order, that of the coordinate's own tensor
    (R, P). Never 0.
    """
    if not layers:
        return norm(a)
    return torch.cat([norm(part).expand_as(part) for part in a.split(list(layers), -1)], -1)
