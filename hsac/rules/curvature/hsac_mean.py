"""The reading `hsac_mean`: the loss under Gaussian noise on the weights."""

from dataclasses import dataclass

from hsac.rules.curvature.hsac import Hsac


@dataclass(frozen=True)
class HsacMean(Hsac):
    """c follows the mean loss under Gaussian noise, the term that the PAC-Bayes bound contains.

    The noise has the same spread in every weight, ρ/√P with P weights.

    What the paper's formula is, is not known to us: this is one of the readings of its abstract.
    Parameters that are not named here are those of `hsac`.

    Attributes:
        objective: The Gaussian average.
        scope: The plain ball.
        radius: Radius ρ of the ball, the noise's length on average.
        period: Training steps from one outer step to the next.
    """

    objective: str = "mean"
    scope: str = "euclidean"
    radius: float = 1.0
    period: int = 100
