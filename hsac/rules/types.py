"""What rules are given."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from hsac.hypergradient.operator import Loss

State = dict[str, Any]


@dataclass(frozen=True)
class Gradient:
    """Training objective of R runs at one point: `loss` (R,), `weights` (R, P), `theta` (R, C) or None; `curvature`
    (R, C) it was taken at."""

    loss: Tensor
    weights: Tensor
    theta: Tensor | None = None
    curvature: Tensor | None = None


class WeightRule(Protocol):
    """A rule for the weights w (R, P); `rate` in [0, 1] is the schedule's factor on its learning rate."""

    def init(self, w: Tensor) -> State: ...

    def update(
        self, w: Tensor, state: State, gradient: Callable[[Tensor], Gradient], rate: float
    ) -> tuple[Tensor, State, Gradient]: ...


@dataclass(frozen=True)
class Step:
    """One training step as a curvature rule sees it.

    `index` from 0 of `total`; `w` (R, P) after its update; `gradient` the training objective's, at the point where the
    weight rule last took it. `upper()` and `lower()` draw losses (w, θ) -> (R,): the plain training loss and the
    training objective (weight decay included), both on one fresh training batch a step. `normal` draws standard
    normal tensors of w's shape, one stream a run. `layers` are the sizes of the parameter tensors that make up w.
    """

    index: int
    total: int
    w: Tensor
    gradient: Gradient
    upper: Callable[[], Loss]
    lower: Callable[[], Loss]
    normal: Callable[[], Tensor]
    layers: tuple[int, ...]


class CurvatureRule(Protocol):
    """A rule for the unconstrained curvatures θ (R, C); the log maps names to (R,) or (R, C) tensors, {} when idle."""

    @property
    def geometry(self) -> str: ...

    @property
    def needs_gradient(self) -> bool: ...

    def init(self, theta: Tensor) -> State: ...

    def update(self, theta: Tensor, state: State, step: Step) -> tuple[Tensor, State, dict[str, Tensor]]: ...
