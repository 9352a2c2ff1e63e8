"""Curvature in the weights' own optimizer."""

import math
from dataclasses import dataclass
from typing import ClassVar

from hsac.rules.curvature.drift import check_relative
from hsac.rules.curvature.fixed import Fixed


# It is a `Fixed`, because θ has already moved with the weights when its turn comes.
@dataclass(frozen=True)
class Joint(Fixed):
    """θ is one more parameter of the weights' optimizer, at their rate and schedule.

    This is what public code does. HGCN (Chami et al., NeurIPS 2019) has its curvatures among all
    parameters of the model, under their weight decay. MERU (Desai et al., ICML 2023) learns log c,
    keeps it in an interval, and leaves it out of the weight decay.

    The weight rule sees the vector (w, θ). Under `sam` the ascent is therefore over both, in one
    ball. In the adaptive scope θ has the scale |θ| + η like every other coordinate.

    Attributes:
        decay: Whether weight decay applies to θ, too. Its pull is towards θ = 0, c = 1 by default,
            where HGCN's, on c itself, is towards 0.
        bounds_relative: c stays within this factor of where it started.
    """

    decay: bool = False
    bounds_relative: float = math.inf
    needs_gradient: ClassVar[bool] = True
    joint: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        check_relative(self.bounds_relative)
