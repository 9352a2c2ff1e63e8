"""A case: two functions that are compared, one row of the results."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

Run = Callable[[], Any]


@dataclass(frozen=True)
class Target:
    """A target of a case's ratio.

    Attributes:
        sign: ≥ asks for peer/ours of at least the value, ≤ for ours/peer of at most the value.
        value: infinite where nothing is asked.
    """

    sign: str
    value: float

    def ratio(self, ours: float, peer: float) -> float:
        """Compute the ratio that the target is about.

        Args:
            ours: our number.
            peer: the peer's, in the same unit.

        Returns:
            peer/ours or ours/peer.
        """
        return peer / ours if self.sign == "≥" else ours / peer

    def met(self, ratio: float) -> str:
        """Tell whether a ratio reaches the target.

        Args:
            ratio: what `ratio` returned.

        Returns:
            yes or no; nothing where nothing is asked.
        """
        if self.value == inf:
            return ""
        reached = ratio >= self.value if self.sign == "≥" else ratio <= self.value
        return "yes" if reached else "no"

    def __str__(self) -> str:
        """Return the target as it stands in the table."""
        return "" if self.value == inf else f"{self.sign} {self.value:g}"


def at_least(value: float) -> Target:
    """Ask to be so many times faster (or smaller) than the peer, or more.

    Args:
        value: least peer/ours.

    Returns:
        The target.
    """
    return Target("≥", value)


def at_most(value: float) -> Target:
    """Allow to be so many times slower (or larger) than the peer, not more.

    Args:
        value: largest ours/peer.

    Returns:
        The target.
    """
    return Target("≤", value)


# The ratio peer/ours is reported, and nothing asked of it; of ours/peer likewise.
FASTER = Target("≥", inf)
SLOWER = Target("≤", inf)


@dataclass(frozen=True)
class Case:
    """A comparison of two functions without arguments, ours and the peer's.

    Attributes:
        name: what is done, at which size.
        against: the peer.
        build: makes the two functions. They return tensors, or nested tuples of them.
        target: what is asked of the ratio.
        tolerance: relative difference up to which their results must agree before anything is
            timed; None where there is nothing to compare.
        unit: "s" for seconds of a call (`measure.seconds` says by which clock), "MiB" for the peak
            memory that a call adds. With any other, a call itself returns the number.
        needs: module without which the case is skipped.
        repeats: largest number of samples.
    """

    name: str
    against: str
    build: Callable[[], tuple[Run, Run]]
    target: Target
    tolerance: float | None
    unit: str = "s"
    needs: str = ""
    repeats: int = 15
