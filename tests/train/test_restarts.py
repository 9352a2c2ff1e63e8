"""Searching rules: what is tried, what it costs, what is chosen; and the best temperature."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from studies import cell_of

from hsac.ball import Transform
from hsac.ops import time_cells
from hsac.ops.runner import train_seeds
from hsac.rules.curvature.random_search import RandomSearch
from hsac.rules.curvature.temperature_search import TemperatureSearch
from hsac.rules.types import Trial
from hsac.train.restarts import TriedRun, search, tempered_loss

F64 = torch.float64
TRANSFORM = Transform("exp", (0.005, 5.0))


def test_best_temperature_is_scipys() -> None:
    stream = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4, 30, 5, generator=stream, dtype=F64)
    labels = torch.randint(5, (30,), generator=stream)
    logits[..., :] += 2 * torch.nn.functional.one_hot(labels, 5)
    weights = torch.rand(30, generator=stream, dtype=F64)
    weights = weights / weights.mean()

    def loss(a, run):
        each = torch.nn.functional.cross_entropy(np.exp(a) * logits[run], labels, reduction="none")
        return float((weights * each).mean())

    found = tempered_loss(logits, labels, weights)
    for i in range(4):
        want = minimize_scalar(
            loss, args=(i,), bounds=(-5, 5), method="bounded", options={"xatol": 1e-9}
        ).fun
        assert float(found[i]) == pytest.approx(want, abs=1e-12)
        assert want < loss(0.0, i)


def test_best_temperature_ignores_scale() -> None:
    """The scale of the logits."""
    stream = torch.Generator().manual_seed(1)
    logits, labels = (
        torch.randn(1, 40, 3, generator=stream, dtype=F64),
        torch.randint(3, (40,), generator=stream),
    )
    logits = logits + torch.nn.functional.one_hot(labels, 3)
    scaled = torch.cat([logits, 0.01 * logits, 70 * logits])
    found = tempered_loss(scaled, labels, torch.ones(40))
    torch.testing.assert_close(found, found[:1].expand(3), rtol=1e-9, atol=0)


def test_hopeless_perfect_and_broken_logits() -> None:
    labels = torch.tensor([0, 1, 2])
    right = torch.eye(3, dtype=F64)
    found = tempered_loss(
        torch.stack([right, -right, right * torch.nan, right * torch.inf]), labels, torch.ones(3)
    )
    assert float(found[0]) == pytest.approx(0, abs=1e-9)
    assert float(found[1]) == pytest.approx(np.log(3), rel=1e-4)  # a goes to -∞: uniform
    assert found[2:].tolist() == [torch.inf, torch.inf]


def planted(loss, calls=None):
    """A trainer whose result at θ is the planted loss of (seed, θ), and what it costs."""

    def train(seeds, theta):
        if calls is not None:
            calls.append((list(seeds), theta.clone()))
        out = []
        for seed, at in zip(seeds, theta, strict=True):
            value = loss(seed, at)
            cost = 1 + seed
            record = {
                "seed": seed,
                "status": "ok",
                "together": list(seeds),
                "seconds": 0.5,
                "peak_memory_mib": 3.0,
            }
            record |= {
                "steps": 5,
                "gradients": 7 * cost,
                "products": 2 * cost,
                "held_out_batches": 0,
                "tried": 1,
            }
            record |= {"curvature": {"names": ["a", "b"], "final": at.exp().tolist()}}
            record |= {
                "metrics": {"selected": {"validation_accuracy": -value, "validation_nll": value}}
            }
            out.append(TriedRun(record, at.numpy(), Trial(at, (-value, -value), value)))
        return out

    return train


def starts(seeds, c=0.3):
    return torch.full((len(seeds), 2), float(np.log(c)), dtype=F64)


def target(seed, theta):
    """Best at c = 1.8 for even seeds, at .05 for odd ones."""
    return float((theta - np.log(1.8 if seed % 2 == 0 else 0.05)).abs().sum())


def test_random_search_picks_best_candidate() -> None:
    """It counts them all."""
    calls, seeds = [], [0, 1, 2]
    found = search(RandomSearch(5), seeds, starts(seeds), TRANSFORM, planted(target, calls))
    assert [seeds for seeds, _ in calls] == [seeds] * 5
    for i, (record, weights) in enumerate(found):
        losses = [target(i, theta[i]) for _, theta in calls]
        assert record["search"]["chosen"] == int(np.argmin(losses))
        np.testing.assert_array_equal(weights, calls[record["search"]["chosen"]][1][i])
        assert (record["seed"], record["tried"], record["together"]) == (i, 5, seeds)
        assert (record["steps"], record["gradients"], record["products"]) == (
            25,
            35 * (1 + i),
            10 * (1 + i),
        )
        assert record["seconds"] == 2.5
        assert [one["tempered_nll"] for one in record["search"]["tried"]] == losses
    alone = search(RandomSearch(5), [2], starts([2]), TRANSFORM, planted(target))
    assert (
        alone[0][0]["search"] == found[2][0]["search"]
    )  # a run's draws do not depend on its company


def test_temperature_search_finds_planted_c() -> None:
    """Seed 3's loss is flat: it ends at its start, and rests.

    The others need one new training in the second round as well.
    """
    calls, seeds = [], [0, 1, 3]
    loss = lambda seed, theta: 1.0 if seed == 3 else target(seed, theta)  # noqa: E731
    found = search(TemperatureSearch(), seeds, starts(seeds), TRANSFORM, planted(loss, calls))
    assert [seeds for seeds, _ in calls] == [seeds] * 3
    c = [record["curvature"]["final"][0] for record, _ in found]
    assert c[:2] == pytest.approx([0.3 * np.exp(1.8), 0.3 * np.exp(-1.8)])
    calls.clear()
    at_the_bound = starts(seeds)
    at_the_bound[0] = np.log(5.0)
    found = search(
        TemperatureSearch(),
        seeds,
        at_the_bound,
        TRANSFORM,
        planted(lambda s, t: float(t.sum()), calls),
    )
    assert [record["tried"] for record, _ in found] == [3, 3, 3]


def test_finished_search_trains_no_more() -> None:
    class Short(RandomSearch):
        def propose(self, start, tried, transform, stream):
            return (
                None
                if len(tried) == 1 and float(start[0]) < 0
                else super().propose(start, tried, transform, stream)
            )

    calls, start = [], torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=F64)
    found = search(Short(3), [4, 7], start, TRANSFORM, planted(target, calls))
    assert [seeds for seeds, _ in calls] == [[4, 7], [7], [7]]
    assert [record["tried"] for record, _ in found] == [1, 3]
    assert all(record["together"] == [4, 7] for record, _ in found)


def trained(small, method, seeds=(0, 1), change=lambda made: made, **rules):
    keys = copy.deepcopy(small.keys)
    keys["rules"]["curvature"] |= rules
    study, cell = cell_of(keys, "disease", method)
    return train_seeds(study, cell, list(seeds), small.variants["disease"], small.data, change)


def test_chosen_training_is_the_run(small) -> None:
    """The weights are those of `fixed` at the curvatures that were found."""
    (record, weights), (other, _) = trained(
        small, "adam+random_search", random_search={"points": 2}
    )
    chosen = record["search"]["tried"][record["search"]["chosen"]]
    assert record["curvature"]["final"] == chosen["curvature"]
    assert len(set(chosen["curvature"])) == 3  # a curvature a layer
    assert record["search"] != other["search"]
    assert record["metrics"]["selected"]["validation_accuracy"] == chosen["validation_accuracy"]
    theta = torch.tensor([r["curvature"]["final"] for r in (record, other)], dtype=F64).log()
    fixed = trained(small, "adam+fixed@0.3", change=lambda made: replace(made, theta=theta))
    np.testing.assert_allclose(weights, fixed[0][1], rtol=1e-9)
    assert record["gradients"] == 2 * fixed[0][0]["gradients"]
    assert record["steps"] == 2 * fixed[0][0]["steps"]
    best = max(
        record["search"]["tried"],
        key=lambda one: (one["validation_accuracy"], -one["validation_nll"]),
    )
    assert best == chosen


def test_searched_seeds_ignore_company(small) -> None:
    together = trained(small, "adam+temperature_search@0.3")
    alone = [trained(small, "adam+temperature_search@0.3", [seed])[0] for seed in (0, 1)]
    for (a, _), (b, _) in zip(together, alone, strict=True):
        assert a["search"]["chosen"] == b["search"]["chosen"]
        for one, other in zip(a["search"]["tried"], b["search"]["tried"], strict=True):
            assert one["tempered_nll"] == pytest.approx(other["tempered_nll"], rel=1e-6)
        assert a["tried"] == 3
        assert a["search"]["chosen"] == int(
            np.argmin([one["tempered_nll"] for one in a["search"]["tried"]])
        )


def test_search_of_divergence_diverges(small) -> None:
    """A search whose trainings all diverge is a diverged run."""
    keys = copy.deepcopy(small.keys)
    keys["experiments"]["disease"]["rules"]["weights"]["sgd"] = {"lr": 1e300}
    study, cell = cell_of(keys, "disease", "sgd+temperature_search@0.3")
    ((record, _),) = train_seeds(study, cell, [0], small.variants["disease"], small.data)
    assert record["status"] == "diverged"
    assert all(one["tempered_nll"] is None for one in record["search"]["tried"])


def test_clock_counts_every_training(small) -> None:
    """Of a search."""
    study, cell = cell_of(small.keys, "disease", "adam+temperature_search@0.3")
    row = time_cells.measured(study, cell, [0], small.variants["disease"], small.data)
    assert row["steps_per_epoch"] == 3
    assert row["seconds_once"] < 20 * row["seconds_evaluation"]
