"""Sharpness-aware minimisation."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from hsac.parts import build, require
from hsac.rules.types import Gradient, State, WeightRule
from hsac.sharpness import SCOPES, ascend, scope_scale


@dataclass(frozen=True)
class Sam:
    """SAM (Foret et al., ICLR 2021) around a base rule: its step is taken with the gradient at w +
    ρg/|g|.
    """

    rho: float = 0.05
    scope: str = "euclidean"
    base: str = "sgd"
    base_parameters: dict = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        require(self.rho > 0, "rho", self.rho, "a number above 0")
        require(self.scope in SCOPES, "scope", self.scope, ", ".join(SCOPES))
        # points of the ball stay out of an ascent along vectors
        require(self.base not in ("sam", "riemannian_adam"), "base", self.base, "sgd or adam")
        _ = self.rule

    @cached_property
    def rule(self) -> WeightRule:
        """The base rule."""
        return build("weight rule", self.base, self.base_parameters or {}, "base")

    def init(self, w: Tensor) -> State:
        """The base rule's state."""
        return self.rule.init(w)

    def update(
        self, w: Tensor, state: State, gradient: Callable[[Tensor], Gradient], rate: float
    ) -> tuple[Tensor, State, Gradient]:
        """Two gradient evaluations."""

        def loss_and_gradient(point: Tensor) -> tuple[Tensor, Tensor]:
            g = gradient(point)
            return g.loss, g.weights

        e = ascend(loss_and_gradient, w, scope_scale(w, self.scope), self.rho)
        return self.rule.update(w, state, lambda point: gradient(point + e), rate)
