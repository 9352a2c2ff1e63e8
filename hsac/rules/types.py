"""The interfaces of rules, and their arguments."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from hsac.ball.curvature import Transform
from hsac.hypergradient.operator import Loss

# Not tensors alone: `riemannian_adam` keeps whole optimizers, `hsac` its solver's state. Tensors of
# a weight rule have a leading R and lists an entry a run, so that runs can be told apart.
State = dict[str, Any]
# Of a parameter that is points of a ball: start and end in w, dimension, column of its curvature.
Place = tuple[int, int, int, int]


@dataclass(frozen=True)
class Gradient:
    """The training objective of R runs at one point.

    Attributes:
        loss: The objective (R,).
        weights: Its gradient in the weights (R, P).
        theta: Its gradient in θ (R, C), None where no rule needs it.
        curvature: The curvatures c (R, C) it was taken at.
        decay: Factor λ of the weight decay λ|w|²/2 that loss and weights include. A rule that
            treats weight decay apart, as SAM does, takes λ times the point off `weights`. It is a
            tensor (P,) where coordinates differ in it, as under a `joint` curvature rule.
    """

    loss: Tensor
    weights: Tensor
    theta: Tensor | None = None
    curvature: Tensor | None = None
    decay: float | Tensor = 0.0


class WeightRule(Protocol):
    """A rule for the weights w (R, P)."""

    def init(self, w: Tensor) -> State:
        """Return the state to start from.

        Args:
            w: Weights (R, P).

        Returns:
            The state.
        """
        ...

    def update(
        self, w: Tensor, state: State, gradient: Callable[[Tensor], Gradient], rate: float
    ) -> tuple[Tensor, State, Gradient]:
        """Take one training step.

        Args:
            w: Weights (R, P).
            state: The state from `init` or the previous call.
            gradient: Evaluates the training objective at weights (R, P). Each call is counted.
            rate: The schedule's factor on the learning rate, in [0, 1].

        Returns:
            The new weights (R, P), the new state, and the last gradient that was evaluated.
        """
        ...


@runtime_checkable
class Transporting(Protocol):
    """A weight rule whose state has tangent vectors at points of the ball."""

    def transport(self, state: State, factors: Sequence[Tensor]) -> State:
        """Take the tangent vectors along when the points go over to another ball.

        Args:
            state: The state from `init` or the last update.
            factors: What they are multiplied by, (R, points, 1) for each parameter of points.

        Returns:
            The new state.
        """
        ...


# The drawers are protocols, because a `Callable` cannot name its keywords.
class Draw(Protocol):
    """A drawer of losses (w, θ) -> (R,) on a sample that stays the same all through a step."""

    def __call__(self, times: int = 1) -> Loss:
        """Draw a loss.

        Args:
            times: Size of the sample in training batches.

        Returns:
            The loss.
        """
        ...


class DrawLower(Protocol):
    """A drawer as `Draw`, which can also give the upper level's sample."""

    def __call__(self, times: int = 1, shared: bool = False, decay: bool = True) -> Loss:
        """Draw a loss.

        Args:
            times: Size of the sample in training batches.
            shared: Whether to take the upper level's sample.
            decay: Whether weight decay is part of it.

        Returns:
            The loss.
        """
        ...


class DrawHeldOut(Protocol):
    """A drawer of losses on a validation batch, which stays the same all through a step."""

    def __call__(self, stream: str = "held_out") -> Loss:
        """Draw a loss.

        Args:
            stream: Name of the random stream. Two streams give independent batches.

        Returns:
            The loss.
        """
        ...


class DrawMeta(Protocol):
    """A drawer as `DrawHeldOut`, on a batch of the variant's meta set."""

    def __call__(self, stream: str = "meta") -> Loss:
        """Draw a loss.

        Args:
            stream: Name of the random stream. Two streams give independent batches.

        Returns:
            The loss.

        Raises:
            InputError: The variant has no meta set.
        """
        ...


@dataclass(frozen=True)
class HeadLevel:
    """The training of the head alone, on features that are frozen where they are now.

    Attributes:
        w: The head's weights (R, H), in float64.
        place: Where in all weights these are (H,).
        loss: The training loss (w, θ) -> (R,) of the head's weights, without weight decay.
        objective: That with weight decay.
        share: What a gradient of it counts for, in training batches.
    """

    w: Tensor
    place: Tensor
    loss: Loss
    objective: Loss
    share: float


class DrawHead(Protocol):
    """A maker of the head's problem on a fresh sample."""

    def __call__(self, stream: str, rows: int) -> HeadLevel:
        """Make the problem.

        Args:
            stream: Name of the random stream: `lower`, `upper` or `adversary`.
            rows: Size of the sample in training rows, at most the whole part.

        Returns:
            The problem.

        Raises:
            InputError: The model has no head.
        """
        ...


@dataclass(frozen=True)
class Step:
    """A training step as a curvature rule sees it.

    The samples of `upper`, `lower` and `adversary` are independent of each other. The implicit term
    multiplies a factor of the upper level with one of the lower level: on one sample for both, its
    mean is not the product of their means (Ghadimi and Wang 2018, arXiv:1802.02246; Ji, Yang and
    Liang, ICML 2021). And the loss on the sample that chose the adversary overestimates the loss
    there, by an amount that depends on θ.

    Nothing is drawn where a rule does not ask.

    Attributes:
        index: Number of the step, from 0.
        total: Number of steps of the training.
        w: Weights (R, P) after their update.
        gradient: The training objective's gradient, at the point where the weight rule last took
            it.
        upper: Draws the plain training loss on a fresh sample of the training part.
        lower: Draws the training objective, weight decay included, on another. `lower(shared=True)`
            takes the upper level's, to measure what that does.
        adversary: Draws the plain loss on a third one, to find a perturbation of the weights with.
        normal: Draws standard normal tensors of w's shape, one stream a run.
        layers: Sizes of the parameter tensors that make up w.
        held_out: Draws the plain loss on one batch of the validation part a step,
            `held_out("held_out adversary")` on another.
        meta: Draws the plain loss on one batch of the clean, class-balanced meta set a step,
            `meta("meta adversary")` on another. A variant without a meta set refuses.
        head: Makes the problem of the head alone, on the features of a fresh sample at w.
        put: Puts weights (R, P) in the place of w, for the steps to come.
        features: Draws tangent features (R, N, d) at w of a fresh training batch a call.
        to_theta: Maps curvatures, first pulled into their bounds, to θ of the same shape.
        inverse: Maps one curvature to its θ, to the bit as the initial one is mapped. It refuses a
            curvature outside of the bounds.
        examples: Number of independent training examples: images or groups of them, nodes,
            episodes.
        batches: Number of training batches in the training part, the largest size of a sample.
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
    meta: DrawMeta
    head: DrawHead
    put: Callable[[Tensor], None]
    features: Callable[[], Tensor]
    to_theta: Callable[[Tensor], Tensor]
    inverse: Callable[[float], float]
    examples: int
    batches: int


class CurvatureRule(Protocol):
    """A rule for the unconstrained curvatures θ (R, C)."""

    @property
    def geometry(self) -> str:
        """Return "hyperbolic", or "euclidean" for a rule that means no hyperbolic space."""
        ...

    @property
    def needs_gradient(self) -> bool:
        """Return whether `Step.gradient` must carry the gradient in θ."""
        ...

    def init(self, theta: Tensor) -> State:
        """Return the state to start from.

        Args:
            theta: Unconstrained curvatures θ (R, C).

        Returns:
            The state.
        """
        ...

    def update(
        self, theta: Tensor, state: State, step: Step
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """Take part in one training step.

        Args:
            theta: Unconstrained curvatures θ (R, C).
            state: The state from `init` or the previous call.
            step: The training step that has just been taken.

        Returns:
            The new θ (R, C), the new state, and the log: names to tensors (R,) or (R, C), {} when
            idle.
        """
        ...


@dataclass(frozen=True)
class Trial:
    """One finished training of a search, for one run.

    Attributes:
        theta: θ (C,) it was trained at.
        validation: Its validation score (`hsac.study.selection`), larger is better: accuracy and
            -NLL on validation at its selected epoch, (0, -inf) where it diverged.
        tempered: Held-out loss (nats) of its final weights at its own best temperature, infinite
            where it diverged.
    """

    theta: Tensor
    validation: tuple[float, ...]
    tempered: float


class SearchingRule(CurvatureRule, Protocol):
    """A curvature rule whose result is one of several whole trainings of a run.

    The cost of all of them is counted.

    Attributes:
        searches: True marks the rule as one.
    """

    searches: ClassVar[bool]

    def propose(
        self, start: Tensor, tried: Sequence[Trial], transform: Transform, stream: torch.Generator
    ) -> Tensor | None:
        """Propose the next training of a run.

        Args:
            start: θ (C,) of the method's initial curvature.
            tried: The trainings so far, in order.
            transform: Maps θ to curvatures and knows their bounds.
            stream: The run's own random stream.

        Returns:
            θ (C,) of the next training, None when the search is over. It is never over before the
            first.
        """
        ...

    def score(self, trial: Trial) -> Any:
        """Score a training.

        Args:
            trial: A finished training.

        Returns:
            The score. The training with the largest is chosen, of equals the first.
        """
        ...


class HalvingRule(CurvatureRule, Protocol):
    """A curvature rule that trains from several curvatures side by side, and drops half on the way.

    The curvature rests in each training. The cost of all of them is counted.

    Attributes:
        halves: True marks the rule as one.
        cuts: Shares of training, rising, after which trainings are dropped. One is left after the
            last.
    """

    halves: ClassVar[bool]
    cuts: ClassVar[tuple[float, ...]]

    @property
    def starts(self) -> tuple[float, ...]:
        """Return the curvature of each training."""
        ...

    @property
    def trainings(self) -> float:
        """Return the cost of a run in whole trainings."""
        ...

    def survivors(self, trainings: int) -> int:
        """Return how many of so many trainings a cut leaves, at least one.

        Args:
            trainings: Their number.

        Returns:
            The number that goes on.
        """
        ...
