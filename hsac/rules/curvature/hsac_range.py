"""The reading `hsac_range`: the range of the loss in a plain ball."""

from dataclasses import dataclass

from hsac.rules.curvature.hsac import Hsac


@dataclass(frozen=True)
class HsacRange(Hsac):
    """c follows the range of the loss in a plain ball: its highest less its lowest value there.

    At a minimum it is the gap. Away from one the gap is mostly the slope of the loss, and the
    adversary that one step finds points along the gradient. The range is then twice the slope.

    What the paper's formula is, is not known to us: this is one of the readings of its abstract.
    Parameters that are not named here are those of `hsac`.

    Attributes:
        objective: The range.
        scope: The plain ball.
        radius: Radius ρ of the ball, that of SAM.
        period: Training steps from one outer step to the next.
    """

    objective: str = "range"
    scope: str = "euclidean"
    radius: float = 0.05
    period: int = 100
