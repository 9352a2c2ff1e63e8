"""Minima of lower levels, against Newton's method with the whole Hessian."""

import pytest
import torch
from torch import Tensor

from hsac.hypergradient import minimum
from hsac.hypergradient.minimum import minimise
from hsac.theory.ground_truth import newton
from hsac.theory.problems.hyperbolic import Hyperbolic

F64 = torch.float64
PROBLEM = Hyperbolic(runs=3)
THETA = torch.tensor([[-2.0], [-0.5], [1.0]], dtype=F64)


def test_equals_dense_newton() -> None:
    """It finds the minimum that Newton's method with the whole Hessian finds."""
    found = minimise(PROBLEM.lower, PROBLEM.initial, THETA, 1e-9)
    assert found.solved.all()
    torch.testing.assert_close(found.w, newton(PROBLEM.lower, found.w, THETA), rtol=0, atol=1e-8)
    assert (PROBLEM.lower(found.w, THETA) < PROBLEM.lower(PROBLEM.initial, THETA)).all()


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5, 1e-8])
def test_gradient_is_within_tolerance(tolerance: float) -> None:
    found = minimise(PROBLEM.lower, PROBLEM.initial, THETA, tolerance)
    w = found.w.requires_grad_()
    (g,) = torch.autograd.grad(PROBLEM.lower(w, THETA).sum(), w)
    torch.testing.assert_close(found.gradient, g.norm(dim=-1))
    assert (found.gradient <= tolerance * (1 + w.detach().norm(dim=-1))).all()


def test_leaves_a_saddle() -> None:
    """At negative curvature it goes downhill, to a minimum."""

    def loss(w: Tensor, theta: Tensor) -> Tensor:
        return (w**4 / 4 - w.square() / 2).sum(-1) + theta.sum(-1)

    start = torch.tensor([[0.1, -0.1], [0.5, 0.01]], dtype=F64)
    found = minimise(loss, start, torch.zeros(2, 1, dtype=F64), 1e-10)
    assert found.solved.all()
    torch.testing.assert_close(found.w.abs(), torch.ones(2, 2, dtype=F64))


def test_problems_are_independent() -> None:
    """A problem that cannot be solved leaves the others as they are alone."""

    def first(w: Tensor, theta: Tensor) -> Tensor:
        return PROBLEM.lower(w.expand(3, -1), THETA)[:1]

    start = PROBLEM.initial[:1].expand(2, -1).clone()

    def both(w: Tensor, theta: Tensor) -> Tensor:
        return torch.cat((first(w[:1], theta), w[1:].sum(-1)))

    found = minimise(both, start, torch.zeros(2, 1, dtype=F64), 1e-9)
    alone = minimise(first, start[:1], torch.zeros(1, 1, dtype=F64), 1e-9)
    assert found.solved.tolist() == [True, False]
    torch.testing.assert_close(found.w[:1], alone.w, rtol=0, atol=1e-8)


def test_not_a_number_is_unsolved() -> None:
    start = torch.full((1, 2), torch.nan, dtype=F64)
    found = minimise(lambda w, t: w.square().sum(-1), start, torch.zeros(1, 1, dtype=F64), 1e-6)
    assert not found.solved.any()


def test_large_problems_take_conjugate_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """They find the same minimum, and a solved problem costs nothing more."""
    dense = minimise(PROBLEM.lower, PROBLEM.initial, THETA, 1e-9)
    monkeypatch.setattr(minimum, "DENSE", 0)
    found = minimise(PROBLEM.lower, PROBLEM.initial, THETA, 1e-9, steps=200)
    assert found.solved.all()
    torch.testing.assert_close(
        PROBLEM.lower(found.w, THETA), PROBLEM.lower(dense.w, THETA), rtol=1e-6, atol=0
    )
    again = minimise(PROBLEM.lower, found.w, THETA, 1e-9)
    assert again.products == 0
