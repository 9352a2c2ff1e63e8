"""What is compared: one row of the results."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

Run = Callable[[], Any]


@dataclass(frozen=True)
class Target:
    """What the ratio should come to: peer/ours at least `value` (sign ≥), or ours/peer at most
    `value` (sign ≤).
    """

    sign: str
    value: float

    def ratio(self, ours: float, peer: float) -> float:
        """The ratio that the target speaks of."""
        return peer / ours if self.sign == "≥" else ours / peer

    def met(self, ratio: float) -> str:
        """Whether the ratio reaches the target, yes or no; nothing where none is set."""
        if self.value == inf:
            return ""
        return "yes" if (ratio >= self.value if self.sign == "≥" else ratio <= self.value) else "no"

    def __str__(self) -> str:
        return "" if self.value == inf else f"{self.sign} {self.value:g}"


def at_least(value: float) -> Target:
    """As many times faster (or smaller) than the peer, or more."""
    return Target("≥", value)


def at_most(value: float) -> Target:
    """As many times slower (or larger) than the peer, or less."""
    return Target("≤", value)


FASTER = Target("≥", inf)  # the ratio peer/ours is reported, and nothing asked of it
SLOWER = Target("≤", inf)  # ours/peer likewise


@dataclass(frozen=True)
class Case:
    """`ours` and `theirs`, which `build` makes, both without arguments.

    What they return (tensors, or nested tuples of them) must agree to the relative `tolerance`
    before anything is timed; None where there is nothing to compare. `unit`: "s", seconds of a call
    (`measure.seconds` says by which clock); "MiB", peak memory that a call adds; any other, the
    number that a call itself returns, in that unit. `needs` is the module without which the case is
    skipped; `repeats` bounds the number of samples.
    """

    name: str
    against: str
    build: Callable[[], tuple[Run, Run]]
    target: Target
    tolerance: float | None
    unit: str = "s"
    needs: str = ""
    repeats: int = 15
