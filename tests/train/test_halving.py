"""Halving rules: the survivor is a whole training, and everything is counted."""

import copy
import json

import numpy as np
import pytest
import torch
from studies import cell_of

from hsac.ops import time_cells
from hsac.ops.runner import train_seeds
from hsac.train import halving
from hsac.train.halving import pick

STARTS = (0.1, 0.3, 1.0, 3.0)
SEEDS = (0, 1, 2)
# Under the planted scores a run prefers starts by their distance in log c from its own target.
TARGETS = (0.1, 0.5, 3.0)
WINNERS = (0.1, 0.3, 3.0)
HEAD = "riemannian_adam+{}+geoopt_mlr"


def trained(small, experiment, method, seeds=SEEDS, **rules):
    keys = copy.deepcopy(small.keys)
    keys["rules"]["curvature"] |= {"halving": {"starts": list(STARTS)}} | rules
    study, cell = cell_of(keys, experiment, method)
    return train_seeds(study, cell, list(seeds), small.variants[experiment], small.data)


@pytest.fixture
def planted(monkeypatch):
    """Score each run by its target, whatever it learned. Return the steps of the cuts."""
    inner, cuts = halving._standings, []

    def standings(training):
        cuts.append(training.done)
        c = training.trainer.c[:, 0].tolist()
        scores = [-abs(np.log(a / b)) for a, b in zip(c, TARGETS, strict=True)]
        return [
            one._replace(score=(score, 0.0))
            for one, score in zip(inner(training), scores, strict=True)
        ]

    monkeypatch.setattr(halving, "_standings", standings)
    return cuts


def same(record, other):
    """Whether two records agree in everything that training decides, but for cost and search."""
    keys = ("status", "metrics", "trajectory", "sharpness", "landscape", "curvature", "seed")
    return all(json.dumps(record[key]) == json.dumps(other[key]) for key in keys)


@pytest.mark.parametrize(
    ("experiment", "method"),
    [
        ("digits", "sgd+{}"),
        ("digits", "sam+{}+elr"),
        ("digits", HEAD),
        ("disease", "adam+{}"),
    ],
)
def test_survivor_is_the_fixed_run(small, planted, experiment, method) -> None:
    """Every run of the survivors is to the bit that of a fixed curvature, with twice the cost.

    Runs survive at different curvatures, and states of optimizers and losses go along.
    """
    found = trained(small, experiment, method.format("halving"))
    assert planted == [5] * 4 + [10] * 2
    for i, (record, weights) in enumerate(found):
        fixed = trained(small, experiment, method.format(f"fixed@{WINNERS[i]:g}"))[i]
        np.testing.assert_array_equal(weights, fixed[1])
        assert same(record, fixed[0])
        assert (record["steps"], record["tried"]) == (2 * fixed[0]["steps"], 4)
        assert record["gradients"] == 2 * fixed[0]["gradients"]
        assert record["search"]["chosen"] == STARTS.index(WINNERS[i])


def test_one_start_is_fixed(small) -> None:
    found = trained(small, "digits", "sgd+halving", halving={"starts": [0.3]})
    for (record, weights), (want, fixed) in zip(
        found, trained(small, "digits", "sgd+fixed@0.3"), strict=True
    ):
        np.testing.assert_array_equal(weights, fixed)
        assert same(record, want)
        for key in ("gradients", "steps", "products", "held_out_batches", "tried"):
            assert record[key] == want[key]


def test_worse_half_of_validation_goes(small) -> None:
    """The choice is the one made by hand from the fixed runs' evaluations at both cuts."""
    keys = copy.deepcopy(small.keys)
    keys["experiments"]["digits"]["training"]["evaluations"] = 4
    keys["rules"]["curvature"]["halving"] = {"starts": list(STARTS)}
    seen = []

    def watched(made):
        inner = made.task.evaluate
        made.task.evaluate = lambda *given: seen.append(inner(*given)) or seen[-1]
        return made

    def train(method):
        seen.clear()
        study, cell = cell_of(keys, "digits", method)
        found = train_seeds(study, cell, SEEDS, small.variants["digits"], small.data, watched)
        return [record for record, _ in found], [
            [(float(m["validation_accuracy"][i]), -float(m["validation_nll"][i])) for m in seen]
            for i in range(len(SEEDS))
        ]

    fixed = [train(f"sgd+fixed@{c:g}")[1] for c in STARTS]
    for i, record in enumerate(train("sgd+halving")[0]):
        quarter, half = ([of[i][cut] for of in fixed] for cut in (0, 1))
        first = sorted(range(4), key=quarter.__getitem__)
        second = sorted(first[2:], key=half.__getitem__)
        want = [quarter[k] if k in first[:2] else half[k] for k in range(4)]
        tried, chosen = record["search"]["tried"], record["search"]["chosen"]
        assert chosen == second[1]
        for k in {*range(4)} - {chosen}:
            own = tried[k]
            assert (own["validation_accuracy"], -own["validation_nll"]) == want[k]
        assert [one["curvature"][0] for one in tried] == pytest.approx(STARTS)


def test_diverged_training_is_dropped(small, monkeypatch) -> None:
    """A training that diverged stands worse than any other, whatever it reached."""
    inner = halving.Training.diverged

    def diverged(self):
        return [bad or c > 0.2 for bad, c in zip(inner(self), self.trainer.c[:, 0], strict=True)]

    monkeypatch.setattr(halving.Training, "diverged", diverged)
    for record, _ in trained(small, "disease", "adam+halving"):
        assert record["search"]["chosen"] == 0
        assert [one["status"] for one in record["search"]["tried"]] == ["ok"] + ["diverged"] * 3


def test_pick_takes_runs_from_states() -> None:
    """Tensors go by rows and lists by entries, at any depth; what is shared stays."""
    states = [
        {"w": torch.arange(3.0) + 10 * k, "own": [f"{k}{i}" for i in range(3)], "inner": {"n": 7}}
        for k in range(2)
    ]
    found = pick(states, [1, 0, 1])
    assert found["w"].tolist() == [10.0, 1.0, 12.0]
    assert found["own"] == ["10", "01", "12"]
    assert found["inner"] == {"n": 7}


def test_clock_counts_every_start(small) -> None:
    """Four starts take the time of two trainings."""
    rows = []
    for method in ("adam+halving", "adam+fixed@0.3"):
        study, cell = cell_of(small.keys | halved(small.keys), "disease", method)
        rows.append(time_cells.measured(study, cell, [0], small.variants["disease"], small.data))
    assert rows[0]["steps_per_epoch"] == 2 * rows[1]["steps_per_epoch"]
    assert rows[0]["seconds_step"] < 2 * rows[1]["seconds_step"]


def halved(keys):
    """The rules of keys, with the rule of these tests."""
    rules = copy.deepcopy(keys["rules"])
    rules["curvature"]["halving"] = {"starts": list(STARTS)}
    return {"rules": rules}
