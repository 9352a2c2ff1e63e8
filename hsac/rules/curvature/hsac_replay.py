"""The reading `hsac_replay`: the gap, averaged over the last weights."""

from dataclasses import dataclass

from hsac.rules.curvature.hsac import Hsac


@dataclass(frozen=True)
class HsacReplay(Hsac):
    """c follows the gap in a plain ball, averaged over the weights of the last outer steps.

    What the paper's formula is, is not known to us: this is one of the readings of its abstract.
    Parameters that are not named here are those of `hsac`.

    Attributes:
        objective: The gap.
        replay: Outer steps whose weights count, this one included.
        scope: The plain ball.
        radius: Radius ρ of the ball, that of SAM.
        period: Training steps from one outer step to the next.
    """

    objective: str = "gap"
    replay: int = 4
    scope: str = "euclidean"
    radius: float = 0.05
    period: int = 100
