"""Curvature rule selected on validation."""

from dataclasses import dataclass
from typing import ClassVar

from hsac.registry import require


@dataclass(frozen=True)
class BestOf:
    """For each seed the best of the runs of other curvature rules, by validation accuracy; their cost is summed. Ours.

    `among` names them as methods do. The default asks, seed by seed, whether c should have moved at all.
    """

    among: tuple[str, ...] = ("fixed@0.3", "hsac")
    derived: ClassVar[bool] = True

    def __post_init__(self) -> None:
        ok = bool(self.among) and all(isinstance(name, str) for name in self.among)
        require(ok, "among", self.among, "a list of curvature rules, as methods name them")
