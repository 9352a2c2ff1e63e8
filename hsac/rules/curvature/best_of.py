"""Curvature rule selected on validation."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class BestOf:
    """For each seed the best run of other curvature rules. Ours.

    The best is that by validation accuracy. The costs of these runs are summed. With `[fixed@0.3,
    hsac]` it asks whether c should have moved at all. The configuration checks the names. Nothing
    is trained.

    Attributes:
        among: Two or more curvature rules, named as methods name them. Of equals the first is
            chosen.
    """

    among: tuple[str, ...] = ()
    derived: ClassVar[bool] = True
