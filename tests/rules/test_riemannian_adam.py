"""Riemannian Adam: Adam off the ball, geoopt's own on it, points stay inside."""

import geoopt
import pytest
import torch

from hsac.errors import InputError
from hsac.parts import build
from hsac.rules.types import Gradient
from hsac.rules.weights.adam import Adam
from hsac.rules.weights.riemannian_adam import RiemannianAdam

F64 = torch.float64
POINTS = ((2, 6, 2, 0),)  # two points of the plane behind two ordinary weights


def start(runs=3):
    return 0.2 * torch.randn((runs, 8), generator=torch.Generator().manual_seed(0), dtype=F64)


def gradient(curvature):
    def of(w):
        w = w.detach().requires_grad_()
        target = torch.linspace(-1.5, 1.5, 8, dtype=F64)
        loss = ((w - target) ** 2).sum(-1)
        (slope,) = torch.autograd.grad(loss.sum(), w)
        return Gradient(loss.detach(), slope, None, curvature)

    return of


def steps(rule, w, of, count=5, rate=0.7):
    state = rule.init(w)
    for _ in range(count):
        w, state, _ = rule.update(w, state, of, rate)
    return w


def test_without_points_it_is_adam():
    of = gradient(torch.ones((3, 1), dtype=F64))
    found = steps(RiemannianAdam((), lr=0.1), start(), of)
    torch.testing.assert_close(found, steps(Adam(lr=0.1), start(), of))


def test_the_rest_is_adam_beside_points():
    of = gradient(torch.ones((3, 1), dtype=F64))
    found, plain = (
        steps(rule, start(), of) for rule in (RiemannianAdam(POINTS, lr=0.1), Adam(lr=0.1))
    )
    rest = [0, 1, 6, 7]
    torch.testing.assert_close(found[:, rest], plain[:, rest])
    assert not torch.allclose(found[:, 2:6], plain[:, 2:6])


@pytest.mark.parametrize("c", [0.5, 2.0])
def test_points_move_as_geoopt_moves_them(c):
    w = start(1)
    point = geoopt.ManifoldParameter(
        w[0, 2:6].view(2, 2).clone(), manifold=geoopt.PoincareBall(torch.tensor(c))
    )
    optimiser = geoopt.optim.RiemannianAdam([point], lr=0.1)
    target = torch.linspace(-1.5, 1.5, 8, dtype=F64)[2:6].view(2, 2)
    for _ in range(5):
        optimiser.zero_grad()
        ((point - target) ** 2).sum().backward()
        optimiser.step()
    of = gradient(torch.full((1, 1), c, dtype=F64))
    found = steps(RiemannianAdam(POINTS, lr=0.1), w, of, rate=1.0)
    torch.testing.assert_close(found[0, 2:6], point.detach().flatten(), rtol=1e-6, atol=1e-8)


def test_points_stay_in_changing_ball():
    """Points stay inside a ball that changes."""
    rule, w = RiemannianAdam(POINTS, lr=0.5), start()
    state = rule.init(w)
    for k in range(60):
        c = 0.5 + 0.05 * k
        w, state, _ = rule.update(w, state, gradient(torch.full((3, 1), c, dtype=F64)), 1.0)
        assert w.isfinite().all()
        assert (c * (w[:, 2:6].unflatten(1, (2, 2)) ** 2).sum(-1) < 1).all()


def test_sam_keeps_off_it():
    with pytest.raises(InputError, match="base: found 'riemannian_adam'"):
        build("weight rule", "sam", {"base": "riemannian_adam"})


def test_it_refuses_what_adam_refuses():
    with pytest.raises(InputError, match=r"lr: found 0\.0; allowed is a number above 0"):
        RiemannianAdam((), lr=0.0)
