"""The rule `hsac_steady`: when c rests, and how far it goes."""

import math
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from hsac.errors import InputError
from hsac.rules.curvature.hsac import Hsac
from hsac.rules.curvature.hsac_steady import HsacSteady

F64 = torch.float64
THETA = torch.tensor([[0.3, -0.2]], dtype=F64)
W = torch.zeros(1, 5, dtype=F64)


def path(rule: Hsac | HsacSteady, make_step, slopes: Iterable[Tensor]) -> Tensor:
    """θ (K + 1, C) along outer steps whose hypergradients (C,) are given."""
    theta, state, found = THETA, rule.init(THETA), [THETA[0]]
    for index, slope in enumerate(slopes):
        upper = lambda w, theta, slope=slope: (slope * theta).sum(-1) + 0 * w.sum(-1)  # noqa: E731
        lower = lambda w, theta: 0.5 * w.square().sum(-1) + 0 * theta.sum(-1)  # noqa: E731
        theta, state, log = rule.update(theta, state, make_step(index, 1000, W, upper, lower))
        assert log
        found.append(theta[0])
    return torch.stack(found)


def steady(**parameters: float) -> HsacSteady:
    return HsacSteady(period=1, warm_up=0.0, **parameters)


def test_noise_leaves_c_at_rest(make_step) -> None:
    """Hypergradients that are noise leave c at rest.

    Where the hypergradients are noise `hsac` walks on, and a known sign is claimed rarely: in 5 %
    of the steps.
    """
    slopes = torch.randn(400, 2, generator=torch.Generator().manual_seed(0), dtype=F64) / 10
    walked, rested = (
        path(r, make_step, slopes).diff(dim=0) for r in (Hsac(period=1, warm_up=0.0), steady())
    )
    assert (walked != 0).all()
    assert (rested != 0).double().mean() < 0.1
    assert rested.abs().sum() < 0.3 * walked.abs().sum()


def test_agreeing_signs_move_c(make_step) -> None:
    """Four alike are too few for two standard errors, five are enough for a step of Adam's."""
    found = path(steady(), make_step, torch.full((8, 2), 0.1, dtype=F64)).diff(dim=0)
    assert (found[:4] == 0).all()
    torch.testing.assert_close(found[4:], torch.full((4, 2), -0.25, dtype=F64), rtol=1e-6, atol=0)


@pytest.mark.parametrize("slope", [0.013, 0.1, 0.7])
def test_one_step_knows_no_sign(make_step, slope: float) -> None:
    """The first mean is as large as its standard error, whatever rounding makes of the two."""
    found = path(steady(threshold=1.0), make_step, torch.full((2, 2), slope, dtype=F64)).diff(dim=0)
    assert (found[0] == 0).all()
    assert (found[1] != 0).all()


def test_each_curvature_has_its_threshold(make_step) -> None:
    """One whose sign changes every time rests while the other goes."""
    slopes = torch.stack([torch.full((20,), 0.1), 0.1 * (-1.0) ** torch.arange(20)], -1).double()
    found = path(steady(), make_step, slopes).diff(dim=0)
    assert (found[5:, 0] != 0).all()
    assert (found[:, 1] == 0).all()


@pytest.mark.parametrize("size", [0.01, 0.1, 10.0])
def test_epsilon_makes_steps_proportional(make_step, size: float) -> None:
    """A step along alike hypergradients g is step·g/(g + epsilon), with |g| clipped at 1."""
    found = path(
        steady(threshold=0.0, epsilon=0.1), make_step, torch.full((3, 2), size, dtype=F64)
    ).diff(dim=0)
    bounded = min(size, 1 / math.sqrt(2))
    want = torch.full((3, 2), -0.25 * bounded / (bounded + 0.1), dtype=F64)
    torch.testing.assert_close(found, want, rtol=1e-6, atol=0)


@pytest.mark.parametrize("parameters", [{"threshold": 0.0}, {"threshold": 0.0, "epsilon": 0.0}])
def test_without_remedies_it_is_hsac(make_step, parameters: dict[str, float]) -> None:
    slopes = torch.randn(20, 2, generator=torch.Generator().manual_seed(1), dtype=F64)
    found = path(steady(**parameters), make_step, slopes)
    assert torch.equal(found, path(Hsac(period=1, warm_up=0.0), make_step, slopes))


def test_unusable_hypergradients_leave_c(make_step) -> None:
    slopes = torch.tensor([[math.inf, math.inf], [0.1, 0.1]], dtype=F64)
    found = path(steady(threshold=0.0, epsilon=0.1), make_step, slopes)
    assert torch.equal(found[1], THETA[0])
    assert found.isfinite().all()


@pytest.mark.parametrize(
    "parameters", [{"threshold": -1.0}, {"epsilon": math.inf}, {"period": 0}, {"step": 0.0}]
)
def test_bad_parameters_are_refused(parameters: dict[str, float]) -> None:
    (name,) = parameters
    with pytest.raises(InputError, match=name):
        HsacSteady(**parameters)  # type: ignore[arg-type]
