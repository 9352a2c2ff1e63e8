"""The reading `hsac_meta`: the gap on a clean, class-balanced meta set."""

from dataclasses import dataclass
from typing import ClassVar

from hsac.rules.curvature.hsac import Hsac


@dataclass(frozen=True)
class HsacMeta(Hsac):
    """c follows the gap in a plain ball on a meta set: few clean images, as many of each class.

    The variant must have a meta set, and its labels move c, which the tables say.

    What the paper's formula is, is not known to us: this is one of the readings of its abstract.
    Parameters that are not named here are those of `hsac`.

    Attributes:
        objective: The gap.
        batch: The meta set.
        scope: The plain ball.
        radius: Radius ρ of the ball, that of SAM.
        period: Training steps from one outer step to the next.
    """

    objective: str = "gap"
    batch: str = "meta"
    needs_meta: ClassVar[bool] = True
    scope: str = "euclidean"
    radius: float = 0.05
    period: int = 100
