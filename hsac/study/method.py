"""Names of methods: `weight+curvature[@start]`, then `+` and the name of a loss or of a head, at
most one of each.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Name:
    """`sgd+fixed@0.3+ldam_drw`: weight rule, curvature rule, start as text ("" where none is
    given), and the further segments. Parts that a name lacks are empty; `hsac.config.parse_method`
    refuses it.
    """

    weight: str
    curvature: str
    start: str
    further: tuple[str, ...]

    @property
    def suffix(self) -> str:
        """The further segments as they end the name: `+ldam_drw`."""
        return "".join(f"+{part}" for part in self.further)


def split(method: str) -> Name:
    """The parts of a method's name."""
    weight, _, rest = method.partition("+")
    middle, *further = rest.split("+")
    curvature, _, start = middle.partition("@")
    return Name(weight, curvature, start, tuple(further))


def plain(methods: Iterable[str]) -> list[str]:
    """The methods without further segments; all of them where each has one."""
    given = list(methods)
    return [method for method in given if not split(method).further] or given
