"""The reading `hsac_curvature_scope`: the scope over curvature itself."""

from dataclasses import dataclass

from hsac.rules.curvature.hsac import Hsac


@dataclass(frozen=True)
class HsacCurvatureScope(Hsac):
    """c follows the gap in a ball around the curvature: what the loss gains if c changes a little.

    The ball is in θ, so in log c by default, and ρ is a relative change of c.

    What the paper's formula is, is not known to us: this is one of the readings of its abstract.
    Parameters that are not named here are those of `hsac`.

    Attributes:
        objective: The gap.
        over: The curvature.
        scope: The plain ball.
        radius: Radius ρ of the ball, a relative change of c.
        period: Training steps from one outer step to the next.
    """

    objective: str = "gap"
    over: str = "curvature"
    scope: str = "euclidean"
    radius: float = 0.1
    period: int = 100
