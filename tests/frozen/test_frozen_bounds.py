"""Bounds of solved heads: what the prior may know, turning, and the formula."""

import math

import pytest
import torch

from hsac.frozen.bounds import COLUMNS, DELTA, DRAWS, SIGMAS, bounds, halves, turned
from hsac.frozen.branches import SolvedHeads, log_c, solve
from hsac.frozen.head import HeadProblem
from hsac.frozen.splits import HeadData
from hsac.theory.pac_bayes import kl_inverse

DIM, DECAY, C = 4, 0.02, 0.5


def bounds_of(problem, w):
    """The bounds at C alone, whose grid has one point."""
    (made,) = bounds(problem, [SolvedHeads(C, w, w[:, 0], ("start",) * len(w))])
    return made


@pytest.fixture(scope="module")
def problem(draw_rows):
    return HeadProblem(draw_rows(1, 3, 60), 3, DIM, DECAY)


@pytest.fixture(scope="module")
def heads(problem):
    return solve(problem, problem.start(0), log_c(problem, C)).w


@pytest.fixture(scope="module")
def made(problem, heads):
    return bounds_of(problem, heads)


def test_halves_have_each_row_once(draw_rows):
    data = draw_rows(1, 3, 21)
    first, second = halves(data)
    assert (first.x.shape[1], second.x.shape[1]) == (10, 11)
    rows = torch.cat((first.x, second.x), 1).sort(1).values
    assert torch.equal(rows, data.x.sort(1).values)
    for part in (first, second):
        assert part.weight.sum(-1).tolist() == pytest.approx([1.0] * 3)


def test_halves_leave_padding_in_the_part_of_the_bound(draw_rows):
    data = draw_rows(1, 2, 20)
    weight = data.weight.clone()
    weight[0, 16:] = 0
    first, second = halves(HeadData(data.x, data.label, weight))
    assert (first.weight > 0).all()
    assert (second.weight > 0).sum(-1).tolist() == [8, 12]
    assert second.weight.sum(-1).tolist() == pytest.approx([1.0, 1.0])


def test_turning_changes_no_logit_and_is_nearest(problem, heads):
    other = problem.start(5)
    theta = log_c(problem, C)
    near = turned(problem, heads, other)
    before = problem.logits(heads, theta, problem.data.x)
    assert torch.allclose(problem.logits(near, theta, problem.data.x), before, atol=1e-10)
    distance = (near - other).square().sum(-1)
    assert (distance <= (heads - other).square().sum(-1)).all()
    for seed in range(20):
        # no other rotation of the whole head is nearer
        g = torch.Generator().manual_seed(seed)
        q = torch.linalg.qr(torch.randn(DIM, DIM, generator=g, dtype=torch.float64)).Q
        a, z, r = near.split(problem.layers, -1)
        a = (q @ a.unflatten(-1, (DIM, -1))).flatten(1)
        z = (z.unflatten(-1, (3, DIM)) @ q.T).flatten(1)
        assert (distance <= (torch.cat((a, z, r), -1) - other).square().sum(-1) + 1e-12).all()


def test_turned_back_is_the_same(problem, heads):
    q = torch.linalg.qr(torch.randn(DIM, DIM, dtype=torch.float64)).Q
    a, z, r = heads.split(problem.layers, -1)
    a = (q @ a.unflatten(-1, (DIM, -1))).flatten(1)
    z = (z.unflatten(-1, (3, DIM)) @ q.T).flatten(1)
    assert torch.allclose(turned(problem, torch.cat((a, z, r), -1), heads), heads, atol=1e-10)


def test_bound_is_its_formula(problem, heads, made):
    """From the divergence and the error of the noisy heads, in other words than certify's."""
    start = problem.start(0)
    exact = problem.error(heads, log_c(problem, C), problem.data)
    distance = (turned(problem, heads, start) - start).square().sum(-1)
    n = problem.data.x.shape[1]
    for run in range(3):
        kl = float(made["certificate_kl"][run])
        ratios = [float(distance[run]) / (2 * sigma**2) / kl for sigma in SIGMAS]
        assert min(abs(ratio - 1) for ratio in ratios) < 1e-9
        empirical = float(made["certificate_sharpness"][run] + exact[run])
        upper = kl_inverse(empirical, math.log(4 / DELTA) / DRAWS)
        logs = math.log(4 * n**0.5 / DELTA) + math.log(len(SIGMAS))
        expected = kl_inverse(upper, (kl + logs) / n)
        assert float(made["certificate"][run]) == pytest.approx(expected, rel=1e-9)


def test_choice_of_c_is_paid_for(problem, heads, made):
    """Of a grid of two points the bound is larger, by ln 2 in the slack."""
    other = SolvedHeads(0.1, heads, heads[:, 0], ("start",) * 3)
    at = SolvedHeads(C, heads, heads[:, 0], ("start",) * 3)
    _, found = bounds(problem, [other, at])
    assert (found["certificate"] > made["certificate"]).all()
    assert torch.equal(found["certificate_kl"], made["certificate_kl"])


def test_prior_does_not_know_the_rows_of_its_bound(problem, heads, made):
    """Other labels in the half that bounds change the errors and not the divergence."""
    rows = {tuple(row) for row in halves(problem.data)[1].x.flatten(0, 1).tolist()}
    bounding = torch.tensor(
        [[tuple(row) in rows for row in one] for one in problem.data.x.tolist()]
    )
    label = torch.where(bounding, (problem.data.label + 1) % 3, problem.data.label)
    data = HeadData(problem.data.x, label, problem.data.weight)
    other = bounds_of(HeadProblem(data, 3, DIM, DECAY), heads)
    near = [
        min(abs(float(a) * s / float(b) / t - 1) for s in squares for t in squares)
        for a, b in zip(other["informed_kl"], made["informed_kl"], strict=True)
        for squares in [[sigma**2 for sigma in SIGMAS]]
    ]
    # σ is chosen again, so the divergence is that of the same distance.
    assert max(near) < 1e-6
    assert (other["informed"] > made["informed"]).all()


def test_problems_do_not_depend_on_each_other(problem, heads, made):
    alone = bounds_of(problem.take(torch.tensor([2])), heads[2:])
    assert set(made) == set(COLUMNS)
    for name in ("certificate", "certificate_sharpness", "certificate_kl"):
        assert float(alone[name][0]) == pytest.approx(float(made[name][2]), rel=1e-9), name
    # The prior of half of the rows is solved to a tolerance, whichever others are with it.
    assert float(alone["informed_kl"][0]) == pytest.approx(float(made["informed_kl"][2]), rel=1e-3)


def test_prior_of_half_helps_where_rows_are_many(draw_rows):
    many = HeadProblem(draw_rows(1, 2, 600), 3, DIM, DECAY)
    w = solve(many, many.start(0), log_c(many, C)).w
    made = bounds_of(many, w)
    assert (made["informed"] < made["certificate"]).all()
    # better than predicting one of three classes
    assert (made["informed"] < 0.6).all()
