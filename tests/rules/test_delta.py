"""Curvature from the features' δ-hyperbolicity."""

import math
from dataclasses import replace

import pytest
import torch

from hsac.errors import InputError
from hsac.parts import build
from hsac.rules.curvature.delta import Delta
from hsac.rules.curvature.delta_learned import DeltaLearned
from hsac.rules.curvature.learned import Learned
from hsac.rules.types import Gradient

F64 = torch.float64
THETA = torch.zeros(2, 3, dtype=F64)
W = torch.zeros(2, 4, dtype=F64)
LINE = torch.arange(12, dtype=F64)[:, None].expand(12, 2)  # a tree
ANGLE = torch.arange(12, dtype=F64) * math.pi / 6
CIRCLE = torch.stack([ANGLE.cos(), ANGLE.sin()], 1)


def measured(points, make_step, rule=None, total=10):
    """θ after training, and at which steps features were asked for."""
    rule, asked = rule or Delta(sample=12), []
    theta, state = THETA, rule.init(THETA)
    for index in range(total):

        def features(index=index):
            asked.append(index)
            return points

        step = replace(make_step(index, total, W, None), features=features)
        theta, state, log = rule.update(theta, state, step)
        assert log == {}
    return theta, asked


def test_measures_once_after_warm_up(make_step) -> None:
    """It measures once after warm up."""
    assert measured(torch.stack([CIRCLE, LINE]), make_step, Delta(sample=12, warm_up=0.3))[1] == [3]
    assert measured(torch.stack([CIRCLE, LINE]), make_step, Delta(sample=12, warm_up=0.0))[1] == [0]


def test_c_of_circle_and_tree(make_step) -> None:
    """The circle has its c, and a tree the upper bound."""
    theta, _ = measured(torch.stack([CIRCLE, LINE]), make_step)
    want = (0.144 / (2 - math.sqrt(2))) ** 2
    torch.testing.assert_close(theta.exp(), torch.tensor([[want] * 3, [5.0] * 3], dtype=F64))


def test_scale_of_features_is_ignored(make_step) -> None:
    """The scale of features does not matter."""
    points = torch.stack([CIRCLE, CIRCLE**3])
    torch.testing.assert_close(
        measured(points, make_step)[0], measured(1e-3 * points, make_step)[0]
    )


@pytest.mark.parametrize("fill", [float("nan"), float("inf"), 1.0])
def test_useless_features_leave_c(fill, make_step) -> None:
    """Features that say nothing leave c and the other run."""
    theta, _ = measured(torch.stack([CIRCLE, torch.full_like(CIRCLE, fill)]), make_step)
    torch.testing.assert_close(theta[0], measured(torch.stack([CIRCLE, CIRCLE]), make_step)[0][0])
    assert torch.equal(theta[1], THETA[1])


def test_enough_batches_are_drawn(make_step) -> None:
    """Batches are drawn until there are enough."""
    one = torch.stack([CIRCLE, CIRCLE])
    assert measured(one, make_step, Delta(sample=25))[1] == [1, 1, 1]
    assert measured(one, make_step, Delta(sample=5))[1] == [1]


@pytest.mark.parametrize(
    ("parameters", "key"), [({"sample": 3}, "sample"), ({"warm_up": 1.0}, "warm_up")]
)
def test_bad_parameters(parameters, key) -> None:
    with pytest.raises(InputError, match=f"mine.{key}: found"):
        build("curvature rule", "delta", parameters, "mine")


def test_delta_learned_measures_then_learns(make_step) -> None:
    """It is `delta` up to its measurement, and `learned` started there from the next step on."""
    points = torch.stack([CIRCLE, LINE])
    slopes = torch.randn(10, 2, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    rule, learned = DeltaLearned(sample=12, warm_up=0.3, lr=0.02), Learned(lr=0.02)
    theta, state = THETA, rule.init(THETA)
    want, _ = measured(points, make_step, Delta(sample=12, warm_up=0.3))
    moments = learned.init(want)
    for index in range(10):
        seen = Gradient(torch.zeros(2, dtype=F64), torch.zeros_like(W), slopes[index])
        step = replace(make_step(index, 10, W, None, gradient=seen), features=lambda: points)
        theta, state, log = rule.update(theta, state, step)
        assert log == {}
        if index < 3:
            assert torch.equal(theta, THETA)
        if index > 3:
            want, moments, _ = learned.update(want, moments, step)
        if index >= 3:
            assert torch.equal(theta, want)
    assert rule.needs_gradient


@pytest.mark.parametrize(
    ("parameters", "key"),
    [({"sample": 3}, "sample"), ({"warm_up": 1.0}, "warm_up"), ({"lr": 0.0}, "lr")],
)
def test_bad_parameters_of_delta_learned(parameters, key) -> None:
    with pytest.raises(InputError, match=f"mine.{key}: found"):
        build("curvature rule", "delta_learned", parameters, "mine")
