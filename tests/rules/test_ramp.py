"""Curvature on a given way."""

import math

import pytest
import torch

from hsac.errors import InputError
from hsac.parts import build
from hsac.rules.curvature.ramp import Ramp

F64 = torch.float64
START = torch.tensor([[0.3, 2.0], [0.05, 1.0]], dtype=F64).log()
W = torch.zeros(2, 4, dtype=F64)


def way(rule, make_step, total, theta=START):
    """θ before training and after each of its steps."""
    path, state = [theta], rule.init(theta)
    for index in range(total):
        theta, state, log = rule.update(theta, state, make_step(index, total, W, None))
        assert log == {}
        path.append(theta)
    return torch.stack(path)


def test_ramp_is_half_a_cosine(make_step) -> None:
    """A quarter of the way in θ after a third of training, half after half, all at the end."""
    path = way(Ramp(to=1.0), make_step, 6)
    left = torch.tensor([1, 0.75, 0.5, 0.25, 0], dtype=F64)[:, None, None]
    torch.testing.assert_close(path[[0, 2, 3, 4, 6]], left * START)
    assert not path[-1].any()


def test_ramp_rests_after_its_share(make_step) -> None:
    path = way(Ramp(to=0.5, share=0.5), make_step, 8)
    torch.testing.assert_close(path[2], (START + math.log(0.5)) / 2)
    assert torch.equal(path[4:], torch.full_like(path[4:], math.log(0.5)))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_ramp_to_its_start_rests(make_step, dtype) -> None:
    """Not a bit changes, whatever the curvature is."""
    for c in (0.005, 0.3, 1.0, 1.7, 5.0):
        start = torch.full((2, 5), math.log(c), dtype=dtype)
        path = way(Ramp(to=c), make_step, 7, start)
        assert torch.equal(path, start.expand_as(path))


def test_ramp_refuses_ends_out_of_bounds(make_step) -> None:
    with pytest.raises(InputError, match=r"found 7, allowed is 0\.005 to 5"):
        way(Ramp(to=7.0), make_step, 1)


@pytest.mark.parametrize(
    ("parameters", "key"),
    [({"to": 0.0}, "to"), ({"share": 0.0}, "share"), ({"share": 1.1}, "share")],
)
def test_bad_parameters(parameters, key) -> None:
    with pytest.raises(InputError, match=f"mine.{key}: found"):
        build("curvature rule", "ramp", parameters, "mine")
