"""Train the seeds of a cell: a function of cell, seeds, variant and arrays to results.

`train_seeds` trains a group: seeds of a cell that are one program. This module fills the run's own
fields of a record. An optional `Meter` adds those of the machine.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from hsac import parts
from hsac.rules.types import Trial
from hsac.study.selection import run_score
from hsac.train.halving import halve
from hsac.train.loop import Outcome, Prepared, Training, train
from hsac.train.restarts import TriedRun, search, tempered_loss, told
from hsac.train.results import Record, embeddings, finite, results
from hsac.train.seeds import normals
from hsac.train.setup import Inputs, prepare

Trained = tuple[Record, np.ndarray]  # a run's record and its final weights (P,)
Change = Callable[[Prepared], Prepared]


class Meter(Protocol):
    """Measures one training, its preparation included."""

    @property
    def deadline(self) -> float:
        """When the last step may begin, on the clock of `time.perf_counter` (s)."""
        ...

    def facts(self) -> Record:
        """Return the fields that all records of the training share, once it has ended."""
        ...


class Unmeasured:
    """A meter that measures nothing."""

    deadline = math.inf

    def facts(self) -> Record:
        """Return no facts."""
        return {}


class _Training(NamedTuple):
    """One training of some seeds: records and weights, what was prepared, and its outcome."""

    runs: list[Trained]
    made: Prepared
    outcome: Outcome


def unchanged(made: Prepared) -> Prepared:
    """Return what was prepared.

    Args:
        made: What the cell says.

    Returns:
        The same.
    """
    return made


def train_seeds(
    inputs: Inputs,
    seeds: Sequence[int],
    *,
    change: Change = unchanged,
    measure: Callable[[Sequence[int]], Meter] = lambda seeds: Unmeasured(),
) -> list[Trained]:
    """Train the seeds of a cell in one process.

    A searching rule trains them several times, a halving rule side by side.

    Args:
        inputs: Cell, variant, arrays and device.
        seeds: The seeds of the R runs.
        change: Changes what was prepared, to train something else than the cell says.
        measure: Starts a meter for each training of some of the seeds.

    Returns:
        The record and the final weights (P,) of every seed.

    Raises:
        InputError: The configuration names a part, parameter or value that cannot be built here.
        TimeLimitError: A training went on past its meter's deadline.
    """

    def train_once(some: Sequence[int], change: Change) -> _Training:
        return _trained(inputs, some, change, measure(some))

    name = inputs.cell.config.curvature_rule.name
    if parts.marked("curvature rule", name, "halves"):
        return _halved(inputs, seeds, change, measure(seeds))
    if not parts.marked("curvature rule", name, "searches"):
        return train_once(seeds, change).runs

    def train_at(some: Sequence[int], theta: Tensor) -> list[TriedRun]:
        return _tried(
            train_once(some, lambda made: replace(change(made), theta=theta.to(made.theta))), theta
        )

    # Each training prepares anew, so that all of a search see the same batches.
    made = prepare(inputs, seeds)
    assert made.transform is not None  # the configuration refuses a search without a curvature
    rule: Any = made.curvature_rule
    return search(rule, seeds, made.theta, made.transform, train_at)


def _trained(inputs: Inputs, seeds: Sequence[int], change: Change, meter: Meter) -> _Training:
    made = change(prepare(inputs, seeds))
    outcome = train(made, normals(seeds, made.w), meter.deadline)
    return _Training(_laid_out(made, outcome, seeds, meter), made, outcome)


def _laid_out(
    made: Prepared, outcome: Outcome, seeds: Sequence[int], meter: Meter
) -> list[Trained]:
    """Return the record and the final weights of every seed."""
    embedded = embeddings(made, outcome)
    common = meter.facts()  # here, so that the time of laying out records is not counted
    runs = []
    for i, seed in enumerate(seeds):
        own = {"seed": seed} | results(made, outcome, i) | {"embedding": embedded[i]}
        runs.append((finite(common | own), outcome.w[i].numpy(force=True)))
    return runs


def _halved(inputs: Inputs, seeds: Sequence[int], change: Change, meter: Meter) -> list[Trained]:
    first = change(prepare(inputs, seeds))
    rule: Any = first.curvature_rule
    trainings: list[Training] = []
    for c in rule.starts:
        # Each prepares anew, so that all of them see the same batches.
        made = change(prepare(inputs, seeds)) if trainings else first
        assert made.transform is not None  # the configuration refuses halving without a curvature
        theta = torch.full_like(made.theta, made.transform.inverse(c))
        made = replace(made, theta=theta)
        trainings.append(Training(made, normals(seeds, made.w), meter.deadline))
    last = halve(rule, trainings)
    runs = []
    laid_out = _laid_out(last.training.made, last.outcome, seeds, meter)
    for (record, weights), chosen, dropped in zip(laid_out, last.chosen, last.dropped, strict=True):
        selected = (record["metrics"] or {}).get("selected") or {}
        own = told(record["curvature"]["final"], record["status"], selected, None)
        entries = dropped | {chosen: own}
        tried = [entries[k] for k in range(len(entries))]
        search = {"chosen": chosen, "tried": tried}
        cost = {"steps": last.steps, "tried": len(tried)}
        runs.append((record | finite(cost | {"search": search}), weights))
    return runs


def _tried(training: _Training, theta: Tensor) -> list[TriedRun]:
    """Return one training of a search, with the trial that its rule sees."""
    made, outcome = training.made, training.outcome
    with torch.no_grad():
        held_out = made.task.held_out_logits(made.ensemble, outcome.w, outcome.c)
        tempered = tempered_loss(*held_out).tolist()
    found = []
    for i, (record, weights) in enumerate(training.runs):
        # The score is of the epoch selected on validation, the tempered loss of the final weights.
        trial = Trial(theta[i], run_score(record), tempered[i])
        found.append(TriedRun(record, weights, trial))
    return found
