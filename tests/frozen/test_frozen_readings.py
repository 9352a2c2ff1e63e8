import pytest
import torch
from torch import Tensor

from hsac.frozen.branches import log_c
from hsac.frozen.head import HeadProblem
from hsac.frozen.readings import READINGS, reading, upper_level
from hsac.frozen.splits import Splits
from hsac.hypergradient.minimum import minimise
from hsac.sharpness import ScopeObjective

RADIUS = 0.05


@pytest.fixture(scope="module")
def solved(splits: Splits) -> tuple[HeadProblem, Tensor, Tensor]:
    problem = HeadProblem(splits.train, 3, 2, 0.2)
    theta = log_c(problem, 0.5)
    return problem, minimise(problem, problem.start(0), theta, 1e-9).w, theta


def value(
    problem: HeadProblem, w: Tensor, theta: Tensor, scope: ScopeObjective, draw: int
) -> Tensor:
    return upper_level(problem, w, theta, scope, draw)(w, theta)


def furthest(problem: HeadProblem, w: Tensor, theta: Tensor, scale: Tensor, way: float) -> Tensor:
    """Find the highest (way 1) or lowest (way -1) loss in the ball by projected gradient steps."""
    generator, found = torch.Generator().manual_seed(7), []
    for _ in range(4):
        e = torch.randn(w.shape, generator=generator, dtype=torch.float64)
        e = RADIUS * e / e.norm(dim=-1, keepdim=True)
        for _ in range(60):
            at = e.requires_grad_()
            (g,) = torch.autograd.grad(problem.loss(w + scale * at, theta).sum(), at)
            e = e.detach() + way * 0.02 * g / g.norm(dim=-1, keepdim=True)
            e = e * (RADIUS / e.norm(dim=-1, keepdim=True)).clamp(max=1.0)
        found.append(way * problem.loss(w + scale * e, theta))
    return way * torch.stack(found).amax(0)


@pytest.mark.parametrize("name", ["gap", "range", "worst", "adaptive_gap"])
def test_reading_agrees_with_projected_ascent(solved, name):
    problem, w, theta = solved
    here = problem.loss(w, theta)
    scale = w.abs() + 0.01 if name in ("worst", "adaptive_gap") else torch.ones_like(w)
    up = furthest(problem, w, theta, scale, 1.0)
    expected = {
        "gap": up - here,
        "worst": up,
        "adaptive_gap": up - here,
        "range": up - furthest(problem, w, theta, scale, -1.0),
    }[name]
    found = value(problem, w, theta, reading(name, RADIUS, 40, 8), draw=2)
    # never less than another way finds, which may end at a lower peak
    assert (found >= 0.99 * expected).all()
    assert (found <= 1.1 * expected).all()


def test_literal_is_one_step(solved):
    problem, w, theta = solved
    at = w.clone().requires_grad_()
    here = problem.loss(at, theta)
    (g,) = torch.autograd.grad(here.sum(), at)
    there = problem.loss(w + RADIUS * g / g.norm(dim=-1, keepdim=True), theta)
    found = value(problem, w, theta, reading("literal", RADIUS, 40, 8), draw=2)
    assert torch.allclose(found, there - here.detach(), atol=1e-12)


def test_curvature_scope_is_an_end(solved):
    problem, w, theta = solved
    ends = [problem.loss(w, theta + way * RADIUS) for way in (1.0, -1.0)]
    expected = torch.stack(ends).amax(0) - problem.loss(w, theta)
    found = value(problem, w, theta, reading("curvature_scope", RADIUS, 5, 8), draw=2)
    assert torch.allclose(found, expected, atol=1e-12)


def test_joint_scope_exceeds_its_parts(solved):
    problem, w, theta = solved
    of = {
        name: value(problem, w, theta, reading(name, RADIUS, 40, 8), draw=2)
        for name in ("joint_scope", "gap", "curvature_scope")
    }
    assert (of["joint_scope"] >= torch.maximum(of["gap"], of["curvature_scope"]) - 1e-6).all()


def test_mean_averages_gaussian_draws(solved):
    problem, w, theta = solved
    found = value(problem, w, theta, reading("mean", RADIUS, 40, 400), draw=2)
    # to second order in the radius: L + ρ²/(2P) tr H
    hessian = torch.autograd.functional.hessian(lambda v: problem.loss(v, theta).sum(), w)
    trace = torch.stack([hessian[r, :, r, :].diagonal().sum() for r in range(len(w))])
    size = w.shape[-1]
    expected = problem.loss(w, theta) + RADIUS**2 / (2 * size) * trace
    # four standard errors of the mean of so many draws
    slope = torch.autograd.functional.jacobian(lambda v: problem.loss(v, theta).sum(), w)
    error = RADIUS * slope.norm(dim=-1) / (size * 400) ** 0.5
    assert (
        (found - expected).abs() <= 4 * error + 0.05 * (expected - problem.loss(w, theta))
    ).all()


def test_every_reading_has_a_value(solved):
    problem, w, theta = solved
    for name in READINGS:
        assert value(problem, w, theta, reading(name, RADIUS, 3, 4), draw=2).isfinite().all()
