"""A named part with parameters, apart from what a configuration may be.

Training imports this module, so it imports nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Part:
    """A rule, loss or head of a cell.

    Attributes:
        name: the name of its class, as `hsac list` shows it.
        parameters: those that the configuration gives; the class has defaults for the others.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def dump(self) -> dict[str, Any]:
        """Return the part as records hold it."""
        return {"rule": self.name, "parameters": dict(self.parameters)}
