"""The scope: which perturbations of the weights count as near."""

from torch import Tensor

SCOPES = ("euclidean", "adaptive")
FLOOR = 0.01  # keeps weights at 0 movable (Kwon et al., ASAM, ICML 2021, η)


def scope_scale(w: Tensor, scope: str) -> Tensor:
    """T of the scope {e : |e/T| ≤ ρ}, detached: 1 (euclidean) or |w| + 0.01 (adaptive). (R, P) -> (R, P).

    The adaptive scope does not change when a weight is rescaled and the next layer, or the curvature, undoes it.
    """
    w = w.detach()
    return w.abs() + FLOOR if scope == "adaptive" else w.new_ones(()).expand_as(w)
