"""Sharpness-aware minimisation."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from hsac.parts import build, require
from hsac.rules.types import Gradient, State, WeightRule
from hsac.sharpness import SCOPES, ascend, scope_scale


@dataclass(frozen=True)
class Sam:
    """SAM (Foret et al., ICLR 2021) around another weight rule.

    The base rule takes its step with ∇L(w + e) + λw, where e = ρ∇L(w)/|∇L(w)|. L is the loss alone:
    weight decay λ|w|²/2 stands outside of the maximum (their equation 1), so it neither turns the
    ascent nor is taken at w + e. Public implementations come to the same, as their optimizer adds
    the decay at the restored w.

    The adaptive scope is T = |w| + η with the floor η = `hsac.sharpness.scope.FLOOR` = 0.01 in
    every coordinate, biases and scales included. The authors' code of ASAM has the same η in
    tensors whose name holds "weight", and T = 1 in all others. Other implementations take
    T = |w| everywhere, where a weight of 0 never moves.

    Attributes:
        rho: Radius ρ of the scope, in units of the scope's scale.
        scope: euclidean for SAM, adaptive for ASAM (Kwon et al., ICML 2021).
        base: The weight rule that takes the step: sgd or adam.
        base_parameters: Parameters of the base rule. None for its defaults.
    """

    rho: float = 0.05
    scope: str = "euclidean"
    base: str = "sgd"
    base_parameters: dict = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.rho > 0, "rho", self.rho, "a number above 0")
        require(self.scope in SCOPES, "scope", self.scope, ", ".join(SCOPES))
        # points of the ball stay out of an ascent along vectors
        require(self.base not in ("sam", "riemannian_adam"), "base", self.base, "sgd or adam")
        _ = self.rule  # refuses bad parameters of the base rule at once

    @cached_property
    def rule(self) -> WeightRule:
        """Return the base rule."""
        return build("weight rule", self.base, self.base_parameters or {}, "base")

    def init(self, w: Tensor) -> State:
        """Return the base rule's state.

        Args:
            w: Weights (R, P).

        Returns:
            The state.
        """
        return self.rule.init(w)

    def update(
        self, w: Tensor, state: State, gradient: Callable[[Tensor], Gradient], rate: float
    ) -> tuple[Tensor, State, Gradient]:
        """Take one step, with two gradient evaluations.

        Args:
            w: Weights (R, P).
            state: The state from `init` or the previous call.
            gradient: Evaluates the training objective at weights (R, P). Each call is counted.
            rate: The schedule's factor on the learning rate, in [0, 1].

        Returns:
            The new weights (R, P), the new state, and the last gradient that was evaluated.
        """

        def climbed(point: Tensor) -> tuple[Tensor, Tensor]:
            g = gradient(point)
            # One step of ascent compares no losses, so the decay may stay in the first.
            return g.loss, g.weights - g.decay * point

        e = ascend(climbed, w, scope_scale(w, self.scope), self.rho)

        def descended(point: Tensor) -> Gradient:
            g = gradient(point + e)
            # The decay's λ(w + e) becomes λw.
            return replace(g, weights=g.weights - g.decay * e)

        # The base rule steps from w itself. Only the loss's gradient is taken at w + e.
        return self.rule.update(w, state, descended, rate)
