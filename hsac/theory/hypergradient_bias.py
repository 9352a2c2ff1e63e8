"""Bias and noise of the hypergradient that is estimated from mini-batches.

The estimates are compared with the hypergradient of the whole training part. A hypergradient is a
product of random quantities: the upper level's gradient, Hessians, the mixed derivative. Where two
of them are taken on one sample, the mean of the product is not the product of the means (Ghadimi
and Wang 2018; Ji, Yang and Liang, stocBiO, ICML 2021). A quantity that enters
non-linearly, as the adversary or Neumann's step, biases the estimate even when its sample is its
own. The study draws each kind of estimate many times at weights of one training, so that what is
biased, by how much and at which batch size is measured rather than argued.
"""

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hsac.data import load_variant
from hsac.errors import InputError
from hsac.hypergradient import HessianOperator, Hypergradient, Loss, Solver, implicit_hypergradient
from hsac.hypergradient.operator import norm
from hsac.hypergradient.solution import Solution
from hsac.hypergradient.solvers.neumann import Neumann
from hsac.models.types import BatchNormalised
from hsac.rules.curvature.hsac import Hsac, Samples
from hsac.sharpness import ascend, scope_scale
from hsac.study.cell import Cell
from hsac.study.models import HypergradientOptions, Study
from hsac.train.inputs import load_inputs
from hsac.train.loop import BilevelLosses, Prepared, Trainer
from hsac.train.seeds import generator, normals
from hsac.train.setup import prepare
from hsac.train.tasks.episodes import EpisodeTask
from hsac.train.tasks.images import ImageTask

Row = dict[str, Any]
Sampled = ImageTask | EpisodeTask  # tasks whose batches are drawn from fixed rows
Losses = Iterable[tuple[float, Loss]]  # parts of a mean: each one's share of the rows and its loss
OBJECTIVES = ("loss", "worst")
KINDS = ("none", "adversary", "levels", "terms", "step")  # of estimates, by what they share
COLD_STEPS = 3  # of the ascent that the carried adversary comes from
IMAGES = 2048  # that one program takes at once, which bounds memory
IMAGES_APART = 512  # the same where runs go one after another, and so gain nothing from more


@dataclass(frozen=True)
class Known:
    """What is computed on the whole training part at one point (w, θ) of a training.

    Attributes:
        carried: The adversary (1, P) that the rule would carry to this point.
        power: The power vector (1, P) that it would carry there.
        step: Neumann's step there.
        found: The hypergradient that estimates are compared with.
    """

    carried: Tensor
    power: Tensor
    step: float
    found: Hypergradient


@dataclass(frozen=True)
class Estimates:
    """R independent estimates at one point.

    Attributes:
        total: The hypergradients (R, C).
        gradients: What one of them costs, in gradients of a batch of its size. A Hessian product
            counts as two.
    """

    total: Tensor
    gradients: int


class MeanOperator(HessianOperator):
    """H and d²L/dθdw of a mean of losses that are made afresh for every product.

    No graph outlives its product. So the parts of a large sample need not fit into memory together,
    and `losses` may draw another sample each time, as stocBiO does.
    """

    def __init__(self, losses: Callable[[], Losses], w: Tensor, theta: Tensor) -> None:
        """Stand at a point w (R, P), θ (R, C), where `losses` are made anew for each product."""
        # The base's own `__init__` would build one graph for all products.
        self.losses, self.products = losses, 0
        self.w, self.theta = w.detach().requires_grad_(), theta.detach().requires_grad_()

    def __call__(self, v: Tensor) -> Tensor:
        """Compute H v: (R, P) -> (R, P)."""
        self.products += 1
        return self._mean(lambda hessian: hessian(v))

    def mixed(self, v: Tensor) -> Tensor:
        """Compute (d²L/dθdw)ᵀ v.

        Args:
            v: A vector (R, P).

        Returns:
            The product (R, C).
        """
        self.products += 1
        return self._mean(lambda hessian: hessian.mixed(v))

    def _mean(self, product: Callable[[HessianOperator], Tensor]) -> Tensor:
        parts = [
            share * product(HessianOperator(loss, self.w, self.theta))
            for share, loss in self.losses()
        ]
        return torch.stack(parts).sum(0)


@dataclass(frozen=True)
class OnItsOwn:
    """A solver that uses `operator`, whatever operator it is given."""

    solver: Solver
    operator: HessianOperator

    def solve(self, hessian: HessianOperator, v: Tensor, state: dict[str, Tensor]) -> Solution:
        """Solve H x = v with the own operator's H, and take the implicit term with it.

        Args:
            hessian: Of no effect.
            v: The right-hand side (R, P).
            state: The solver's state.

        Returns:
            The solution.
        """
        found = self.solver.solve(self.operator, v, state)
        return replace(found, implicit=self.operator.mixed(found.x))


@dataclass(frozen=True)
class HsacWith(Hsac):
    """The rule `hsac` with a linear solver that no configuration can name.

    Attributes:
        given: The solver.
    """

    given: Solver | None = None

    @cached_property
    def linear_solver(self) -> Solver | None:
        """The solver that is given."""
        return self.given


def neumann(rule: Hsac) -> Neumann:
    """Return the rule's own solver, Neumann's series.

    Args:
        rule: The rule, with its default solver.

    Returns:
        The solver.
    """
    solver = rule.linear_solver
    assert isinstance(solver, Neumann)  # what the rule has unless it is told otherwise
    return solver


def neumann_step(solver: Neumann, operator: HessianOperator, v: Tensor, power: Tensor) -> float:
    """Compute the step that an adaptive Neumann series takes.

    It is safety / max(|Hu|, |Hv|/|v|), at most 1. It is the step of `Neumann`, which keeps it to
    itself. Here it has to be known, to be held fixed.

    Args:
        solver: The series, with at least one term.
        operator: H, of one run.
        v: The right-hand side (1, P).
        power: The power vector (1, P) that a solve starts from.

    Returns:
        The step.
    """
    largest = operator.power(power)[0]
    largest = torch.maximum(largest, norm(operator(v)) / norm(v))
    return float((solver.safety / largest).clamp(max=1.0))


@dataclass(frozen=True)
class _Given:
    """Stands for a task's stream of rows: the next rows (R, B) are those given."""

    rows: Tensor

    def next(self, size: int) -> Tensor:
        return self.rows


def batch_of(task: Sampled, rows: Tensor) -> Any:
    """Make a task's batch of given rows.

    Args:
        task: The task.
        rows: Rows (R, B) of the training part, or episodes.

    Returns:
        The batch.
    """
    # A copy has streams of its own, so that those of the training are not disturbed.
    alike = copy.copy(task)
    alike.size, alike.streams = rows.shape[1], {"given": _Given(rows)}  # type: ignore[assignment]
    return alike.batch("given")


@dataclass(frozen=True)
class Draws:
    """Independent samples of a population, one for each draw and purpose.

    Within a sample no row occurs twice. Samples for two purposes are independent. The same purpose
    and number give the same rows, so the kinds of estimates are compared on the same samples.

    Attributes:
        task: The task.
        population: Rows (N,) of the training part.
        size: Rows of a sample.
        seed: The seed of the study.
        place: What the point of the training is called.
        numbers: The numbers of the draws.
    """

    task: Sampled
    population: Tensor
    size: int
    seed: int
    place: str
    numbers: range

    def batch(self, purpose: str) -> Any:
        """Make the batch of a purpose.

        Args:
            purpose: What it is for.

        Returns:
            The batch, with a leading axis for the draws.
        """
        places = []
        for number in self.numbers:
            own = generator(self.seed, f"hypergradient {self.place} {self.size} {purpose} {number}")
            order = torch.randperm(len(self.population), generator=own)
            # Sorted, so that a sample of all rows is the population in its own order.
            places.append(order[: self.size].sort().values)
        return batch_of(self.task, self.population[torch.stack(places)])


def population(task: Sampled, most: int | None, seed: int) -> Tensor:
    """Choose the rows that stand for the training part, episodes where it consists of these.

    Args:
        task: The task.
        most: How many rows are drawn at random. None is all.
        seed: The seed of the study.

    Returns:
        Rows (N,).
    """
    n = len(task.episodes["train"]) if isinstance(task, EpisodeTask) else len(task.rows["train"])
    if most is None or most >= n:
        return torch.arange(n)
    return torch.randperm(n, generator=generator(seed, "hypergradient rows"))[:most].sort().values


def rows_at_once(losses: BilevelLosses) -> int:
    """Compute how many rows of the training part one program takes.

    Args:
        losses: The training's losses.

    Returns:
        The number of rows. An episode counts as as many images as it has.
    """
    task = _sampled(losses)
    images = task.episodes["train"][0].numel() if isinstance(task, EpisodeTask) else 1
    return max(1, (IMAGES if losses.ensemble.vmapped else IMAGES_APART) // images)


def _sampled(losses: BilevelLosses) -> Sampled:
    assert isinstance(losses.task, Sampled)  # others are refused before training
    return losses.task


def repeated(losses: BilevelLosses, runs: int) -> BilevelLosses:
    """Make the losses of copies of one run, their count of gradients at 0.

    Args:
        losses: The losses of one run.
        runs: The number of copies.

    Returns:
        The losses of `runs` runs.
    """
    out = copy.copy(losses)
    for kind in ("memory", "learned"):
        kept = getattr(losses, kind).items()
        setattr(out, kind, {name: one.expand(runs, *one.shape[1:]) for name, one in kept})
    out.counted = 0.0
    return out


def mean_gradients(losses: Losses, w: Tensor, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute value and gradients of a mean of losses, one part after another.

    Args:
        losses: The parts of the mean.
        w: Weights (R, P).
        theta: Unconstrained curvatures (R, C).

    Returns:
        The value (R,), and the gradients in w (R, P) and in θ (R, C).
    """
    w, theta = w.detach().requires_grad_(), theta.detach().requires_grad_()
    value, in_w, in_theta = w.new_zeros(len(w)), torch.zeros_like(w), torch.zeros_like(theta)
    for share, loss in losses:
        part = share * loss(w, theta)
        slopes = torch.autograd.grad(
            part.sum(), (w, theta), materialize_grads=True, allow_unused=True
        )
        value, in_w, in_theta = value + part.detach(), in_w + slopes[0], in_theta + slopes[1]
    return value, in_w, in_theta


def _ascended(
    losses: Callable[[], Losses],
    w: Tensor,
    theta: Tensor,
    rule: Hsac,
    steps: int,
    start: Tensor | None,
) -> Tensor:
    """Find the adversary of a mean of losses in the rule's scope, from a start or from none."""

    def gradient(point: Tensor) -> tuple[Tensor, Tensor]:
        value, slope, _ = mean_gradients(losses(), point, theta)
        return value, slope

    return ascend(gradient, w, scope_scale(w, rule.scope), rule.radius, steps, start)


def known(losses: BilevelLosses, w: Tensor, theta: Tensor, rows: Tensor, objective: str) -> Known:
    """Compute the hypergradient with both levels on all rows of the population.

    The rule carries its adversary and its power vector from one outer step to the next. Here they
    come from a cold start on the whole part, and the rule's own steps from there are taken on the
    whole part, too. An estimate on all rows is therefore equal to this one.

    Args:
        losses: The training's losses, of one run.
        w: Its weights (1, P).
        theta: Its unconstrained curvatures (1, C).
        rows: The population (N,).
        objective: `loss`, or `worst` for the loss at the adversary.

    Returns:
        The hypergradient, and what the rule would carry to this point.
    """
    rule, task = Hsac(objective=objective), _sampled(losses)
    chunks = rows.split(rows_at_once(losses))

    def upper() -> Iterator[tuple[float, Loss]]:
        for some in chunks:
            yield len(some) / len(rows), losses.loss(batch_of(task, some[None]))

    def lower() -> Iterator[tuple[float, Loss]]:
        for some in chunks:
            yield len(some) / len(rows), losses.objective(batch_of(task, some[None]))

    carried = e = torch.zeros_like(w)
    if objective == "worst":
        carried = _ascended(upper, w, theta, rule, COLD_STEPS, None)
        e = _ascended(upper, w, theta, rule, rule.ascent_steps, carried)
    _, v, direct = mean_gradients(upper(), w + e, theta)
    operator = MeanOperator(lower, w, theta)
    power = operator.power(v)[1]
    step = neumann_step(neumann(rule), operator, v, power)
    solver = OnItsOwn(replace(neumann(rule), step=step), operator)

    def linear(w: Tensor, theta: Tensor) -> Tensor:
        """A loss with the gradients of the whole part's at w + e."""
        return (v * w).sum(-1) + (direct * theta).sum(-1)

    found = implicit_hypergradient(linear, _nothing, w, theta, solver, {}, rule.ratio)
    return Known(carried, power, step, found)


def _nothing(w: Tensor, theta: Tensor) -> Tensor:
    """Stand for the lower level's loss, which a solver with its own operator never asks for."""
    return (w * w).sum(-1)


def estimates(
    losses: BilevelLosses,
    w: Tensor,
    theta: Tensor,
    objective: str,
    shared: str,
    draws: Draws,
    truth: Known,
) -> Estimates:
    """Estimate the hypergradient as the rule `hsac` does, once for each of R draws.

    Args:
        losses: The training's losses, of one run.
        w: Its weights (1, P).
        theta: Its unconstrained curvatures (1, C).
        objective: `loss`, or `worst` for the loss at the adversary.
        shared: Which samples are shared, as the rule's key of that name has it. `none`: upper
            level, lower level and adversary have a batch each. `adversary`: the adversary is found
            on the upper level's batch. `levels`: one batch is for all. Two more are as `none`, but
            for one respect. `terms`: each product has a batch of its own (stocBiO). `step`:
            Neumann's step is that of the whole part.
        draws: The samples.
        truth: What the whole part gives at this point.

    Returns:
        The estimates and their cost.
    """
    runs = len(draws.numbers)
    # Draws stand where runs do otherwise, so R estimates are one program.
    rule, losses = Hsac(objective=objective), repeated(losses, runs)
    w, theta = w.repeat(runs, 1), theta.repeat(runs, 1)
    upper = losses.loss(draws.batch("upper"))
    own_adversary = objective == "worst" and shared not in ("adversary", "levels")
    adversary = losses.loss(draws.batch("adversary")) if own_adversary else upper
    lower = losses.objective(draws.batch("upper" if shared == "levels" else "lower"))
    separate = None
    if shared == "step":
        rule = HsacWith(objective=objective, given=replace(neumann(rule), step=truth.step))
    elif shared == "terms":
        # The rule builds one graph for all products. Here each has its own, and the rule's lower
        # level is not used.
        separate = MeanOperator(_one_a_product(losses, draws), w, theta)
        rule = HsacWith(objective=objective, given=OnItsOwn(neumann(rule), separate))
        lower = _nothing
    state = {"adversary": truth.carried.expand_as(w), "solver": {"power": truth.power.expand_as(w)}}
    samples = Samples(upper, lower, adversary)
    _, _, log = rule.outer(theta, rule.init(theta) | state, w, samples, _no_noise, ())
    products = int(log["products"][0]) if separate is None else separate.products
    return Estimates(log["hypergradient"], losses.gradients + 2 * products)


def _no_noise() -> Tensor:
    """Stand for a step's normal draws, which the objectives of this study do not ask for."""
    raise AssertionError


def _one_a_product(losses: BilevelLosses, draws: Draws) -> Callable[[], Losses]:
    """Make losses of another batch each time."""
    count = itertools.count()
    return lambda: [(1.0, losses.objective(draws.batch(f"term {next(count)}")))]


def summary(total: Tensor, truth: Tensor) -> dict[str, list[float]]:
    """Summarise estimates of a hypergradient, for each of its C columns.

    Args:
        total: The estimates (D, C).
        truth: The hypergradient (C,).

    Returns:
        `mean`. `bias`, the mean less the truth, with its standard error `bias_se`. `sd` of a single
        estimate. `wrong_sign`, the share of estimates whose sign isn't the truth's.
    """
    total, truth = total.double(), truth.double()
    sd = total.std(0)
    return {
        "mean": total.mean(0).tolist(),
        "bias": (total.mean(0) - truth).tolist(),
        "bias_se": (sd / math.sqrt(len(total))).tolist(),
        "sd": sd.tolist(),
        "wrong_sign": (total.sign() != truth.sign()).double().mean(0).tolist(),
    }


def at_point(
    losses: BilevelLosses, w: Tensor, theta: Tensor, options: dict[str, Any], place: str
) -> list[Row]:
    """Compare all kinds of estimates with the truth at one point of a training.

    Args:
        losses: The training's losses, of one run.
        w: Its weights (1, P).
        theta: Its unconstrained curvatures (1, C).
        options: As `hypergradient_bias` has them, with `batch`, a training batch's rows.
        place: What the point is called, for the random streams of its samples.

    Returns:
        A row for each objective, kind of estimate, batch size and column of θ.
    """
    every = population(_sampled(losses), options["rows"], options["seed"])
    names = losses.ensemble.model.curvature_names
    # A set, as in a small part several sizes come to the same number of rows.
    sizes = {min(len(every), max(1, round(s * options["batch"]))) for s in options["sizes"]}
    rows = []
    for objective in OBJECTIVES:
        truth = known(losses, w, theta, every, objective)
        # Without a scope there is no adversary that could share a sample.
        kinds = [kind for kind in KINDS if objective == "worst" or kind != "adversary"]
        for shared, size in itertools.product(kinds, sorted(sizes)):
            drawn = []
            for numbers in _parts(options["draws"], max(1, rows_at_once(losses) // size)):
                draws = Draws(_sampled(losses), every, size, options["seed"], place, numbers)
                drawn.append(estimates(losses, w, theta, objective, shared, draws, truth))
            found = summary(torch.cat([one.total for one in drawn]), truth.found.total[0])
            for column in range(theta.shape[1]):
                row = {"curvature": names[column] if theta.shape[1] == len(names) else "all"}
                row |= {"objective": objective, "shared": shared, "size": size}
                row |= {"draws": options["draws"], **_truth(truth, column)}
                row |= {name: values[column] for name, values in found.items()}
                # An estimate counts in batches of its own size, a row in training batches.
                rows.append(row | {"gradients": drawn[0].gradients * size / options["batch"]})
    return rows


def _truth(truth: Known, column: int) -> Row:
    """Compute the true hypergradient and its two terms, for one column of θ."""
    found = truth.found
    return {
        "truth": float(found.total[0, column]),
        "truth_direct": float(found.direct[0, column]),
        "truth_implicit": float(found.implicit[0, column]),
    }


def _parts(count: int, size: int) -> Iterator[range]:
    return (range(start, min(start + size, count)) for start in range(0, count, size))


def points(trainer: Trainer, shares: Sequence[float]) -> Iterator[int]:
    """Train, and stop after each share of the steps.

    Args:
        trainer: The training, at its start.
        shares: Shares of all its steps.

    Yields:
        The number of steps done, with the trainer at that point.
    """
    done = 0
    for step in sorted({max(1, round(share * trainer.total)) for share in shares}):
        while done < step:
            trainer.step(done)
            done += 1
        # As the next step would set it, since some losses change along a training.
        trainer.losses.progress = done / trainer.total
        yield done


def hypergradient_bias(
    study: Study,
    cell: Cell,
    options: HypergradientOptions,
    variant: Path,
    data: Path,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """Study bias and noise of the hypergradient along one training of a cell.

    Args:
        study: The study, whose device is used.
        cell: The experiment and the method that is trained.
        options: `at` (shares of training), `sizes` (of batches, in training batches), `draws`
            (estimates of each kind), `seed` (of the training and of the draws), and `rows` (how
            many training rows stand for all, or None).
        variant: The variant's file.
        data: The data folder.
        progress: Told about each point once it is measured.

    Returns:
        The rows of `at_point` for each point of the training. They end where the training diverges.

    Raises:
        InputError: The method has no curvature, its batches aren't samples of the same training
            rows, or its model has batch statistics.
    """
    inputs = load_inputs(study.device, cell, load_variant(variant), data)
    made = prepare(inputs, [options.seed])
    _check(cell, made)
    trainer = Trainer(made, normals([options.seed], made.w))
    given = options.dump() | {"batch": made.task.size}
    rows: list[Row] = []
    for done in points(trainer, options.at):
        if not (trainer.w.isfinite().all() and trainer.theta.isfinite().all()):
            break
        common: Row = {"experiment": cell.experiment, "method": cell.method}
        common |= {"seed": options.seed, "step": done, "share": done / trainer.total}
        found = at_point(trainer.losses, trainer.w, trainer.theta, given, f"at {done}")
        rows += [common | row for row in found]
        progress(f"step {done} of {trainer.total}")
    return rows


def _check(cell: Cell, made: Prepared) -> None:
    """Raise InputError for a cell whose bias cannot be measured."""
    key = f"experiments.{cell.experiment}.hypergradient"
    changed = getattr(made.task, "augment", None) or made.task.trained.images_only
    if not isinstance(made.task, Sampled) or changed:
        raise InputError(
            f"{key}: found {cell.method!r}; allowed where batches are drawn and images not"
            " augmented or mixed"
        )
    if isinstance(made.model, BatchNormalised):
        # The loss is then no mean over rows: the truth would depend on the parts that it is
        # computed in.
        name = cell.config.model.name
        raise InputError(
            f"{key}: found model {name!r}; allowed are models that do not normalise by batch"
        )
    if made.transform is None or not made.theta.shape[1]:
        raise InputError(f"{key}: found {cell.method!r}; allowed is a method with a curvature")
