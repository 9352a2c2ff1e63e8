"""The rule `hsac_landscape`: it chooses the candidate of least objective at solved heads."""

import copy
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from studies import cell_of
from torch import Tensor

from hsac.errors import InputError
from hsac.ops.runner import train_seeds
from hsac.rules.curvature.hsac_landscape import HsacLandscape
from hsac.rules.types import HeadLevel
from hsac.theory.ground_truth import newton
from hsac.theory.problems.hyperbolic import Hyperbolic

F64 = torch.float64
PROBLEM = Hyperbolic(runs=2)
THETA = PROBLEM.start
HEAD = PROBLEM.initial.shape[1]
CANDIDATES = (0.05, 0.3, 1.0, 3.0)


def draws() -> Any:
    g = torch.Generator().manual_seed(7)
    return lambda: torch.randn(2, HEAD, generator=g, dtype=F64)


def step(index: int = 30, total: int = 91) -> Any:
    """A training step whose head is the problem, at a third of training."""
    level = HeadLevel(
        PROBLEM.initial, torch.arange(HEAD), PROBLEM.cross_entropy, PROBLEM.lower, 0.5
    )
    return SimpleNamespace(
        index=index,
        total=total,
        normal=draws(),
        head=lambda stream, rows: level,
        inverse=math.log,
    )


def means(radius: float) -> Tensor:
    """Gaussian means at heads solved at each candidate by Newton's method (candidates, R)."""
    normal = draws()
    noise = [radius / HEAD**0.5 * normal() for _ in range(8)]
    found = []
    for c in CANDIDATES:
        at = torch.full_like(THETA, math.log(c))
        w = newton(PROBLEM.lower, PROBLEM.initial, at)
        found.append(sum(PROBLEM.cross_entropy(w + e, at) for e in noise).detach() / 8)
    return torch.stack(found)


@pytest.mark.parametrize("radius", [0.1, 2.0, 6.0])
def test_least_of_landscape_is_chosen(radius: float) -> None:
    rule = HsacLandscape(CANDIDATES, objective="mean", radius=radius, samples=8, tolerance=1e-10)
    theta, _, log = rule.update(THETA, {}, step())
    expected = means(radius)
    torch.testing.assert_close(log["value"], expected.min(0).values, rtol=1e-6, atol=0)
    best = [CANDIDATES[place] for place in expected.argmin(0)]
    assert theta[:, 0].exp().tolist() == pytest.approx(best)
    assert not log["fallback"].any()
    assert (log["products"] > 0).all()


def test_readings_choose_differently() -> None:
    """The range at a larger radius chooses another candidate than the loss does."""
    rules = (HsacLandscape(CANDIDATES, objective=name) for name in ("loss", "range"))
    by_loss, by_range = (rule.update(THETA, {}, step())[0] for rule in rules)
    assert not torch.equal(by_loss, by_range)


def test_unsolved_heads_keep_curvature() -> None:
    rule = HsacLandscape(CANDIDATES, tolerance=1e-300)
    theta, _, log = rule.update(THETA, {}, step())
    assert torch.equal(theta, THETA)
    assert log["fallback"].all()


@pytest.mark.parametrize("index", [0, 29, 31, 90])
def test_other_steps_are_idle(index: int) -> None:
    theta, state, log = HsacLandscape(CANDIDATES).update(THETA, {}, step(index))
    assert torch.equal(theta, THETA)
    assert (state, log) == ({}, {})


@pytest.mark.parametrize("name", ["digits", "disease"])
def test_training_ends_at_a_candidate(small: Any, name: str) -> None:
    """Every curvature of the network is the one that was chosen, and the cost is counted."""
    weights = "adam" if name == "disease" else "sgd"
    own = {"candidates": [0.01, 0.1], "rows": 100, "tolerance": 1e-2}
    made = {}
    for rule in ("fixed@0.3", "hsac_landscape"):
        keys = copy.deepcopy(small.keys)
        keys["rules"]["curvature"]["hsac_landscape"] = own
        study, cell = cell_of(keys, name, f"{weights}+{rule}")
        made[rule] = train_seeds(study, cell, [0, 1], small.variants[name], small.data)
    for (fixed, _), (chosen, _) in zip(*made.values(), strict=True):
        final = chosen["curvature"]["final"]
        assert len(final) == len(fixed["curvature"]["final"])
        assert any(final == pytest.approx([c] * len(final)) for c in (0.01, 0.1))
        assert chosen["gradients"] > fixed["gradients"]


def test_bad_values_are_refused() -> None:
    for given in (
        {"candidates": (0.1,)},
        {"candidates": (0.1, 0.1)},
        {"candidates": (0.1, -1.0)},
        {"candidates": ("low", "high")},
        {"objective": "worse"},
        {"at": 0.0},
        {"rows": 0},
        {"tolerance": 0.0},
    ):
        with pytest.raises(InputError, match=next(iter(given))):
            HsacLandscape(**given)
