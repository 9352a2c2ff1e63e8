"""Points of the ball when its curvature moves, and the curvature-aware step as a whole."""

import copy
from dataclasses import replace

import geoopt
import numpy as np
import pytest
import torch
from studies import cell_of

from hsac.ops.runner import train_seeds
from hsac.rules.curvature.learned import Learned
from hsac.rules.curvature.reparametrised import Reparametrised
from hsac.train.carry import carry
from hsac.train.inputs import load_inputs
from hsac.train.loop import Trainer
from hsac.train.setup import prepare

F64 = torch.float64
PLACES = ((1, 7, 3, 1),)  # two points of space between two ordinary weights
BEFORE = torch.tensor([[9.0, 0.3], [9.0, 2.0], [9.0, 1.0]], dtype=F64)
AFTER = torch.tensor([[1.0, 1.1], [1.0, 0.05], [1.0, 1.0]], dtype=F64)  # the last one rests


@pytest.fixture
def w():
    return 0.25 * torch.randn(3, 8, generator=torch.Generator().manual_seed(0), dtype=F64)


def ball(c):
    return geoopt.Stereographic(-c.clone())


def points(w):
    return w[:, 1:7].unflatten(1, (2, 3))


def test_points_keep_distance_and_direction(w) -> None:
    moved, _ = carry(PLACES, w, BEFORE, AFTER)
    for i in range(3):
        x, y = points(w)[i], points(moved)[i]
        torch.testing.assert_close(ball(AFTER[i, 1]).dist0(y), ball(BEFORE[i, 1]).dist0(x))
        torch.testing.assert_close((x * y).sum(-1), x.norm(dim=-1) * y.norm(dim=-1))
    assert torch.equal(moved[:, [0, 7]], w[:, [0, 7]])
    assert not torch.isclose(moved[:2, 1:7], w[:2, 1:7]).any()


def test_tangent_vectors_are_transported(w) -> None:
    """As geoopt takes them to the origin of one ball and from that of the other; lengths stay."""
    moved, (factors,) = carry(PLACES, w, BEFORE, AFTER)
    v = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(1), dtype=F64)
    for i in range(3):
        old, new = ball(BEFORE[i, 1]), ball(AFTER[i, 1])
        x, y, found = points(w)[i], points(moved)[i], factors[i] * v[i]
        torch.testing.assert_close(found, new.transp0(y, old.transp0back(x, v[i])))
        torch.testing.assert_close(new.norm(y, found), old.norm(x, v[i]))


def test_resting_curvature_changes_no_bit(w) -> None:
    moved, (factors,) = carry(PLACES, w, BEFORE, AFTER)
    assert torch.equal(moved[2], w[2])
    assert torch.equal(factors[2], torch.ones_like(factors[2]))


def test_way_back_is_the_inverse(w) -> None:
    there, (out,) = carry(PLACES, w, BEFORE, AFTER)
    back, (home,) = carry(PLACES, there, AFTER, BEFORE)
    torch.testing.assert_close(back, w)
    torch.testing.assert_close(out * home, torch.ones_like(out))


def test_points_off_the_ball_come_in(w) -> None:
    """Weight rules that know of no ball can take them there."""
    moved, (factors,) = carry(PLACES, 100 * w, BEFORE, AFTER)
    inside = (AFTER[:2, 1, None] * points(moved)[:2].square().sum(-1)).sqrt()
    assert (inside < 1).all()
    assert factors.isfinite().all()


def made(small, method):
    study, cell = cell_of(small.keys, "digits", method)
    found = prepare(load_inputs(study.device, cell, small.variants["digits"], small.data), [0, 1])
    return replace(found, schedule=replace(found.schedule, kind="constant"))


def test_step_is_geoopts_written_out(small) -> None:
    """Twenty steps are those of geoopt and torch, each parameter carried over by geoopt's maps."""
    method = "riemannian_adam+fixed@0.3+geoopt_mlr"
    ours = replace(made(small, method), curvature_rule=Reparametrised(lr=0.3))
    trainer = Trainer(ours, lambda _: None)
    plain = made(small, method)
    losses = Trainer(plain, lambda _: None).losses
    ((start, end, size, column),) = plain.ensemble.points
    clamp, tau = plain.transform.clamp, plain.transform
    flat = torch.ones(plain.w.shape[1], dtype=torch.bool)
    flat[start:end] = False
    runs = []
    for i in range(2):
        w = plain.w[i]
        manifold = ball(tau(plain.theta[i, column]))
        p = geoopt.ManifoldParameter(w[start:end].view(-1, size).clone(), manifold=manifold)
        rest = torch.nn.Parameter(w[flat].clone())
        theta = torch.nn.Parameter(plain.theta[i].clone())
        moving = geoopt.optim.RiemannianAdam([rest, p], lr=ours.weight_rule.lr)
        runs.append((p, rest, theta, moving, torch.optim.Adam([theta], lr=0.3)))
    for index in range(20):
        trainer.step(index)
        rows = []
        for p, rest, _, _, _ in runs:
            w = torch.zeros_like(plain.w[0])
            rows.append(w.masked_scatter(flat, rest).masked_scatter(~flat, p.flatten()))
        w, theta = torch.stack(rows), torch.stack([run[2] for run in runs])
        value = losses.objective(plain.task.batch("batches"))(w, theta)
        value.sum().backward()
        for p, _, theta, *optimizers in runs:
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            with torch.no_grad():
                theta.copy_(clamp(theta))
                over(p, optimizers[0].state[p]["exp_avg"], ball(tau(theta[column]).detach()))
    for i, (p, rest, theta, *_) in enumerate(runs):
        torch.testing.assert_close(
            trainer.w[i, start:end], p.detach().flatten(), rtol=1e-6, atol=1e-8
        )
        torch.testing.assert_close(trainer.w[i, flat], rest.detach(), rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(trainer.theta[i], theta.detach(), rtol=1e-6, atol=1e-8)
        assert (theta - plain.theta[i]).abs().max() > 0.5
        assert p.abs().max() > 0.01


def over(p, moment, new):
    """Carry a point and its first moment over by geoopt's maps."""
    old = p.manifold
    at_origin = old.transp0back(p, moment)
    p.copy_(new.expmap0(old.logmap0(p)))
    moment.copy_(new.transp0(p, at_origin))
    p.manifold.k.copy_(new.k)


@pytest.mark.parametrize("weights", ["adam", "riemannian_adam"])
def test_points_are_what_differs(small, weights) -> None:
    """It is `learned` to the bit for a head without points, and another for one with them."""
    keys = copy.deepcopy(small.keys)
    keys["rules"]["curvature"] |= {
        "learned": {"lr": 0.05},
        "reparametrised": {"lr": 0.05},
    }
    found = {}
    for head in ("poincare_mlr", "geoopt_mlr"):
        for rule in ("learned", "reparametrised"):
            study, cell = cell_of(keys, "digits", f"{weights}+{rule}@0.3+{head}")
            ((_, found[head, rule]),) = train_seeds(
                study, cell, [0], small.variants["digits"], small.data
            )
    for head in ("poincare_mlr", "geoopt_mlr"):
        same = np.array_equal(found[head, "learned"], found[head, "reparametrised"])
        assert same == (head == "poincare_mlr")


def test_it_has_the_defaults_of_learned() -> None:
    own, learned = Reparametrised(), Learned()
    assert (own.lr, own.warm_up, own.needs_gradient) == (
        learned.lr,
        learned.warm_up,
        learned.needs_gradient,
    )
