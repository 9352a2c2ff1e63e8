"""The training loop: one for every task, model and method."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from hsac.ball import Transform
from hsac.hypergradient.operator import Loss, norm
from hsac.rules.types import CurvatureRule, Gradient, Step, WeightRule
from hsac.sharpness import ascend, scope_scale
from hsac.train.ensemble import Bundle
from hsac.train.tasks import Metrics, Outputs, Task, plain_loss

SLICE = torch.linspace(-1, 1, 21)


@dataclass(frozen=True)
class Plan:
    """How long and how: epochs, weight decay, learning-rate schedule, number of evaluations, the
    measured scope.

    `rate` is a factor on the learning rate, beside the schedule's.
    """

    epochs: int
    weight_decay: float
    schedule: str
    evaluations: int
    radius: float
    ascent_steps: int
    rate: float = 1.0

    def factor(self, step: int, total: int) -> float:
        """The factor on the learning rate at a step.

        `warmup_steps` is the recipe of Cao et al. (NeurIPS 2019) in shares of training (there 5,
        160 and 180 of 200 epochs): a linear rise over the first 2.5 %, 0.01 from 80 % on, 0.0001
        from 90 % on.
        """
        if self.schedule == "cosine":
            return self.rate * (0.5 * (1 + math.cos(math.pi * step / total)))
        if self.schedule == "warmup_steps":
            done = step / total
            rising = min(1.0, (step + 1) / (0.025 * total))
            return self.rate * rising * (1.0 if done < 0.8 else 0.01 if done < 0.9 else 0.0001)
        return self.rate


@dataclass
class Outcome:
    """What training R runs gave: final w, θ and c, evaluations, hsac's log, first bad step and
    quantity, cost.
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
    """Training took longer than it may; the message says after which step."""


class Problem:
    """The bi-level problem at hand: losses as functions of (w, θ), and the cost of what was asked.

    The training loss may remember each training row and know how far training is, `progress` in [0,
    1]: both are constants to every loss taken in a step.
    """

    def __init__(
        self,
        task: Task,
        bundle: Bundle,
        tau: Callable[[Tensor], Tensor],
        weight_decay: float,
        runs: int,
    ) -> None:
        self.task, self.bundle, self.tau, self.weight_decay = task, bundle, tau, weight_decay
        self.memory, self.progress = task.trained.init(runs), 0.0
        self.gradients = self.held_out_batches = 0

    def loss(self, batch: Any, first: bool = False, times: int = 1) -> Loss:
        """The training loss on a batch. The `first` time of a training step it remembers what it
        sees. A gradient of a batch that is `times` as large as a training batch counts as so many.
        """
        unseen = first and bool(self.memory)

        def loss(w: Tensor, theta: Tensor) -> Tensor:
            nonlocal unseen
            self.gradients += times * getattr(self.bundle.model, "gradients_per_pass", 1)
            outputs = self.task.outputs(self.bundle, w, self.tau(theta), batch)
            if unseen:
                self._remember(outputs)
                unseen = False
            return self.task.trained(
                outputs.logits, outputs.labels, self._recalled(outputs), self.progress
            )

        return loss

    def _places(self, outputs: Outputs) -> tuple[Tensor, Tensor]:
        assert outputs.rows is not None  # a loss with a memory is refused where there are none
        return torch.arange(len(outputs.rows)).to(outputs.rows)[:, None], outputs.rows

    def _recalled(self, outputs: Outputs) -> dict[str, Tensor]:
        return {k: kept[self._places(outputs)] for k, kept in self.memory.items()}

    def _remember(self, outputs: Outputs) -> None:
        seen = self.task.trained.observe(self._recalled(outputs), outputs.logits.detach())
        for k, values in seen.items():
            self.memory[k][self._places(outputs)] = values

    def objective(self, batch: Any, first: bool = False, times: int = 1) -> Loss:
        """The lower level's objective on a batch: loss + weight decay/2·|w|²."""
        loss = self.loss(batch, first, times)
        return lambda w, theta: loss(w, theta) + self.weight_decay / 2 * (w * w).sum(-1)

    def draw_held_out(self, stream: str) -> Any:
        """A batch of the validation part; counted, because its labels then take part in training."""
        self.held_out_batches += 1
        return self.task.held_out(stream)

    def held_out(self, batch: Any) -> Loss:
        """The loss on a batch of the validation part."""

        def loss(w: Tensor, theta: Tensor) -> Tensor:
            self.gradients += getattr(self.bundle.model, "gradients_per_pass", 1)
            return self.task.held_out_loss(self.bundle, w, self.tau(theta), batch)

        return loss

    def gradient(self, batch: Any, theta: Tensor, with_theta: bool) -> Callable[[Tensor], Gradient]:
        """Gradient of the objective in w, and in θ if asked for, for one training step."""
        objective = self.objective(batch, first=True)

        def gradient(w: Tensor) -> Gradient:
            w = w.detach().requires_grad_()
            at = theta.detach().requires_grad_(with_theta)
            value = objective(w, at)
            found = torch.autograd.grad(value.sum(), (w, at) if with_theta else (w,))
            slope = found[1] if with_theta else None
            return Gradient(value.detach(), found[0], slope, self.tau(theta).detach())

        return gradient

    def sharpness(self, batch: Any, w: Tensor, theta: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
        """Worst-case increase of cross-entropy in the adaptive scope (R,) and the perturbation that
        gives it (R, P).
        """

        def loss_and_gradient(point: Tensor) -> tuple[Tensor, Tensor]:
            point = point.detach().requires_grad_()
            value = plain_loss(self.task, self.bundle, point, self.tau(theta), batch)
            return value.detach(), torch.autograd.grad(value.sum(), point)[0]

        e = ascend(loss_and_gradient, w, scope_scale(w, "adaptive"), plan.radius, plan.ascent_steps)
        with torch.no_grad():
            at = [
                plain_loss(self.task, self.bundle, point, self.tau(theta), batch)
                for point in (w + e, w)
            ]
        return at[0] - at[1], e


def train(
    task: Task,
    bundle: Bundle,
    w: Tensor,
    theta: Tensor,
    weight_rule: WeightRule,
    curvature_rule: CurvatureRule,
    transform: Transform | None,
    plan: Plan,
    normal: Callable[[str], Tensor],
    deadline: float = math.inf,
) -> Outcome:
    """Train R runs from w (R, P) and θ (R, C) to the end of the plan; a run that diverges does not
    stop the others.

    `transform` None is flat space; `normal(purpose)` draws standard normals of w's shape.
    Divergence is noted with its first step and quantity (loss, weights, curvature). Raises
    TimeLimitError when a step would begin after `deadline` (on the clock of `time.perf_counter`,
    s).
    """

    going = Training(task, bundle, w, theta, weight_rule, curvature_rule, transform, plan, normal)
    problem, total = going.problem, going.total
    when = {round(total * (i + 1) / plan.evaluations) for i in range(plan.evaluations)}
    never = torch.full((len(w),), -1, device=w.device)
    bad = {name: never.clone() for name in ("loss", "weights", "curvature")}
    out = Outcome(w, theta, going.c, bad=bad, total=total)
    probe = task.probe()

    for index in range(total):
        if time.perf_counter() > deadline:
            raise TimeLimitError(f"stopped after step {index} of {total}")
        at, log = going.step(index)
        for name, value in (
            ("loss", at.loss[:, None]),
            ("weights", going.w),
            ("curvature", going.theta),
        ):
            fault = ~value.isfinite().all(-1) & (out.bad[name] < 0)
            out.bad[name] = torch.where(fault, index + 1, out.bad[name])
        if log:
            out.outer.append((index + 1, log))
        if index + 1 in when:
            with torch.no_grad():
                out.metrics.append(task.evaluate(bundle, going.w, going.c))
            out.steps.append(index + 1)
            out.curvature.append(going.c)
            out.sharpness.append(problem.sharpness(probe, going.w, going.theta, plan)[0])
    out.w, out.theta, out.c, out.gradients = going.w, going.theta, going.c, problem.gradients
    out.products = int(
        sum(log["products"][0] for _, log in out.outer)
    )  # once, as a GPU is waited for
    out.held_out_batches = problem.held_out_batches
    out.landscape = _slices(problem, probe, out.w, out.theta, normal("landscape"), plan)
    return out


class Training:
    """R runs on their way: weights w (R, P), θ (R, C) and the rules' states, moved a step at a
    time.
    """

    def __init__(
        self,
        task: Task,
        bundle: Bundle,
        w: Tensor,
        theta: Tensor,
        weight_rule: WeightRule,
        curvature_rule: CurvatureRule,
        transform: Transform | None,
        plan: Plan,
        normal: Callable[[str], Tensor],
    ) -> None:
        self.w, self.theta, self.weight_rule, self.curvature_rule = (
            w,
            theta,
            weight_rule,
            curvature_rule,
        )
        self.transform, self.plan, self.normal = transform, plan, normal
        self.problem = Problem(task, bundle, self._tau, plan.weight_decay, len(w))
        self.total = plan.epochs * task.steps_per_epoch
        self.weight_state, self.curvature_state = weight_rule.init(w), curvature_rule.init(theta)

    def _tau(self, theta: Tensor) -> Tensor:
        names = len(self.problem.bundle.model.curvature_names)
        return (
            torch.zeros_like(theta) if self.transform is None else self.transform(theta)
        ).expand(-1, names)

    @property
    def c(self) -> Tensor:
        """The curvatures (R, one a name of the model's)."""
        return self._tau(self.theta).detach()

    def step(self, index: int) -> tuple[Gradient, dict[str, Tensor]]:
        """Step `index` from 0: the gradient that the weights moved by, and the curvature rule's
        log.
        """
        problem, transform = self.problem, self.transform
        problem.progress = index / self.total
        gradient = problem.gradient(
            problem.task.batch("batches"), self.theta, self.curvature_rule.needs_gradient
        )
        rate = self.plan.factor(index, self.total)
        self.w, self.weight_state, at = self.weight_rule.update(
            self.w, self.weight_state, gradient, rate
        )
        fresh = _Fresh(problem, self.w, self.theta)
        step = Step(
            index, self.total, self.w, at, fresh.loss, fresh.objective, fresh.adversary, lambda: self.normal("upper"),
            problem.bundle.sizes, fresh.held_out, fresh.features,
            torch.zeros_like if transform is None else transform.to_theta, problem.task.examples, problem.task.batches,
        )  # fmt: skip
        theta, self.curvature_state, log = self.curvature_rule.update(
            self.theta, self.curvature_state, step
        )
        self.theta = theta if transform is None else transform.clamp(theta)
        return at, log


class _Fresh:
    """What a step draws when a curvature rule first asks for it: a training or validation batch a
    purpose.
    """

    def __init__(self, problem: Problem, w: Tensor, theta: Tensor) -> None:
        self.problem, self.w, self.theta = problem, w, theta
        self.batch = cache(lambda purpose, times: problem.task.batch(purpose, times))
        self.held_out_batch = cache(problem.draw_held_out)

    def loss(self, times: int = 1) -> Loss:
        return self.problem.loss(self.batch("upper", times), times=times)

    def objective(self, times: int = 1, shared: bool = False) -> Loss:
        return self.problem.objective(
            self.batch("upper" if shared else "lower", times), times=times
        )

    def adversary(self, times: int = 1) -> Loss:
        return self.problem.loss(self.batch("adversary", times), times=times)

    def held_out(self, stream: str = "held_out") -> Loss:
        return self.problem.held_out(self.held_out_batch(stream))

    def features(self) -> Tensor:
        with torch.no_grad():
            return self.problem.task.features(
                self.problem.bundle, self.w, self.problem.tau(self.theta)
            )


def _slices(
    problem: Problem, batch: Any, w: Tensor, theta: Tensor, direction: Tensor, plan: Plan
) -> dict[str, list[Tensor]]:
    """Cross-entropy at w + αd, α in SLICE: d filter-normalised random (Li et al., NeurIPS 2018),
    and worst-case in the scope.
    """
    directions = {
        "random": filter_normalised(problem.bundle, direction, w),
        "worst": problem.sharpness(batch, w, theta, plan)[1],
    }
    with torch.no_grad():
        c = problem.tau(theta)
        return {
            name: [
                plain_loss(problem.task, problem.bundle, w + float(alpha) * d, c, batch)
                for alpha in SLICE
            ]
            for name, d in directions.items()
        }


def filter_normalised(bundle: Bundle, direction: Tensor, w: Tensor) -> Tensor:
    """Scale each filter (row of a weight tensor; a whole vector) of the direction to the weights'
    norm: (R, P).
    """
    runs = []
    for d, weights in zip(direction, w, strict=True):
        pairs = zip(bundle.unflatten(d).values(), bundle.unflatten(weights).values(), strict=True)
        parts = []
        for a, b in pairs:
            rows = (len(a), -1) if a.dim() > 1 else (1, -1)
            a, b = a.reshape(rows), b.reshape(rows)
            parts.append((a * norm(b) / norm(a)).flatten())
        runs.append(torch.cat(parts))
    return torch.stack(runs)
