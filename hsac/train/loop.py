"""The training loop: one for every task, model and method."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from hsac.ball import Transform
from hsac.errors import InputError
from hsac.hypergradient.operator import Loss, norm
from hsac.models.types import Adapting
from hsac.rules.types import CurvatureRule, Gradient, State, Step, Transporting, WeightRule
from hsac.sharpness import ascend, scope_scale
from hsac.train.carry import carry
from hsac.train.ensemble import Ensemble
from hsac.train.tasks.types import Metrics, Outputs, Task, plain_loss

SLICE = torch.linspace(-1, 1, 21)  # of the landscape: multiples of a direction
QUANTITIES = ("loss", "weights", "curvature")  # that may diverge, in the order they are named in


@dataclass(frozen=True)
class Schedule:
    """How long and at which rates to train, and when and how to measure.

    Attributes:
        epochs: Epochs of training.
        weight_decay: Factor of |w|²/2 in the objective.
        kind: How the learning rate changes: `constant`, `cosine` or `warmup_steps`.
        evaluations: Evaluations, evenly spread; the last is at the end.
        radius: Radius of the scope that sharpness is measured in.
        ascent_steps: Steps of the ascent that finds the worst point of the scope.
        rate: A factor on the learning rate beside the schedule's.
    """

    epochs: int
    weight_decay: float
    kind: str
    evaluations: int
    radius: float
    ascent_steps: int
    rate: float = 1.0

    def factor(self, step: int, total: int) -> float:
        """Compute the factor on the learning rate at a step.

        `warmup_steps` is the recipe of Cao et al. (NeurIPS 2019) in shares of training (there 5,
        160 and 180 of 200 epochs): a linear rise over the first 2.5 %, 0.01 from 80 % on, 0.0001
        from 90 % on.

        Args:
            step: The step, from 0.
            total: Steps of the whole training.

        Returns:
            The factor, from 0.
        """
        if self.kind == "cosine":
            return self.rate * (0.5 * (1 + math.cos(math.pi * step / total)))
        if self.kind == "warmup_steps":
            done = step / total
            # From step + 1, so that the first step already moves the weights.
            rising = min(1.0, (step + 1) / (0.025 * total))
            return self.rate * rising * (1.0 if done < 0.8 else 0.01 if done < 0.9 else 0.0001)
        return self.rate

    def evaluated(self, total: int) -> set[int]:
        """Compute after which steps to evaluate.

        Args:
            total: Steps of the whole training.

        Returns:
            Numbers of steps done, from 1 to `total`.
        """
        # A set, as a short training may have fewer steps than evaluations.
        return {round(total * (i + 1) / self.evaluations) for i in range(self.evaluations)}


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


class TimeLimitError(Exception):
    """Training took longer than it may. The message says after which step."""


class BilevelLosses:
    """The losses of both levels as functions of (w, θ), and the cost of what was asked of them.

    The training loss may remember each training row and know how far training is. Both are
    constants to every loss taken in a step.

    Attributes:
        memory: What the training loss remembers of each row, (R, n, ...) by name.
        progress: How far training is, in [0, 1].
        gradients: Gradients taken of one run, in training batches.
        held_out_batches: Batches drawn of the validation part.
    """

    def __init__(
        self,
        task: Task,
        ensemble: Ensemble,
        tau: Callable[[Tensor], Tensor],
        weight_decay: float,
        runs: int,
    ) -> None:
        """Start the count at 0 and the memory empty.

        Args:
            task: The task.
            ensemble: The network.
            tau: From θ (R, C) to the model's curvatures.
            weight_decay: Factor of |w|²/2 in the objective.
            runs: Number of runs R.
        """
        self.task, self.ensemble, self.tau, self.weight_decay = task, ensemble, tau, weight_decay
        self.memory, self.progress = task.trained.init(runs), 0.0
        self.gradients = self.held_out_batches = 0

    def loss(self, batch: Any, first: bool = False, times: int = 1) -> Loss:
        """Make the training loss on a batch.

        Args:
            batch: A batch of the training part.
            first: Whether this is the step's own batch. A loss with a memory then updates it.
            times: The batch's size in training batches. Its gradient counts as so many.

        Returns:
            The loss (w, θ) -> (R,).
        """
        unseen = first and bool(self.memory)

        # SAM takes a second gradient in the same step. Only the first is remembered.
        def loss(w: Tensor, theta: Tensor) -> Tensor:
            nonlocal unseen
            self._count(times)
            outputs = self.task.outputs(self.ensemble, w, self.tau(theta), batch)
            if unseen:
                self._remember(outputs)
                unseen = False
            recalled = self._recalled(outputs)
            return self.task.trained(outputs.logits, outputs.labels, recalled, self.progress)

        return loss

    def _count(self, times: int) -> None:
        # MAML takes gradients of its own in a pass, to adapt to each episode.
        model = self.ensemble.model
        self.gradients += times * (model.gradients_per_pass if isinstance(model, Adapting) else 1)

    def _places(self, outputs: Outputs) -> tuple[Tensor, Tensor]:
        assert outputs.rows is not None  # a loss with a memory is refused where there are none
        return torch.arange(len(outputs.rows)).to(outputs.rows)[:, None], outputs.rows

    def _recalled(self, outputs: Outputs) -> dict[str, Tensor]:
        return {k: kept[self._places(outputs)] for k, kept in self.memory.items()}

    def _remember(self, outputs: Outputs) -> None:
        # The memory is a constant to every loss of the step, so no graph may lead through it.
        seen = self.task.trained.observe(self._recalled(outputs), outputs.logits.detach())
        for k, values in seen.items():
            self.memory[k][self._places(outputs)] = values

    def objective(self, batch: Any, first: bool = False, times: int = 1) -> Loss:
        """Make the lower level's objective on a batch: loss + weight decay/2·|w|².

        Args:
            batch: A batch of the training part.
            first: As `loss` has it.
            times: As `loss` has it.

        Returns:
            The objective (w, θ) -> (R,).
        """
        loss = self.loss(batch, first, times)
        return lambda w, theta: loss(w, theta) + self.weight_decay / 2 * (w * w).sum(-1)

    def draw_held_out(self, stream: str) -> Any:
        """Draw a batch of the validation part, and count it.

        Args:
            stream: The stream of random numbers, by name.

        Returns:
            The batch.
        """
        # Counted because the labels of such batches take part in training.
        self.held_out_batches += 1
        return self.task.held_out(stream)

    def held_out(self, batch: Any) -> Loss:
        """Make the loss on a batch of the validation part.

        Args:
            batch: What `draw_held_out` gave.

        Returns:
            The loss (w, θ) -> (R,).
        """

        def loss(w: Tensor, theta: Tensor) -> Tensor:
            self._count(1)
            return self.task.held_out_loss(self.ensemble, w, self.tau(theta), batch)

        return loss

    def gradient(self, batch: Any, theta: Tensor, with_theta: bool) -> Callable[[Tensor], Gradient]:
        """Make the gradient of the objective for one training step.

        Args:
            batch: The step's training batch.
            theta: θ (R, C).
            with_theta: Whether the gradient in θ is taken, too.

        Returns:
            The gradient as a function of w (R, P).
        """
        both = self._gradient(batch, with_theta)
        return lambda w: both(w, theta)

    def joint_gradient(
        self, batch: Any, sizes: list[int], decay: bool
    ) -> Callable[[Tensor], Gradient]:
        """Make the gradient of the objective in w and θ as one vector, for one training step.

        Args:
            batch: The step's training batch.
            sizes: Numbers of weights P and of curvatures C.
            decay: Whether weight decay applies to θ, too.

        Returns:
            The gradient as a function of (w, θ), (R, P + C).
        """
        both = self._gradient(batch, with_theta=True)

        def gradient(point: Tensor) -> Gradient:
            w, theta = point.split(sizes, -1)
            at = both(w, theta)
            assert at.theta is not None  # asked for above
            factors = torch.full_like(point[0], self.weight_decay)
            factors[sizes[0] :] *= decay
            # What is in the objective of w already, is here added of θ.
            pull = factors[sizes[0] :] * theta
            loss = at.loss + (pull * theta).sum(-1) / 2
            whole = torch.cat([at.weights, at.theta + pull], -1)
            return replace(at, loss=loss, weights=whole, decay=factors)

        return gradient

    def _gradient(self, batch: Any, with_theta: bool) -> Callable[[Tensor, Tensor], Gradient]:
        objective = self.objective(batch, first=True)

        def gradient(w: Tensor, theta: Tensor) -> Gradient:
            w = w.detach().requires_grad_()
            # Without θ the graph is smaller: most rules take no gradient in it.
            at = theta.detach().requires_grad_(with_theta)
            value = objective(w, at)
            found = torch.autograd.grad(value.sum(), (w, at) if with_theta else (w,))
            slope = found[1] if with_theta else None
            c = self.tau(theta).detach()
            return Gradient(value.detach(), found[0], slope, c, self.weight_decay)

        return gradient

    def check_curvature(self, batch: Any, w: Tensor, theta: Tensor) -> None:
        """Check that the model uses its curvature.

        All curvature rules would do the same where it does not: nothing.

        Args:
            batch: A training batch.
            w: Weights (R, P).
            theta: θ (R, C).

        Raises:
            InputError: See above.
        """
        w, theta = w.detach().requires_grad_(), theta.detach().requires_grad_()
        value = plain_loss(self.task, self.ensemble, w, self.tau(theta), batch)
        (slope,) = torch.autograd.grad(value.sum(), theta, allow_unused=True)
        if slope is None:
            raise InputError(
                "model: found outputs that do not depend on the curvature; allowed is a model or a"
                " head that computes with the tensor c it is given, or curvature rule euclidean"
            )

    def sharpness(
        self, batch: Any, w: Tensor, theta: Tensor, schedule: Schedule
    ) -> tuple[Tensor, Tensor]:
        """Compute the worst-case increase of cross-entropy in the adaptive scope.

        Args:
            batch: The batch that it is measured on.
            w: Weights (R, P).
            theta: θ (R, C).
            schedule: Radius of the scope and steps of the ascent.

        Returns:
            The increase (R,), and the perturbation (R, P) that gives it.
        """

        def loss_and_gradient(point: Tensor) -> tuple[Tensor, Tensor]:
            point = point.detach().requires_grad_()
            value = plain_loss(self.task, self.ensemble, point, self.tau(theta), batch)
            return value.detach(), torch.autograd.grad(value.sum(), point)[0]

        # The scope is adaptive, so that a rescaled network is as sharp as before.
        scale = scope_scale(w, "adaptive")
        e = ascend(loss_and_gradient, w, scale, schedule.radius, schedule.ascent_steps)
        with torch.no_grad():
            c = self.tau(theta)
            above, at = (
                plain_loss(self.task, self.ensemble, point, c, batch) for point in (w + e, w)
            )
        return above - at, e


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
        trainer.losses.memory, out.bad = runs["memory"], runs["bad"]
        out.metrics = [*runs["metrics"].values()]
        out.curvature = [*runs["curvature"].values()]
        out.sharpness = [*runs["sharpness"].values()]

    def finish(self) -> Outcome:
        """Return what came of the training, with the landscape around its final weights."""
        out, trainer, losses = self._out, self.trainer, self.trainer.losses
        out.w, out.theta, out.c = trainer.w, trainer.theta, trainer.c
        out.gradients = losses.gradients
        # Summed here and not by step, as each number that is read makes the host wait for a GPU.
        out.products = int(sum(log["products"][0] for _, log in out.outer))
        out.held_out_batches = losses.held_out_batches
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
        weight_state: The weight rule's state.
        curvature_state: The curvature rule's state.
        joint: Whether the weight rule moves θ, too.
    """

    def __init__(self, made: Prepared, normal: Callable[[str], Tensor]) -> None:
        """Start a training.

        Args:
            made: What trains.
            normal: Draws standard normals of w's shape, by purpose.
        """
        self.made, self.normal, self.w, self.theta = made, normal, made.w, made.theta
        weight_decay = made.schedule.weight_decay
        self.losses = BilevelLosses(made.task, made.ensemble, self._tau, weight_decay, len(made.w))
        self.total = made.schedule.epochs * made.task.steps_per_epoch
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
        batch = made.task.batch("batches")
        rate = made.schedule.factor(index, self.total)
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
            features=drawn.features,
            to_theta=torch.zeros_like if made.transform is None else made.transform.to_theta,
            inverse=float if made.transform is None else made.transform.inverse,
            examples=made.task.examples,
            batches=made.task.batches,
        )


class StepBatches:
    """What a step draws when a curvature rule first asks for it.

    There is one training or validation batch a purpose, the same all through the step.
    """

    def __init__(self, losses: BilevelLosses, w: Tensor, theta: Tensor) -> None:
        """Draw nothing yet.

        Args:
            losses: The losses, whose task draws.
            w: Weights (R, P) at which features are taken.
            theta: θ (R, C) at which features are taken.
        """
        self.losses, self.w, self.theta = losses, w, theta
        # Cached, so that however often a rule asks in a step it sees one batch a purpose.
        self.batch = cache(lambda purpose, times: losses.task.batch(purpose, times))
        self.held_out_batch = cache(losses.draw_held_out)

    def loss(self, times: int = 1) -> Loss:
        """Draw the upper level's loss.

        Args:
            times: The size of the sample, in training batches.

        Returns:
            The loss (w, θ) -> (R,).
        """
        return self.losses.loss(self.batch("upper", times), times=times)

    def objective(self, times: int = 1, shared: bool = False) -> Loss:
        """Draw the lower level's objective.

        Args:
            times: The size of the sample, in training batches.
            shared: Whether the sample is the upper level's.

        Returns:
            The objective (w, θ) -> (R,).
        """
        batch = self.batch("upper" if shared else "lower", times)
        return self.losses.objective(batch, times=times)

    def adversary(self, times: int = 1) -> Loss:
        """Draw the loss that an adversary is found on.

        Args:
            times: The size of the sample, in training batches.

        Returns:
            The loss (w, θ) -> (R,).
        """
        return self.losses.loss(self.batch("adversary", times), times=times)

    def held_out(self, stream: str = "held_out") -> Loss:
        """Draw a loss on the validation part.

        Args:
            stream: The stream of random numbers, by name.

        Returns:
            The loss (w, θ) -> (R,).
        """
        return self.losses.held_out(self.held_out_batch(stream))

    def features(self) -> Tensor:
        """Compute tangent features (R, N, d) of a training batch that is fresh at each call."""
        with torch.no_grad():
            c = self.losses.tau(self.theta)
            return self.losses.task.features(self.losses.ensemble, self.w, c)


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
