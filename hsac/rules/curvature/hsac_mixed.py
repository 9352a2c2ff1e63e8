"""The reading `hsac_mixed`: the gap and a share of the loss."""

from dataclasses import dataclass

from hsac.rules.curvature.hsac import Hsac


@dataclass(frozen=True)
class HsacMixed(Hsac):
    """c follows the gap in a plain ball plus λ times the loss itself.

    What the paper's formula is, is not known to us: this is one of the readings of its abstract.
    Parameters that are not named here are those of `hsac`.

    Attributes:
        objective: The gap.
        mixing: The factor λ.
        scope: The plain ball.
        radius: Radius ρ of the ball, that of SAM.
        period: Training steps from one outer step to the next.
    """

    objective: str = "gap"
    mixing: float = 0.1
    scope: str = "euclidean"
    radius: float = 0.05
    period: int = 100
