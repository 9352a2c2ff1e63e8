"""The validation score, and that everything that chooses ranks by it."""

from math import inf, nan
from types import SimpleNamespace

import pytest
import torch
from studies import cell_of, smoke_keys

from hsac.ops import runner
from hsac.study import resolve, search
from hsac.study.selection import WORST, run_score, validation_score
from hsac.train import bundle
from hsac.train.loop import Outcome
from hsac.train.results import results

ACCURACY = "validation_accuracy"


def evaluation(accuracy, nll, test=0.5):
    return {ACCURACY: accuracy, "validation_nll": nll, "test_accuracy": test}


def record(accuracy, nll=1.0, status="ok", **more):
    selected = evaluation(accuracy, nll)
    return {"metrics": {"selected": selected}, "selected_by": ACCURACY, "status": status} | more


@pytest.mark.parametrize("nll", [None, nan, inf])
def test_unknown_nll_counts_as_infinite(nll):
    assert validation_score(evaluation(0.5, nll), ACCURACY) == (0.5, -inf)


def test_accuracy_ranks_before_nll():
    ranked = [WORST, (0.5, -inf), (0.5, -2.0), (0.5, -1.0), (0.6, -9.0)]
    scores = [validation_score(evaluation(a, -b), ACCURACY) for a, b in ranked[1:]]
    assert [WORST, *scores] == ranked == sorted(ranked)


def test_selected_by_names_the_accuracy():
    metrics = evaluation(0.9, 1.0) | {"validation_balanced_accuracy": 0.2}
    assert validation_score(metrics, "validation_balanced_accuracy") == (0.2, -1.0)


def test_score_ignores_test_metrics():
    scores = {validation_score(evaluation(0.5, 1.0, test), ACCURACY) for test in (0.0, 1.0)}
    assert scores == {(0.5, -1.0)}


def test_diverged_run_scores_worst():
    """Whatever accuracy it had before, and also where it has no evaluation at all."""
    assert run_score(record(0.9, status="diverged")) == WORST
    assert run_score({"metrics": None, "selected_by": None, "status": "error"}) == WORST
    assert run_score(record(0.9, 2.0)) == (0.9, -2.0)


def outcome(accuracies, nlls, tests):
    """The outcome of one run of three steps, evaluated after each."""
    one = torch.zeros(1, 1)
    metrics = [
        {
            ACCURACY: torch.tensor([a]),
            "validation_nll": torch.tensor([b]),
            "test_accuracy": torch.tensor([t]),
            "train_nll": torch.tensor([0.0]),
            "test_right": torch.tensor([[1]]),
        }
        for a, b, t in zip(accuracies, nlls, tests, strict=True)
    ]
    found = Outcome(one, one, one, steps=[1, 2, 3], metrics=metrics, total=3)
    found.curvature = found.sharpness = [one[:, 0]] * 3
    return found


@pytest.mark.parametrize(
    ("accuracies", "nlls", "chosen"),
    [
        ((0.1, 0.5, 0.4), (1.0, 1.0, 1.0), 2),
        ((0.5, 0.5, 0.4), (2.0, 1.0, 1.0), 2),
        ((0.5, 0.5, 0.4), (nan, 1.0, 1.0), 2),
        ((0.5, 0.5, 0.5), (1.0, 1.0, inf), 1),
    ],
)
def test_epoch_is_chosen_by_score(accuracies, nlls, chosen):
    made = SimpleNamespace(
        task=SimpleNamespace(selected_by=ACCURACY, asked=1),
        model=SimpleNamespace(curvature_names=("a",)),
    )
    found = results(made, outcome(accuracies, nlls, (0.0, 0.1, 0.9)), 0)["metrics"]
    assert found["selected"]["step"] == chosen
    assert found["oracle"]["step"] == found["last"]["step"] == 3


def test_trial_carries_the_score():
    """What a searching rule is told of a training."""
    logits = torch.zeros(2, 3, 2), torch.zeros(3, dtype=torch.long), torch.ones(3)
    task = SimpleNamespace(held_out_logits=lambda *given: logits)
    made, out = SimpleNamespace(task=task, ensemble=None), SimpleNamespace(w=None, c=None)
    runs = [(record(0.5), None), (record(0.9, status="diverged"), None)]
    tried = bundle._tried(bundle._Training(runs, made, out), torch.zeros(2, 1))
    assert [one.trial.validation for one in tried] == [(0.5, -1.0), WORST]


COST = dict.fromkeys(("gradients", "products", "held_out_batches", "steps", "seconds"), 1)


def chosen_of_grid(*records):
    _, cell = cell_of(smoke_keys(), "digits", "sgd+grid")
    pairs = [(str(i), one | COST | {"code": "a"}) for i, one in enumerate(records)]
    return runner._best(cell, pairs)["chosen"]


def test_grid_is_chosen_by_score():
    assert chosen_of_grid(record(0.5, 2.0), record(0.5, 1.0), record(0.4, 0.1)) == "1"
    assert chosen_of_grid(record(0.9, status="diverged"), record(0.1)) == "1"
    assert chosen_of_grid(record(0.5, None), record(0.5, 3.0)) == "1"


def test_first_of_diverged_candidates_is_chosen():
    """What they reached before does not rank them."""
    assert chosen_of_grid(*(record(a, status="diverged") for a in (0.1, 0.9))) == "0"


def test_search_averages_scores():
    """A run that diverged takes half of the mean of two, so the steadier point is chosen."""
    keys = smoke_keys() | {"search": {"points": 2, "seeds": [100, 101]}}
    study, cell = cell_of(keys, "digits", "sgd+hsac")
    costs = {"gradients": 1, "products": 1, "seconds": 0.1}
    runs = [
        [record(0.9), record(0.9, status="diverged")],
        [record(0.6), record(0.5, None)],
    ]
    records = {}
    for trial, (one, other) in zip(resolve.trials(study, cell), runs, strict=True):
        records[trial.hash] = [one | costs | {"seed": 100}, other | costs | {"seed": 101}]
    found = search.outcome(study, cell, records)
    assert [point.score for point in found.points] == [0.45, 0.55]
    assert found.chosen == 1
