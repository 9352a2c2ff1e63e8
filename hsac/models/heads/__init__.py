"""Classification heads on tangent features at the origin, one file each.

`Head` is their interface, `Headed` the base of models that have one. A head's parameters are named
apart from any backbone's: z, r, p, a, s.
"""

from functools import cached_property
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Generator, Tensor

from hsac.models.layers import Params
from hsac.parts import build

DEFAULT = "poincare_mlr"


class Head(Protocol):
    """A classification head, as a model uses it."""

    @property
    def curved(self) -> bool:
        """Return whether it has a curvature."""
        ...

    @property
    def vmapped(self) -> bool:
        """Return whether it runs under torch.func.vmap."""
        ...

    @property
    def points(self) -> tuple[str, ...]:
        """Return the names of its parameters that are points of the ball."""
        ...

    def init(self, generator: Generator) -> Params:
        """Draw the parameters.

        Args:
            generator: Draws the start, in float64.

        Returns:
            The parameters, by name.
        """
        ...

    def forward(self, params: Params, c: Tensor | None, u: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            params: The parameters, as `init` returns them. Others may be among them.
            c: The head's curvature, a scalar. None for a head that is not curved.
            u: Tangent features at the origin (B, d).

        Returns:
            Logits (B, K).
        """
        ...


@runtime_checkable
class Product(Head, Protocol):
    """A head of several curvatures: its `forward` takes a c (factors,), one per name."""

    @property
    def curvature_names(self) -> tuple[str, ...]:
        """Return one name a factor."""
        ...


def make_head(given: dict[str, Any] | None, dim: int, classes: int) -> Head:
    """Build the head of a model's `head` key.

    Args:
        given: {rule, parameters}. None or {} for a Poincaré MLR.
        dim: Dimension of the features.
        classes: Number of classes.

    Returns:
        The head.

    Raises:
        InputError: The head does not take the name, a parameter or a value.
    """
    given = given or {"rule": DEFAULT, "parameters": {}}
    head: Head = build("head", given["rule"], given["parameters"], "head", dim=dim, classes=classes)
    return head


class Headed:
    """A model whose features (B, dim) go into a head, as its `head` key says.

    The curvatures of its own layers come before the head's.

    Attributes:
        head: {rule, parameters} of the head. None for the default.
        classes: Number of classes.
        layer_names: Names of the curvatures of its own layers.
    """

    head: dict[str, Any] | None
    classes: int
    layer_names: ClassVar[tuple[str, ...]] = ()

    @property
    def dim(self) -> int:
        """Return the dimension of the features, a field of most models."""
        raise NotImplementedError

    @cached_property
    def classifier(self) -> Head:
        """Return the head."""
        return make_head(self.head, self.dim, self.classes)

    @property
    def curvature_names(self) -> tuple[str, ...]:
        """Return one name a curvature, in the order of the layers."""
        head = self.classifier
        if isinstance(head, Product):
            return (*self.layer_names, *(f"head.{name}" for name in head.curvature_names))
        return (*self.layer_names, *(("head",) if head.curved else ()))

    def logits(self, params: Params, c: Tensor, u: Tensor) -> Tensor:
        """Apply the head.

        Args:
            params: The parameters, as `init` returns them.
            c: Curvatures (C,), one per name in `curvature_names`.
            u: Tangent features at the origin (B, d).

        Returns:
            Logits (B, K).
        """
        head = self.classifier
        # the head's curvatures are the last
        if isinstance(head, Product):
            return head.forward(params, c[len(self.layer_names) :], u)
        return head.forward(params, c[-1] if head.curved else None, u)
