"""Scope sharpness: the neighbourhood of the weights, the ascent in it, and the objectives there."""

from hsac.sharpness.ascent import ascend
from hsac.sharpness.objective import (
    HERE,
    OBJECTIVES,
    WITH_ADVERSARY,
    Perturbation,
    perturbed_loss,
    sam_loss,
)
from hsac.sharpness.scope import SCOPES, layer_norm, scope_scale
from hsac.sharpness.scope_objective import OVER, ScopeObjective

__all__ = [
    "HERE",
    "OBJECTIVES",
    "OVER",
    "SCOPES",
    "WITH_ADVERSARY",
    "Perturbation",
    "ScopeObjective",
    "ascend",
    "layer_norm",
    "perturbed_loss",
    "sam_loss",
    "scope_scale",
]
