"""Searching rules: one run is several trainings, of which one is chosen and all are counted."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hsac.ball import Transform
from hsac.rules.types import SearchingRule, Trial
from hsac.train.seeds import generator

Record = dict[str, Any]
SUMMED = ("steps", "gradients", "products", "held_out_batches", "meta_batches", "seconds")
# Of the bisection. They leave 2e-11 of an interval of length 20.
HALVINGS = 40


class TriedRun(NamedTuple):
    """One finished training of a search, for one run.

    Attributes:
        record: The run's record.
        weights: Its final weights (P,).
        trial: What the searching rule is told of it.
    """

    record: Record
    weights: np.ndarray
    trial: Trial


def tempered_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Compute min_a of the weighted mean cross-entropy of e^a times the logits.

    The loss is convex in e^a, so a is found by bisection of its derivative, between -10 and 10.
    That is U(a) to rounding.

    Args:
        logits: Logits (R, N, K).
        labels: Labels (N,).
        weights: Weights of the rows (N,).

    Returns:
        The loss (R,) in nats. Infinite for logits that are not finite.
    """
    # float64, since near the minimum the derivative is a small difference of large sums.
    logits, weights = logits.double(), weights.double() / weights.double().sum()
    place = labels.expand(logits.shape[:-1])[..., None]
    true = logits.gather(-1, place).squeeze(-1)
    low, high = logits.new_full((len(logits),), -10.0), logits.new_full((len(logits),), 10.0)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        p = (middle.exp()[:, None, None] * logits).softmax(-1)
        # The sign of dU/da. Its factor e^a is above 0 and left out.
        rises = (((p * logits).sum(-1) - true) * weights).sum(-1) > 0
        low, high = torch.where(rises, low, middle), torch.where(rises, middle, high)
    scaled = ((low + high) / 2).exp()[:, None, None] * logits
    nll = scaled.logsumexp(-1) - scaled.gather(-1, place).squeeze(-1)
    # A broken network must rank last, and NaN would not rank at all.
    return (nll * weights).sum(-1).nan_to_num(torch.inf, torch.inf, torch.inf)


def search(
    rule: SearchingRule,
    seeds: Sequence[int],
    start: Tensor,
    transform: Transform,
    train: Callable[[list[int], Tensor], list[TriedRun]],
) -> list[tuple[Record, np.ndarray]]:
    """Search for each seed, and choose one of its trainings.

    A run whose search is over is not trained on with the others.

    Args:
        rule: Proposes and scores trainings.
        seeds: The seeds of the R runs.
        start: Every run's θ (R, C).
        transform: From θ to curvatures.
        train: Trains some of the seeds together from given θ (runs, C).

    Returns:
        Of every seed the record of the chosen training, with what was tried and the cost of all,
        and its weights.
    """
    streams = {seed: generator(seed, "search") for seed in seeds}
    place = {seed: start[i] for i, seed in enumerate(seeds)}
    tried: dict[int, list[Trial]] = {seed: [] for seed in seeds}
    records: dict[int, list[Record]] = {seed: [] for seed in seeds}
    # Only the best training's weights are kept, as models can be large.
    best: dict[int, tuple[int, np.ndarray]] = {}
    # Seeds are trained together, so each round trains those whose search still goes on.
    waiting = list(seeds)
    while waiting:
        proposed = {s: rule.propose(place[s], tried[s], transform, streams[s]) for s in waiting}
        asked = {seed: theta for seed, theta in proposed.items() if theta is not None}
        waiting = list(asked)
        if not waiting:
            break
        found = train(waiting, torch.stack([*asked.values()]))
        for seed, run in zip(waiting, found, strict=True):
            tried[seed].append(run.trial)
            records[seed].append(run.record)
            # A later training must be better, so of equal ones the first is chosen.
            leader = tried[seed][best[seed][0]] if seed in best else None
            if leader is None or rule.score(run.trial) > rule.score(leader):
                best[seed] = len(tried[seed]) - 1, run.weights
    return [(_chosen(records[s], tried[s], best[s][0], list(seeds)), best[s][1]) for s in seeds]


def _chosen(records: list[Record], tried: list[Trial], best: int, seeds: list[int]) -> Record:
    """Return the record of the chosen training, with what was tried and the cost of all."""
    # Without a meter there are no seconds and no memory to add up.
    cost = {key: sum(one[key] for one in records) for key in SUMMED if key in records[0]}
    # Trainings follow one another, so their peaks do not add up.
    if "peak_memory_mib" in records[0]:
        cost["peak_memory_mib"] = max(record["peak_memory_mib"] for record in records)
    trials = [_told(record, trial) for record, trial in zip(records, tried, strict=True)]
    return records[best] | {
        **cost,
        "together": seeds,
        "tried": len(records),
        "search": {"chosen": best, "tried": trials},
    }


def _told(record: Record, trial: Trial) -> Record:
    """Return the entry of a tried training in the record of the chosen one."""
    selected = (record["metrics"] or {}).get("selected") or {}
    tempered = trial.tempered if np.isfinite(trial.tempered) else None
    return told(record["curvature"]["final"], record["status"], selected, tempered)


def told(
    curvature: list[float], status: str, evaluation: Mapping[str, Any], tempered: float | None
) -> Record:
    """Compose the entry of a tried training in the record of the chosen one.

    Args:
        curvature: Its last curvatures.
        status: Its status.
        evaluation: The evaluation that it was judged by, empty for none.
        tempered: Held-out loss of its final weights at its own best temperature, None where it is
            not finite or was not looked at.

    Returns:
        The entry.
    """
    return {
        "curvature": curvature,
        "status": status,
        "validation_accuracy": evaluation.get("validation_accuracy"),
        "validation_nll": evaluation.get("validation_nll"),
        "tempered_nll": tempered,
    }
