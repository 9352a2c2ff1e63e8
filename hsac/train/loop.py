"""The training loop: one for every task, model and method."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from hsac.ball import Transform
from hsac.errors import InputError
from hsac.hypergradient.operator import norm
from hsac.losses.types import LearningLoss
from hsac.rules.types import CurvatureRule, Gradient, State, Step, Transporting, WeightRule
from hsac.train.carry import carry
from hsac.train.ensemble import Ensemble
from hsac.train.losses import BilevelLosses
from hsac.train.schedule import Schedule
from hsac.train.step_batches import StepBatches
from hsac.train.tasks.types import Metrics, plain_loss

SLICE = torch.linspace(-1, 1, 21)  # of the landscape: multiples of a direction
QUANTITIES = ("loss", "weights", "curvature")  # that may diverge, in the order they are named in


@dataclass(frozen=True)
class Prepared:
    """A cell and its seeds made ready for training.

    Attributes:
        task: The task, with its streams at their start.
        model: The model.
        ensemble: The model for R runs.
        weight_rule: The rule for the weights.
        curvature_rule: The rule for the curvature.
        transform: From θ to curvatures. None is flat space.
        schedule: How long and how to train.
        w: Start weights (R, P).
        theta: Start θ (R, C).
    """

    task: Any
    model: Any
    ensemble: Ensemble
    weight_rule: WeightRule
    curvature_rule: CurvatureRule
    transform: Transform | None
    schedule: Schedule
    w: Tensor
    theta: Tensor


@dataclass
class Outcome:
    """What training R runs gave.

    Attributes:
        w: Final weights (R, P).
        theta: Final θ (R, C).
        c: Final curvatures (R, one a name of the model's).
        steps: The steps after which there was an evaluation.
        curvature: The curvatures at each of these.
        sharpness: The sharpness (R,) at each of these.
        metrics: The task's metrics at each of these.
        outer: Step and log of each of the curvature rule's moves.
        landscape: Cross-entropy along each direction, at the multiples in `SLICE`.
        bad: The first step (R,) at which each quantity was not finite, -1 where it always was.
        total: Steps of training.
        gradients: Gradients taken of one run.
        products: Hessian products taken of one run.
        held_out_batches: Batches of the validation part that training drew.
        meta_batches: Batches of the meta set that training drew.
    """

    w: Tensor
    theta: Tensor
    c: Tensor
    steps: list[int] = field(default_factory=list)
    curvature: list[Tensor] = field(default_factory=list)
    sharpness: list[Tensor] = field(default_factory=list)
    metrics: list[Metrics] = field(default_factory=list)
    outer: list[tuple[int, dict[str, Tensor]]] = field(default_factory=list)
    landscape: dict[str, list[Tensor]] = field(default_factory=dict)
    bad: dict[str, Tensor] = field(default_factory=dict)
    total: int = 0
    gradients: int = 0
    products: int = 0
    held_out_batches: int = 0
    meta_batches: int = 0


class TimeLimitError(Exception):
    """Training took longer than it may. The message says after which step."""


def train(made: Prepared, normal: Callable[[str], Tensor], deadline: float = math.inf) -> Outcome:
    """Train R runs from their start to the end of the schedule.

    A run that diverges does not stop the others. Its first step and quantity that are not finite
    are noted.

    Args:
        made: What trains.
        normal: Draws standard normals of w's shape, by purpose.
        deadline: The time when the last step may begin, on the clock of `time.perf_counter` (s).

    Returns:
        What came of it.

    Raises:
        InputError: The model has a curvature, and does not use it.
        TimeLimitError: A step would begin after the deadline.
    """
    training = Training(made, normal, deadline)
    training.advance(training.trainer.total)
    return training.finish()


class Training:
    """R runs in training, measured on the way. It can stop after any step and go on later.

    Attributes:
        made: What trains.
        trainer: The runs on their way.
        done: Steps taken.
    """

    def __init__(
        self, made: Prepared, normal: Callable[[str], Tensor], deadline: float = math.inf
    ) -> None:
        """Start a training.

        Args:
            made: What trains.
            normal: Draws standard normals of w's shape, by purpose.
            deadline: The time when the last step may begin, on the clock of `time.perf_counter`
                (s).

        Raises:
            InputError: The model has a curvature, and does not use it.
        """
        self.made, self.deadline, self.done = made, deadline, 0
        self.trainer = trainer = Trainer(made, normal)
        self._normal, self._evaluated = normal, made.schedule.evaluated(trainer.total)
        # -1 stands for a quantity that was finite at every step so far.
        never = torch.full((len(made.w),), -1, device=made.w.device)
        bad = {name: never.clone() for name in QUANTITIES}
        self._out = Outcome(made.w, made.theta, trainer.c, bad=bad, total=trainer.total)
        # One batch for all evaluations, so that sharpness is comparable along a training.
        self._probe = made.task.probe()
        if made.transform is not None:
            trainer.losses.check_curvature(self._probe, made.w, made.theta)

    def advance(self, end: int) -> None:
        """Train on.

        Args:
            end: The number of steps to have taken then.

        Raises:
            TimeLimitError: A step would begin after the deadline.
        """
        out, trainer = self._out, self.trainer
        for index in range(self.done, end):
            # Asked before each step, so that a training overruns by one step at most.
            if time.perf_counter() > self.deadline:
                raise TimeLimitError(f"stopped after step {index} of {trainer.total}")
            at, log = trainer.step(index)
            # In the order of QUANTITIES. The loss gets an axis, so that `all(-1)` serves all three.
            moved = (at.loss[:, None], trainer.w, trainer.theta)
            for name, value in zip(QUANTITIES, moved, strict=True):
                # Noted on the device, as reading it each step would make the host wait for a GPU.
                fault = ~value.isfinite().all(-1) & (out.bad[name] < 0)
                out.bad[name] = torch.where(fault, index + 1, out.bad[name])
            # The log is empty on steps that the rule does not move on.
            if log:
                out.outer.append((index + 1, log))
            if index + 1 in self._evaluated:
                out.metrics.append(self.evaluate())
                out.steps.append(index + 1)
                out.curvature.append(trainer.c)
                # Outside of `no_grad`, since the ascent takes gradients.
                schedule = self.made.schedule
                sharpness, _ = trainer.losses.sharpness(
                    self._probe, trainer.w, trainer.theta, schedule
                )
                out.sharpness.append(sharpness)
        self.done = end

    def evaluate(self) -> Metrics:
        """Compute the task's metrics of the present weights."""
        with torch.no_grad():
            return self.made.task.evaluate(self.made.ensemble, self.trainer.w, self.trainer.c)

    def diverged(self) -> list[bool]:
        """Return of each run whether something was not finite so far."""
        return (torch.stack([*self._out.bad.values()]) >= 0).any(0).tolist()

    def runs(self) -> State:
        """Return all that belongs to the runs, but for what a curvature rule logged of its moves.

        Returns:
            Names to tensors with a leading R, to lists with an entry a run, and to numbers that all
            runs share; or to such names in turn.
        """
        out, trainer = self._out, self.trainer
        return {
            "w": trainer.w,
            "theta": trainer.theta,
            "weight_state": trainer.weight_state,
            "curvature_state": trainer.curvature_state,
            "memory": trainer.losses.memory,
            "learned": trainer.losses.learned,
            "bad": out.bad,
            # Numbered, since lists have an entry a run, and these one an evaluation.
            "metrics": dict(enumerate(out.metrics)),
            "curvature": dict(enumerate(out.curvature)),
            "sharpness": dict(enumerate(out.sharpness)),
        }

    def resume(self, runs: State) -> None:
        """Go on with other runs than those trained so far.

        Args:
            runs: As `runs` gives them, after as many steps of the same schedule, on the same
                batches.
        """
        out, trainer = self._out, self.trainer
        trainer.w, trainer.theta = runs["w"], runs["theta"]
        trainer.weight_state = runs["weight_state"]
        trainer.curvature_state = runs["curvature_state"]
        trainer.losses.memory, trainer.losses.learned = runs["memory"], runs["learned"]
        out.bad = runs["bad"]
        out.metrics = [*runs["metrics"].values()]
        out.curvature = [*runs["curvature"].values()]
        out.sharpness = [*runs["sharpness"].values()]

    def finish(self) -> Outcome:
        """Return what came of the training, with the landscape around its final weights."""
        out, trainer, losses = self._out, self.trainer, self.trainer.losses
        out.w, out.theta, out.c = trainer.w, trainer.theta, trainer.c
        out.gradients = losses.gradients
        # Summed here and not by step, as each number that is read makes the host wait for a GPU.
        spent = sum(log["products"][0] for _, log in out.outer)
        out.products = losses.products + int(spent)
        out.held_out_batches, out.meta_batches = losses.held_out_batches, losses.meta_batches
        landscape = self._normal("landscape")
        out.landscape = _slices(losses, self._probe, out, landscape, self.made.schedule)
        return out


class Trainer:
    """R runs on their way, moved a step at a time.

    Attributes:
        w: Weights (R, P).
        theta: θ (R, C).
        losses: The losses of both levels, and their cost so far.
        total: Steps of the whole training.
        head_from: The step from which on the head is trained alone, `total` for never.
        weight_state: The weight rule's state.
        curvature_state: The curvature rule's state.
        joint: Whether the weight rule moves θ, too.
    """

    def __init__(self, made: Prepared, normal: Callable[[str], Tensor]) -> None:
        """Start a training.

        Args:
            made: What trains.
            normal: Draws standard normals of w's shape, by purpose.

        Raises:
            InputError: The loss trains a head alone, and the model has none.
        """
        self.made, self.normal, self.w, self.theta = made, normal, made.w, made.theta
        weight_decay = made.schedule.weight_decay
        self.losses = BilevelLosses(made.task, made.ensemble, self._tau, weight_decay, made.w)
        self.total = made.schedule.epochs * made.task.steps_per_epoch
        self.head_from = round(made.task.trained.head_alone_from * self.total)
        if self.head_from < self.total and not made.ensemble.head.any():
            raise InputError(
                "loss: found one that trains the head alone, and the model has none; allowed is a"
                " model with a head"
            )
        self.joint: bool = getattr(made.curvature_rule, "joint", False)
        moved = torch.cat([made.w, made.theta], -1) if self.joint else made.w
        self.weight_state = made.weight_rule.init(moved)
        self.curvature_state = made.curvature_rule.init(made.theta)

    def _tau(self, theta: Tensor) -> Tensor:
        """Return c with one column per layer name; a shared curvature is repeated."""
        transform, names = self.made.transform, self.made.ensemble.model.curvature_names
        # Flat space is a ball of curvature 0.
        c = torch.zeros_like(theta) if transform is None else transform(theta)
        return c.expand(-1, len(names))

    @property
    def c(self) -> Tensor:
        """The curvatures (R, one a name of the model's)."""
        return self._tau(self.theta).detach()

    def step(self, index: int) -> tuple[Gradient, dict[str, Tensor]]:
        """Train one step.

        Args:
            index: The step, from 0.

        Returns:
            The gradient that the weights moved by, and the curvature rule's log.
        """
        made, losses = self.made, self.losses
        losses.progress = index / self.total
        if index >= self.head_from:
            return self._step_head(index), {}
        batch = made.task.batch("batches")
        rate = made.schedule.factor(index, self.head_from)
        if isinstance(made.task.trained, LearningLoss):
            losses.learn(batch, self.w, self.theta, rate)
        at = self._move(batch, rate)
        # The curvature moves last, so that its rule sees the weights after their step.
        before = self.theta
        theta, self.curvature_state, log = made.curvature_rule.update(
            self.theta, self.curvature_state, self._seen(index, at)
        )
        # Curvatures stay within their bounds, whatever the rule says.
        self.theta = theta if made.transform is None else made.transform.clamp(theta)
        if getattr(made.curvature_rule, "carries_points", False):
            self._carry(before)
        return at, log

    def _step_head(self, index: int) -> Gradient:
        """Train the head alone for one step, on a balanced batch; the other weights and c rest."""
        made, head = self.made, self.made.ensemble.head
        self.losses.moving = head
        if index == self.head_from:
            self.w = torch.where(head, made.w, self.w)
            self.weight_state = made.weight_rule.init(self.w)
        gradient = self.losses.gradient(made.task.batch("balanced"), self.theta, False)
        # Its part of training has a schedule of its own, from the start.
        rate = made.schedule.factor(index - self.head_from, self.total - self.head_from)
        w, self.weight_state, at = made.weight_rule.update(
            self.w, self.weight_state, gradient, rate
        )
        self.w = torch.where(head, w, self.w)
        return at

    def _carry(self, before: Tensor) -> None:
        """Take points of the ball, and moments there, from the ball of one θ to the present one."""
        rule, places = self.made.weight_rule, self.made.ensemble.points
        self.w, factors = carry(places, self.w, self._tau(before), self.c)
        if isinstance(rule, Transporting):
            self.weight_state = rule.transport(self.weight_state, factors)

    def _move(self, batch: Any, rate: float) -> Gradient:
        """Let the weight rule take its step, and return the gradient that it went by."""
        rule: Any = self.made.weight_rule
        curvature: Any = self.made.curvature_rule
        if not self.joint:
            gradient = self.losses.gradient(batch, self.theta, curvature.needs_gradient)
            self.w, self.weight_state, at = rule.update(self.w, self.weight_state, gradient, rate)
            return at
        sizes = [self.w.shape[1], self.theta.shape[1]]
        gradient = self.losses.joint_gradient(batch, sizes, curvature.decay)
        point = torch.cat([self.w, self.theta], -1)
        point, self.weight_state, at = rule.update(point, self.weight_state, gradient, rate)
        self.w, self.theta = point.split(sizes, -1)
        return replace(at, weights=at.weights[:, : sizes[0]])

    def _put(self, w: Tensor) -> None:
        self.w = w

    def _seen(self, index: int, at: Gradient) -> Step:
        """Return the step as the curvature rule sees it, after the weights moved."""
        made, drawn = self.made, StepBatches(self.losses, self.w, self.theta)
        return Step(
            index=index,
            total=self.total,
            w=self.w,
            gradient=at,
            upper=drawn.loss,
            lower=drawn.objective,
            adversary=drawn.adversary,
            normal=lambda: self.normal("upper"),
            layers=made.ensemble.sizes,
            held_out=drawn.held_out,
            head=drawn.head,
            put=self._put,
            meta=drawn.meta,
            features=drawn.features,
            to_theta=torch.zeros_like if made.transform is None else made.transform.to_theta,
            inverse=float if made.transform is None else made.transform.inverse,
            examples=made.task.examples,
            batches=made.task.batches,
        )


def _slices(
    losses: BilevelLosses, batch: Any, out: Outcome, direction: Tensor, schedule: Schedule
) -> dict[str, list[Tensor]]:
    """Compute the cross-entropy at w + αd, α in SLICE.

    d is first a random filter-normalised direction (Li et al., NeurIPS 2018), then the worst-case
    one of the scope.
    """
    directions = {
        "random": filter_normalised(losses.ensemble, direction, out.w),
        "worst": losses.sharpness(batch, out.w, out.theta, schedule)[1],
    }
    found: dict[str, list[Tensor]] = {name: [] for name in directions}
    with torch.no_grad():
        c = losses.tau(out.theta)
        for name, d in directions.items():
            for alpha in SLICE:
                at = out.w + float(alpha) * d
                found[name].append(plain_loss(losses.task, losses.ensemble, at, c, batch))
    return found


def filter_normalised(ensemble: Ensemble, direction: Tensor, w: Tensor) -> Tensor:
    """Scale each filter of a direction to the norm of the weights' (Li et al., NeurIPS 2018).

    A filter is a row of a weight tensor, or a whole vector.

    Args:
        ensemble: The layout of the weights.
        direction: The direction (R, P).
        w: Weights (R, P).

    Returns:
        The scaled direction (R, P).
    """
    runs = []
    # Run by run, as a filter's norm must not mix runs.
    for d, weights in zip(direction, w, strict=True):
        pairs = zip(
            ensemble.unflatten(d).values(), ensemble.unflatten(weights).values(), strict=True
        )
        parts = []
        for a, b in pairs:
            rows = (len(a), -1) if a.dim() > 1 else (1, -1)
            a, b = a.reshape(rows), b.reshape(rows)
            parts.append((a * norm(b) / norm(a)).flatten())
        runs.append(torch.cat(parts))
    return torch.stack(runs)
