"""The reading `hsac_joint_scope`: the scope over weights and curvature."""

from dataclasses import dataclass

from hsac.rules.curvature.hsac import Hsac


@dataclass(frozen=True)
class HsacJointScope(Hsac):
    """c follows the gap in a plain ball around weights and curvature together.

    In the curvature the ball is in θ, so in log c by default.

    What the paper's formula is, is not known to us: this is one of the readings of its abstract.
    Parameters that are not named here are those of `hsac`.

    Attributes:
        objective: The gap.
        over: Both.
        scope: The plain ball.
        radius: Radius ρ of the ball, that of SAM.
        period: Training steps from one outer step to the next.
    """

    objective: str = "gap"
    over: str = "both"
    scope: str = "euclidean"
    radius: float = 0.05
    period: int = 100
