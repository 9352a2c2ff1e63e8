"""The reading `hsac_literal`: the sharpness of a plain ball, by cheap means."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from hsac.rules.curvature.hsac import Hsac


@dataclass(frozen=True)
class HsacLiteral(Hsac):
    """The paper's abstract read literally: c follows the gap in a plain ball around the weights.

    The abstract (Fan et al., IJCV 2025) minimises a sharpness. Here it is
    max L(w + e, c) - L(w, c) over |e| ≤ ρ, by one ascent step from e = 0 each time. The implicit
    term is a Neumann series of five terms of step 0.1 without its leading factor, as in public code
    of the same group (zhigao2017/RMO). c keeps within a factor of ten of its start, as in other
    code of theirs. What the paper's own formula, radius and solver are, is not known to us.
    Parameters that are not named here are those of `hsac`.

    Attributes:
        objective: The gap.
        scope: The plain ball.
        radius: Radius ρ of the ball, that of SAM.
        warm_start: Each ascent begins at the weights themselves.
        period: Training steps from one outer step to the next.
        step: Learning rate of Adam on θ.
        bounds_relative: c stays within this factor of where it started.
    """

    objective: str = "gap"
    scope: str = "euclidean"
    radius: float = 0.05
    warm_start: bool = False
    period: int = 100
    step: float = 0.05
    bounds_relative: float = 10.0
    default_solver: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"name": "neumann", "terms": 5, "step": 0.1, "leading": False}
    )
