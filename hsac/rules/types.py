"""What rules are given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from hsac.ball.curvature import Transform
from hsac.hypergradient.operator import Loss

State = dict[str, Any]


@dataclass(frozen=True)
class Gradient:
    """Training objective of R runs at one point: `loss` (R,), `weights` (R, P), `theta` (R, C) or
    None; `curvature` (R, C) it was taken at.
    """

    loss: Tensor
    weights: Tensor
    theta: Tensor | None = None
    curvature: Tensor | None = None


class WeightRule(Protocol):
    """A rule for the weights w (R, P); `rate` in [0, 1] is the schedule's factor on its learning
    rate.
    """

    def init(self, w: Tensor) -> State: ...

    def update(
        self, w: Tensor, state: State, gradient: Callable[[Tensor], Gradient], rate: float
    ) -> tuple[Tensor, State, Gradient]: ...


class Draw(Protocol):
    """Draw a loss (w, θ) -> (R,) on a sample `times` as large as a training batch, the same one all
    through a step.
    """

    def __call__(self, times: int = 1) -> Loss: ...


class DrawLower(Protocol):
    """As `Draw`, or if `shared` on the upper level's sample."""

    def __call__(self, times: int = 1, shared: bool = False) -> Loss: ...


class DrawHeldOut(Protocol):
    """Draw a loss (w, θ) -> (R,) on a validation batch of a stream, the same one all through a
    step.
    """

    def __call__(self, stream: str = "held_out") -> Loss: ...


@dataclass(frozen=True)
class Step:
    """One training step as a curvature rule sees it.

    `index` from 0 of `total`; `w` (R, P) after its update; `gradient` the training objective's, at
    the point where the weight rule last took it. `upper()` and `lower()` draw losses (w, θ) ->
    (R,): the plain training loss and the training objective (weight decay included), each on a
    fresh training batch of its own, one a level and step. `adversary()` draws the plain loss on a
    third one, to find a perturbation of the weights with. The three are independent. The implicit
    term multiplies a factor of the upper level with one of the lower level: on one sample for both,
    its mean is not the product of their means (Ghadimi and Wang 2018, arXiv:1802.02246; Ji, Yang
    and Liang, ICML 2021). And a loss at the worst point for its own sample is on average above the
    loss there, by an amount that depends on θ. All three take `times`, the size of the sample in
    training batches, at most `batches`, the whole training part. `lower(shared=True)` takes the
    upper level's batch, to measure what that does. `held_out()` draws the plain loss on one batch
    of the validation part a step, `held_out("held_out adversary")` on another.

    `normal` draws standard normal tensors of w's shape, one stream a run. `layers` are the sizes of
    the parameter tensors that make up w. `features()` draws tangent features (R, N, d) at w of a
    fresh training batch a call. Nothing is drawn where a rule does not ask. `to_theta` maps
    curvatures, first pulled into their bounds, to θ of the same shape. `examples` is the number of
    independent training examples: images or groups of them, nodes, episodes.
    """

    index: int
    total: int
    w: Tensor
    gradient: Gradient
    upper: Draw
    lower: DrawLower
    adversary: Draw
    normal: Callable[[], Tensor]
    layers: tuple[int, ...]
    held_out: DrawHeldOut
    features: Callable[[], Tensor]
    to_theta: Callable[[Tensor], Tensor]
    examples: int
    batches: int


class CurvatureRule(Protocol):
    """A rule for the unconstrained curvatures θ (R, C); the log maps names to (R,) or (R, C)
    tensors, {} when idle.
    """

    @property
    def geometry(self) -> str: ...

    @property
    def needs_gradient(self) -> bool: ...

    def init(self, theta: Tensor) -> State: ...

    def update(
        self, theta: Tensor, state: State, step: Step
    ) -> tuple[Tensor, State, dict[str, Tensor]]: ...


@dataclass(frozen=True)
class Trial:
    """One finished training of a search, for one run.

    `theta` (C,) it was trained at. `validation` is its validation score (`hsac.study.selection`),
    larger is better: accuracy and -NLL on validation at its selected epoch, (0, -inf) where it
    diverged.
    `tempered`: held-out loss (nats) of its final weights at its own best temperature, infinite
    where it diverged.
    """

    theta: Tensor
    validation: tuple[float, ...]
    tempered: float


class SearchingRule(CurvatureRule, Protocol):
    """A curvature rule whose result is one of several whole trainings of a run; the cost of all of
    them is counted.
    """

    searches: ClassVar[bool]

    def propose(
        self, start: Tensor, tried: Sequence[Trial], transform: Transform, stream: torch.Generator
    ) -> Tensor | None:
        """θ (C,) of the next training, given the start's θ, the trainings so far and the run's own
        random stream; None when the search is over, never before the first.
        """
        ...

    def score(self, trial: Trial) -> Any:
        """What the chosen training has most of; of equals the first is chosen."""
        ...
