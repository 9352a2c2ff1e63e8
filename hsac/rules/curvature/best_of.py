"""Curvature rule selected on validation."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class BestOf:
    """For each seed the best of the runs of other curvature rules, by validation accuracy; their
    cost is summed. Ours.

    `among` names two or more of them as methods do, `[fixed@0.3, hsac]`: should c have moved at
    all? Of equals the first is chosen. The configuration checks the names (`hsac.config`); nothing
    is trained.
    """

    among: tuple[str, ...] = ()
    derived: ClassVar[bool] = True
