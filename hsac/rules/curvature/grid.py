"""Curvature selected on validation."""

from dataclasses import dataclass
from typing import ClassVar

from hsac.parts import require


@dataclass(frozen=True)
class Grid:
    """For each seed the best of `fixed` runs at several curvatures.

    The best is that by validation accuracy. The costs of these runs are summed. Nothing is trained.

    Attributes:
        curvatures: The curvatures, each above 0.
    """

    curvatures: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    derived: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse an empty grid, equal curvatures and such as are not above 0."""
        # Values come from a configuration file, so they may be of any type.
        positive = all(isinstance(c, int | float) and c > 0 for c in self.curvatures)
        ok = bool(self.curvatures) and positive
        ok = ok and len({*self.curvatures}) == len(self.curvatures)
        require(ok, "curvatures", self.curvatures, "a list of different numbers above 0")
