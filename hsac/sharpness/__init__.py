"""Scope sharpness: the neighbourhood of the weights, the ascent in it, and the objectives there."""

from hsac.sharpness.ascent import ascend
from hsac.sharpness.objective import OBJECTIVES, WITH_ADVERSARY, perturbed_loss
from hsac.sharpness.scope import SCOPES, layer_norm, scope_scale

__all__ = [
    "OBJECTIVES",
    "SCOPES",
    "WITH_ADVERSARY",
    "ascend",
    "layer_norm",
    "perturbed_loss",
    "scope_scale",
]
