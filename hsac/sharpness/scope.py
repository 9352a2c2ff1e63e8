"""The scope: which perturbations of the weights count as near."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hsac.hypergradient.operator import norm

SCOPES = ("euclidean", "adaptive")
# Keeps weights at 0 movable (Kwon et al., ASAM, ICML 2021, η).
FLOOR = 0.01


def scope_scale(w: Tensor, scope: str) -> Tensor:
    """Compute T of the scope {e : |e/T| ≤ ρ}, without a gradient.

    The adaptive scope does not change when a weight is rescaled and the next layer, or the
    curvature, undoes it. That holds of weights well above the floor. FLOOR is added in every
    coordinate, biases and scales included, wherever a scope is adaptive: in ASAM, in the adversary
    of `hsac` and in the sharpness that is measured. The authors' code of ASAM adds the same number
    in tensors whose name holds "weight", and takes T = 1 in all others.

    Args:
        w: Weights (R, P).
        scope: "euclidean" gives 1, "adaptive" gives |w| + FLOOR.

    Returns:
        T (R, P).
    """
    # T is frozen: its change with w is no part of the hypergradient, unless a rule asks for it.
    w = w.detach()
    return adaptive_scale(w) if scope == "adaptive" else w.new_ones(()).expand_as(w)


def adaptive_scale(w: Tensor) -> Tensor:
    """Compute T of the adaptive scope, with its gradient.

    Args:
        w: Weights (R, P).

    Returns:
        |w| + FLOOR (R, P).
    """
    return w.abs() + FLOOR


def layer_norm(a: Tensor, layers: Sequence[int]) -> Tensor:
    """Compute the norm that bounds each coordinate's perturbation, never 0.

    Args:
        a: Vectors (R, P).
        layers: Sizes of the parameter tensors in order. Empty for one norm over all of them.

    Returns:
        Norms (R, 1), or with `layers` (R, P), each that of the coordinate's own tensor.
    """
    if not layers:
        return norm(a)
    # Repeated for each coordinate, so that callers divide as by a single norm.
    return torch.cat([norm(part).expand_as(part) for part in a.split(list(layers), -1)], -1)
