"""Minima of lower levels, against Newton's method with the whole Hessian."""

import pytest
import torch
from torch import Tensor

from hsac.hypergradient.minimum import Together, minimise
from hsac.theory.ground_truth import newton
from hsac.theory.problems.hyperbolic import Hyperbolic

F64 = torch.float64
PROBLEM = Hyperbolic(runs=3)
THETA = torch.tensor([[-2.0], [-0.5], [1.0]], dtype=F64)
ALL = Together.of(PROBLEM.lower, PROBLEM.initial, THETA)


def test_equals_dense_newton() -> None:
    """It finds the minimum that Newton's method with the whole Hessian finds."""
    found = minimise(ALL, PROBLEM.initial, THETA, 1e-9)
    assert (found.gradient <= 1e-9).all()
    torch.testing.assert_close(found.w, newton(PROBLEM.lower, found.w, THETA), rtol=0, atol=1e-7)
    assert (PROBLEM.lower(found.w, THETA) < PROBLEM.lower(PROBLEM.initial, THETA)).all()


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5, 1e-8])
def test_gradient_is_within_tolerance(tolerance: float) -> None:
    found = minimise(ALL, PROBLEM.initial, THETA, tolerance)
    w = found.w.requires_grad_()
    (g,) = torch.autograd.grad(PROBLEM.lower(w, THETA).sum(), w)
    w = w.detach()
    torch.testing.assert_close(found.gradient, g.norm(dim=-1) / (1 + w.norm(dim=-1)))
    assert (found.gradient <= tolerance).all()


def test_leaves_a_saddle() -> None:
    """At negative curvature it goes downhill, to a minimum."""

    def loss(w: Tensor, theta: Tensor) -> Tensor:
        return (w**4 / 4 - w.square() / 2).sum(-1) + theta.sum(-1)

    start, theta = torch.tensor([[0.1, -0.1], [0.5, 0.01]], dtype=F64), torch.zeros(2, 1, dtype=F64)
    found = minimise(Together.of(loss, start, theta), start, theta, 1e-10)
    assert (found.gradient <= 1e-10).all()
    torch.testing.assert_close(found.w.abs(), torch.ones(2, 2, dtype=F64))


def test_problems_are_independent() -> None:
    """A problem that cannot be solved leaves the others as they are alone."""

    def first(w: Tensor, theta: Tensor) -> Tensor:
        return PROBLEM.lower(w.expand(3, -1), THETA)[:1]

    start, theta = PROBLEM.initial[:1].expand(2, -1).clone(), torch.zeros(2, 1, dtype=F64)

    def both(w: Tensor, theta: Tensor) -> Tensor:
        return torch.cat((first(w[:1], theta), w[1:].sum(-1)))

    found = minimise(Together.of(both, start, theta), start, theta, 1e-9)
    alone = minimise(Together.of(first, start[:1], theta[:1]), start[:1], theta[:1], 1e-9)
    assert (found.gradient <= 1e-9).tolist() == [True, False]
    torch.testing.assert_close(found.w[:1], alone.w, rtol=0, atol=1e-8)


def test_some_of_the_problems_are_themselves() -> None:
    """What is taken from problems that go together has their values, whatever the others do."""
    some = ALL.take(torch.tensor([2, 0])).take(torch.tensor([1]))
    w = PROBLEM.initial + 0.1
    assert torch.equal(some.objective(w[:1], THETA[:1]), PROBLEM.lower(w, THETA)[:1])


def test_not_a_number_is_unsolved() -> None:
    start, theta = torch.full((1, 2), torch.nan, dtype=F64), torch.zeros(1, 1, dtype=F64)
    problems = Together.of(lambda w, t: w.square().sum(-1), start, theta)
    assert not (minimise(problems, start, theta, 1e-6).gradient <= 1e-6).any()


def test_solved_problem_takes_one_gradient() -> None:
    found = minimise(ALL, PROBLEM.initial, THETA, 1e-9)
    again = minimise(ALL, found.w, THETA, 1e-9)
    assert again.gradients == 1
    assert torch.equal(again.w, found.w)
