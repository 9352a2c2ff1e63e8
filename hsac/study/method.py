"""Names of methods: `weight+curvature[@start]`, then `+loss` and `+head`, at most one of each."""

from collections.abc import Iterable
from dataclasses import dataclass

GRAMMAR = "weight+curvature, then @start, +loss and +head where wanted"


@dataclass(frozen=True)
class Method:
    """A method by its name: `sgd+fixed@0.3+ldam_drw`.

    Attributes:
        name: the whole name.
        weight: name of the weight rule.
        curvature: name of the curvature rule.
        start: the initial curvature as text, "" where the name gives none.
        further: the further segments, a loss or a head each, in the name's order.
    """

    name: str
    weight: str
    curvature: str
    start: str
    further: tuple[str, ...]

    @classmethod
    def of(cls, name: str) -> "Method":
        """Split a method's name.

        Args:
            name: any text; parts that it lacks are empty, and `complete` then says no.
        """
        weight, _, rest = name.partition("+")
        middle, *further = rest.split("+")
        curvature, _, start = middle.partition("@")
        return cls(name, weight, curvature, start, tuple(further))

    @property
    def complete(self) -> bool:
        """Whether the name has a weight rule and a curvature rule, and no empty segment."""
        return bool(self.weight and self.curvature and all(self.further))

    @property
    def suffix(self) -> str:
        """The further segments as they end the name: `+ldam_drw`."""
        return "".join(f"+{part}" for part in self.further)

    @property
    def names_start(self) -> bool:
        """Whether the name has an `@`, so that no search moves the initial curvature."""
        # Not `bool(self.start)`: an `@` with nothing behind it must be refused, not read as the
        # default.
        return "@" in self.name.split("+", 2)[1] if "+" in self.name else False

    def with_curvature(self, curvature: str) -> str:
        """Return the name of the method that differs in its curvature rule alone.

        Args:
            curvature: a curvature rule as methods name it, `fixed@0.3`.
        """
        return f"{self.weight}+{curvature}{self.suffix}"


def spelt(curvature: float) -> str:
    """Return the one text of an initial curvature in the names of methods.

    Args:
        curvature: the number.

    Returns:
        The shortest text that Python reads as this very number, whole numbers without a point.
    """
    return repr(float(curvature)).removesuffix(".0")


def plain(methods: Iterable[str]) -> list[str]:
    """Return the methods without further segments, or all of them where each has one.

    Args:
        methods: names of methods.
    """
    given = list(methods)
    return [method for method in given if not Method.of(method).further] or given
