"""The curvature parameter: τ is inverted exactly at the start."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hsac.ball import Curvature, Transform
from hsac.ball.curvature import TRANSFORMS
from hsac.errors import InputError

BOUNDS = [(1e-3, 10.0), (0.005, 5.0), (1e-6, 100.0)]


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_a_tenth_is_a_tenth(kind: str) -> None:
    assert Curvature(0.1, kind)().item() == pytest.approx(0.1, rel=1e-15)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(TRANSFORMS), st.sampled_from(BOUNDS), st.floats(0, 1))
def test_start_is_exact_between_the_bounds(
    kind: str, bounds: tuple[float, float], share: float
) -> None:
    """Start value is exact between the bounds."""
    low, high = bounds
    c = min(max(low * (high / low) ** share, low), high)
    curvature = Curvature(c, kind, bounds)
    assert curvature().item() == pytest.approx(c, rel=1e-9, abs=2e-12 * high)
    assert curvature().shape == ()
    (g,) = torch.autograd.grad(curvature(), curvature.theta)
    assert g > 0


@pytest.mark.parametrize("kind", TRANSFORMS)
@pytest.mark.parametrize("c", [0.0, -1.0, 0.99e-3, 10.001, float("nan"), float("inf")])
def test_out_of_bounds(kind: str, c: float) -> None:
    with pytest.raises(InputError, match=r"curvature: found .*allowed is 0\.001 to 10"):
        Curvature(c, kind)


def test_bad_transform() -> None:
    with pytest.raises(InputError, match=r"'tanh'.*exp, softplus, sigmoid"):
        Transform("tanh")
    for bounds in ((0.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (1.0, float("inf")), (float("nan"), 1.0)):
        with pytest.raises(InputError, match="bounds"):
            Transform("exp", bounds)


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_clamp_keeps_c_in_its_bounds(kind: str) -> None:
    """Clamp keeps c in its bounds and leaves the inside alone."""
    transform = Transform(kind, (0.005, 5.0))
    theta = torch.tensor([-100.0, transform.inverse(0.3), 100.0], dtype=torch.float64)
    clamped = transform.clamp(theta)
    assert clamped[1] == theta[1]
    torch.testing.assert_close(
        transform(clamped), torch.tensor([0.005, 0.3, 5.0], dtype=torch.float64)
    )
    assert transform.clamp(torch.tensor(float("nan"))).isnan()  # divergence stays visible
