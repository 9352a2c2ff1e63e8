"""Searching rules: one run is several trainings, of which one is chosen and all are counted."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hsac.ball import Transform
from hsac.rules.types import SearchingRule, Trial
from hsac.train.seeds import generator

Record = dict[str, Any]
Training = tuple[Record, np.ndarray, Trial]
SUMMED = ("steps", "gradients", "products", "held_out_batches", "seconds")
HALVINGS = 40


def tempered_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """min_a of the weighted mean cross-entropy of e^a times the logits: (R, N, K), (N,), (N,) ->
    (R,) nats.

    The loss is convex in e^a, so a is found by bisection of its derivative, between -10 and 10;
    that is U(a) to rounding. Infinite for logits that are not finite.
    """
    logits, weights = logits.double(), weights.double() / weights.double().sum()
    true = logits.gather(-1, labels.expand(logits.shape[:-1])[..., None]).squeeze(-1)
    low, high = logits.new_full((len(logits),), -10.0), logits.new_full((len(logits),), 10.0)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        p = (middle.exp()[:, None, None] * logits).softmax(-1)
        rises = (((p * logits).sum(-1) - true) * weights).sum(-1) > 0
        low, high = torch.where(rises, low, middle), torch.where(rises, middle, high)
    scaled = ((low + high) / 2).exp()[:, None, None] * logits
    nll = scaled.logsumexp(-1) - scaled.gather(
        -1, labels.expand(logits.shape[:-1])[..., None]
    ).squeeze(-1)
    return (nll * weights).sum(-1).nan_to_num(torch.inf, torch.inf, torch.inf)


def search(
    rule: SearchingRule,
    seeds: Sequence[int],
    start: Tensor,
    transform: Transform,
    train: Callable[[list[int], Tensor], list[Training]],
) -> list[tuple[Record, np.ndarray]]:
    """The chosen training of every seed, its record with what was tried and the cost of all, and
    its weights.

    `start` (R, C) is every run's θ; `train` trains some of the seeds together from given θ (runs,
    C). A run whose search is over is not trained on with the others.
    """
    streams = {seed: generator(seed, "search") for seed in seeds}
    tried: dict[int, list[Trial]] = {seed: [] for seed in seeds}
    records: dict[int, list[Record]] = {seed: [] for seed in seeds}
    best: dict[
        int, tuple[int, np.ndarray]
    ] = {}  # only the best training's weights are kept: models can be large
    waiting = list(seeds)
    while waiting:
        place = {seed: start[i] for i, seed in enumerate(seeds)}
        proposed = {s: rule.propose(place[s], tried[s], transform, streams[s]) for s in waiting}
        asked = {seed: theta for seed, theta in proposed.items() if theta is not None}
        waiting = list(asked)
        if not waiting:
            break
        for seed, (record, weights, trial) in zip(
            waiting, train(waiting, torch.stack([*asked.values()])), strict=True
        ):
            tried[seed].append(trial)
            records[seed].append(record)
            if seed not in best or rule.score(trial) > rule.score(tried[seed][best[seed][0]]):
                best[seed] = len(tried[seed]) - 1, weights
    return [(_chosen(records[s], tried[s], best[s][0], list(seeds)), best[s][1]) for s in seeds]


def _chosen(records: list[Record], tried: list[Trial], best: int, seeds: list[int]) -> Record:
    selected = [(record["metrics"] or {}).get("selected") or {} for record in records]
    return records[best] | {
        **{key: sum(record[key] for record in records) for key in SUMMED},
        "peak_memory_mib": max(record["peak_memory_mib"] for record in records),
        "together": seeds,
        "tried": len(records),
        "search": {
            "chosen": best,
            "tried": [
                {
                    "curvature": record["curvature"]["final"],
                    "status": record["status"],
                    "validation_accuracy": metrics.get("validation_accuracy"),
                    "validation_nll": metrics.get("validation_nll"),
                    "tempered_nll": trial.tempered if np.isfinite(trial.tempered) else None,
                }
                for record, metrics, trial in zip(records, selected, tried, strict=True)
            ],
        },
    }
