"""Classification heads on tangent features at the origin, one file each.

A head has `curved` (whether it has a curvature), `vmapped` (whether it runs under torch.func.vmap),
`points` (names of its parameters that are points of the ball), `init(generator)` and
`forward(params, c, u)`: u (B, d), the head's curvature c () or None, to logits (B, K). Its
parameters are named apart from any backbone's: z, r, p, a, s.
"""

from functools import cached_property
from typing import Any, ClassVar, Protocol

from torch import Generator, Tensor

from hsac.models.layers import Params
from hsac.parts import build

DEFAULT = "poincare_mlr"


class Head(Protocol):
    """What a model asks of its head."""

    @property
    def curved(self) -> bool: ...
    @property
    def vmapped(self) -> bool: ...
    @property
    def points(self) -> tuple[str, ...]: ...
    def init(self, generator: Generator) -> Params: ...
    def forward(self, params: Params, c: Tensor | None, u: Tensor) -> Tensor: ...


def make_head(given: dict[str, Any] | None, dim: int, classes: int) -> Head:
    """The head of a model's `head` key, {rule, parameters}; by default a Poincaré MLR. Raises
    InputError for a name, parameter or value that there is not.
    """
    given = given or {"rule": DEFAULT, "parameters": {}}
    head: Head = build("head", given["rule"], given["parameters"], "head", dim=dim, classes=classes)
    return head


class Headed:
    """A model whose features (B, dim) go into a head: its `head` key says which; the curvatures of
    its own layers come before the head's.
    """

    head: dict[str, Any] | None
    classes: int
    layer_names: ClassVar[tuple[str, ...]] = ()

    @property
    def dim(self) -> int:
        """Numbers of a feature; a field of most models."""
        raise NotImplementedError

    @cached_property
    def classifier(self) -> Head:
        """The head."""
        return make_head(self.head, self.dim, self.classes)

    @property
    def curvature_names(self) -> tuple[str, ...]:
        """One name a curvature, the order that of the layers."""
        return (*self.layer_names, *(("head",) if self.classifier.curved else ()))

    def logits(self, params: Params, c: Tensor, u: Tensor) -> Tensor:
        """The head on tangent features u (B, d), c (C,) -> (B, K)."""
        return self.classifier.forward(params, c[-1] if self.classifier.curved else None, u)
