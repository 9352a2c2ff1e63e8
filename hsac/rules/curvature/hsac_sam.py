"""The reading `hsac_sam`: the gap above, SAM's objective below."""

from dataclasses import dataclass

from hsac.rules.curvature.hsac import Hsac


@dataclass(frozen=True)
class HsacSam(Hsac):
    """c follows the gap in a plain ball through the weights that SAM would reach.

    The lower level is what the weight rule `sam` minimises, so this is for weights that it trains.

    What the paper's formula is, is not known to us: this is one of the readings of its abstract.
    Parameters that are not named here are those of `hsac`.

    Attributes:
        objective: The gap.
        lower_radius: Radius ρ of SAM, as the weight rule has it.
        scope: The plain ball.
        radius: Radius ρ of the ball, that of SAM.
        period: Training steps from one outer step to the next.
    """

    objective: str = "gap"
    lower_radius: float = 0.05
    scope: str = "euclidean"
    radius: float = 0.05
    period: int = 100
