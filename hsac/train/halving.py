"""Halving rules: trainings side by side, of which each run drops half on the way."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hsac.rules.types import HalvingRule
from hsac.study.selection import Score, validation_score
from hsac.train.loop import Outcome, Training
from hsac.train.restarts import told

Record = dict[str, Any]
# What the losses of a training count, and its outcome tells.
COUNTED = ("gradients", "products", "held_out_batches", "meta_batches")


@dataclass(frozen=True)
class Survivor:
    """What halving left.

    Attributes:
        training: The training of the last of every run.
        outcome: What came of it. Gradients and what else is counted are those of all trainings.
        chosen: Of each run the number of the training that it began in.
        steps: Steps of one run, those in dropped trainings included.
        dropped: Of each run the entry of each training that it dropped, by number.
    """

    training: Training
    outcome: Outcome
    chosen: list[int]
    steps: int
    dropped: list[dict[int, Record]]


@dataclass
class _Field:
    """The trainings that still go on.

    Attributes:
        trainings: The trainings.
        began: Of each training and run the number of the training that the run began in.
        dropped: As in `Survivor`.
        spent: What one run took in dropped trainings, by the name that `Outcome` counts it by.
        steps: Steps of one run in dropped trainings.
    """

    trainings: list[Training]
    began: list[list[int]]
    dropped: list[dict[int, Record]]
    spent: Counter[str] = field(default_factory=Counter)
    steps: int = 0


class _Standing(NamedTuple):
    """How one run of a training stands: its validation score, and its entry in the record."""

    score: Score
    entry: Record


def halve(rule: HalvingRule, trainings: Sequence[Training]) -> Survivor:
    """Train to the end, and drop half of each run's trainings at each of the rule's cuts.

    Runs stay in their place: what survives of run i goes on as run i of a training that goes on.
    So the programs keep their shape, and every run the batches of its seed.

    Args:
        rule: The rule.
        trainings: Trainings of the same runs at their start, alike but for a curvature that rests.

    Returns:
        What is left.
    """
    runs, total = len(trainings[0].made.w), trainings[0].trainer.total
    began = [[k] * runs for k in range(len(trainings))]
    left = _Field([*trainings], began, [{} for _ in range(runs)])
    for share in rule.cuts:
        for training in left.trainings:
            training.advance(math.ceil(share * total))
        if len(left.trainings) > 1:
            _cut(left, rule.survivors(len(left.trainings)))
    (last,), (chosen,) = left.trainings, left.began
    last.advance(total)
    outcome = last.finish()
    for name, count in left.spent.items():
        setattr(outcome, name, getattr(outcome, name) + count)
    return Survivor(last, outcome, chosen, left.steps + total, left.dropped)


def _cut(left: _Field, kept: int) -> None:
    """Leave each run the best of its trainings, so many."""
    standings = [_standings(training) for training in left.trainings]
    stay = []
    for i, own in enumerate(left.dropped):
        order = _ranked([of[i].score for of in standings])
        own.update({left.began[k][i]: standings[k][i].entry for k in order[kept:]})
        stay.append(sorted(order[:kept]))
    # All are read before the first goes on with other runs.
    states = [training.runs() for training in left.trainings]
    places = [[own[place] for own in stay] for place in range(kept)]
    left.began = [[left.began[k][i] for i, k in enumerate(place)] for place in places]
    for training in left.trainings[kept:]:
        left.spent.update({name: getattr(training.trainer.losses, name) for name in COUNTED})
    left.steps += sum(training.done for training in left.trainings[kept:])
    left.trainings = left.trainings[:kept]
    for training, place in zip(left.trainings, places, strict=True):
        training.resume(pick(states, place))


def _ranked(scores: list[Score]) -> list[int]:
    """Return the places of scores, the best first, of equals the one that comes first."""
    return sorted(range(len(scores)), key=scores.__getitem__, reverse=True)


def _standings(training: Training) -> list[_Standing]:
    """Return how each run stands now, by validation alone."""
    metrics, task, c = training.evaluate(), training.made.task, training.trainer.c
    # One transfer a metric. What is (R, N) are answers, which no score looks at.
    values = {name: value.tolist() for name, value in metrics.items() if value.dim() == 1}
    found = []
    for i, diverged in enumerate(training.diverged()):
        own, status = {name: of[i] for name, of in values.items()}, "diverged" if diverged else "ok"
        score = validation_score(own, task.selected_by, status)
        found.append(_Standing(score, told(c[i].tolist(), status, own, None)))
    return found


def pick(states: Sequence[Any], place: Sequence[int]) -> Any:
    """Put together runs of several trainings.

    Args:
        states: As `Training.runs` gives them: tensors with a leading R, lists with an entry a run,
            and what all runs share, in dictionaries.
        place: Of each of the R runs the number of the state that it is taken from.

    Returns:
        A state in which run i is run i of that one.
    """
    first = states[0]
    if isinstance(first, dict):
        return {name: pick([state[name] for state in states], place) for name in first}
    if isinstance(first, Tensor):
        return torch.stack([states[k][i] for i, k in enumerate(place)])
    if isinstance(first, list):
        return [states[k][i] for i, k in enumerate(place)]
    return first
