"""The rule `hsac_head`: its hypergradient on a solved head, and what it does to a training."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from studies import cell_of
from torch import Tensor

from hsac.errors import InputError
from hsac.rules.curvature.hsac_head import HsacHead
from hsac.rules.types import HeadLevel
from hsac.theory.ground_truth import newton
from hsac.theory.problems.hyperbolic import Hyperbolic
from hsac.train.bundle import train_seeds
from hsac.train.inputs import load_inputs

F64 = torch.float64
PROBLEM = Hyperbolic(runs=2)
THETA = PROBLEM.start
HEAD = PROBLEM.initial.shape[1]
BACKBONE = 3  # weights before the head's, that the head's problem does not see
DRAWS = 4


def draws() -> Any:
    g = torch.Generator().manual_seed(7)
    return lambda: torch.randn(2, BACKBONE + HEAD, generator=g, dtype=F64)


def step(kept: list[Tensor]) -> Any:
    """A training step whose head is the problem."""
    w = torch.cat((torch.ones(2, BACKBONE, dtype=F64), PROBLEM.initial), -1)
    place = torch.arange(BACKBONE, BACKBONE + HEAD)
    level = HeadLevel(PROBLEM.initial, place, PROBLEM.cross_entropy, PROBLEM.lower, 0.5)
    return SimpleNamespace(
        index=99,
        total=1000,
        w=w,
        normal=draws(),
        head=lambda stream, rows: level,
        put=kept.append,
    )


def value(theta: Tensor, radius: float) -> Tensor:
    """The Gaussian mean at the head solved at θ, on the rule's draws."""
    w, normal = newton(PROBLEM.lower, PROBLEM.initial, theta), draws()
    noise = [radius / HEAD**0.5 * normal()[:, BACKBONE:] for _ in range(DRAWS)]
    return sum(PROBLEM.cross_entropy(w + e, theta) for e in noise).detach() / DRAWS


def test_hypergradient_is_of_solved_head() -> None:
    """It equals differences of the objective at heads that are solved again."""
    rule = HsacHead(tolerance=1e-11, period=1, warm_up=0.0, radius=0.3)
    _, _, log = rule.update(THETA, rule.init(THETA), step([]))
    h = 1e-3
    wide, narrow = ((value(THETA + d, 0.3) - value(THETA - d, 0.3)) / (2 * d) for d in (h, h / 2))
    torch.testing.assert_close(
        log["hypergradient"], ((4 * narrow - wide) / 3)[:, None], rtol=1e-6, atol=0
    )
    torch.testing.assert_close(log["value"], value(THETA, 0.3))
    assert not log["fallback"].any()


def test_solved_head_is_put_back() -> None:
    """With `replace` the solved head takes the place of the network's, and nothing else moves."""
    kept: list[Tensor] = []
    rule = HsacHead(tolerance=1e-11, period=1, warm_up=0.0, replace=True)
    rule.update(THETA, rule.init(THETA), step(kept))
    assert torch.equal(kept[0][:, :BACKBONE], torch.ones(2, BACKBONE, dtype=F64))
    solved = newton(PROBLEM.lower, PROBLEM.initial, THETA)
    torch.testing.assert_close(kept[0][:, BACKBONE:], solved, rtol=0, atol=1e-8)
    kept.clear()
    rule = replace(rule, replace=False)
    rule.update(THETA, rule.init(THETA), step(kept))
    assert not kept


def test_unsolved_head_keeps_curvature() -> None:
    """A run whose head does not converge keeps its c, and says so."""
    rule = HsacHead(tolerance=1e-300, period=1, warm_up=0.0, replace=True)
    kept: list[Tensor] = []
    at = step(kept)
    theta, state, log = rule.update(THETA, rule.init(THETA), at)
    assert torch.equal(theta, THETA)
    # and Adam is as if no step had been due
    assert all((kept == 0).all() for kept in state["adam"].values())
    assert log["fallback"].all()
    assert torch.equal(kept[0], at.w)


@pytest.mark.parametrize("changes", [{}, {"apart": True}, {"replace": True}, {"objective": "gap"}])
@pytest.mark.parametrize("name", ["digits", "disease"])
def test_training_moves_head_curvature(small: Any, name: str, changes: dict[str, Any]) -> None:
    """The head's curvature moves, the other curvatures rest, and the cost is counted."""
    weights = "adam" if name == "disease" else "sgd"
    made = {}
    for rule in (f"{weights}+fixed@0.3", f"{weights}+hsac_head"):
        study, cell = cell_of(small.keys, name, rule)
        inputs = load_inputs(study.device, cell, small.variants[name], small.data)

        def change(prepared: Any) -> Any:
            head = isinstance(prepared.curvature_rule, HsacHead)
            own = {"period": 10, "warm_up": 0.0, "rows": 100, "tolerance": 1e-2} | changes
            given = replace(prepared.curvature_rule, **own) if head else prepared.curvature_rule
            return replace(prepared, curvature_rule=given)

        made[rule] = train_seeds(inputs, [0, 1], change=change)[0][0]
    fixed, moved = made.values()
    final = moved["curvature"]["final"]
    assert final[-1] != pytest.approx(0.3, rel=1e-3)
    assert all(c == pytest.approx(0.3) for c in final[:-1])
    assert moved["gradients"] > fixed["gradients"]
    assert moved["products"] > 0


def test_bad_values_are_refused() -> None:
    for given in ({"rows": 0}, {"tolerance": 0.0}, {"objective": "worse"}, {"period": 0}):
        with pytest.raises(InputError, match=next(iter(given))):
            HsacHead(**given)
