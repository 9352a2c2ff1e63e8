import pytest

from hsac.frozen.branches import log_c, solve_along
from hsac.frozen.head import HeadProblem
from hsac.frozen.rules import (
    EXACT,
    SETTINGS,
    SOLVERS,
    RuleOptions,
    RulePaths,
    hypergradients,
)
from hsac.frozen.splits import Splits


@pytest.fixture(scope="module")
def problem(splits: Splits) -> HeadProblem:
    return HeadProblem(splits.train, 3, 2, 0.2)


def test_exact_solver_gives_the_difference(problem, splits):
    options = RuleOptions(ascent_steps=100, draws=4)
    # The others' perturbations move with w in a way that a rule takes for constant.
    objectives = ("train_loss", "gap", "mean", "validation_nll")
    found = hypergradients(problem, splits, solve_along(problem, (0.5,)), options, objectives)
    assert len(found) == len(objectives) * len(SOLVERS) * 3
    for row in found:
        if row["solver"] == EXACT:
            assert row["hypergradient"] == pytest.approx(row["difference"], rel=1e-3, abs=1e-7)
    # the implicit term is not nothing
    direct = [row for row in found if row["solver"] == "none"]
    assert any(abs(row["hypergradient"] - row["difference"]) > 1e-3 for row in direct)


def test_exact_rule_ends_at_minimiser(problem, splits):
    # λ/2|w|² falls with c, so the training loss has its minimum at the upper end
    options = RuleOptions(starts=(0.3,), steps=15, step=0.5)
    ends = RulePaths(problem, splits, (0.1, 0.6), options).ends("train_loss", "exact")
    grid = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    losses = [problem.loss(at.w, log_c(problem, at.c)) for at in solve_along(problem, grid)]
    for i, row in enumerate(ends):
        best = min(range(len(grid)), key=lambda k: float(losses[k][i]))
        assert row["end"] == pytest.approx(grid[best], abs=0.1)


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_stays_inside(problem, splits, setting):
    options = RuleOptions(starts=(0.3,), steps=2, step=5.0, factor=1.5, inner=2, batch=8)
    ends = RulePaths(problem, splits, (0.05, 3.0), options).ends("literal", setting)
    low, high = (0.2, 0.45) if setting in ("interval", "all") else (0.05, 3.0)
    assert all(low * 0.999 <= row["end"] <= high * 1.001 for row in ends)
