"""The series functions against mpmath: values and two derivatives, on both sides of the switch."""

import mpmath
import pytest
import torch
from torch import Tensor

from hsac.ball import series

EXACT = {
    "tanhc": lambda s: mpmath.tanh(mpmath.sqrt(s)) / mpmath.sqrt(s),
    "atanhc": lambda s: mpmath.atanh(mpmath.sqrt(s)) / mpmath.sqrt(s),
    "asinhc": lambda s: mpmath.asinh(mpmath.sqrt(s)) / mpmath.sqrt(s),
    "sinhc": lambda s: mpmath.sinh(mpmath.sqrt(s)) / mpmath.sqrt(s),
    "coshr": lambda s: mpmath.cosh(mpmath.sqrt(s)),
    "sinc": lambda s: mpmath.sin(mpmath.sqrt(s)) / mpmath.sqrt(s),
    "cosr": lambda s: mpmath.cos(mpmath.sqrt(s)),
    "asinc": lambda s: mpmath.asin(mpmath.sqrt(s)) / mpmath.sqrt(s),
}
SWITCH = series.NEAR_ZERO
NEAR = [
    1e-12,
    1e-4,
    SWITCH / 3,
    SWITCH * (1 - 1e-12),
    SWITCH,
    SWITCH * (1 + 1e-12),
    2 * SWITCH,
    0.3,
    0.9,
]


def _derivatives(f, s: Tensor) -> list[Tensor]:
    s = s.clone().requires_grad_()
    value = f(s)
    (first,) = torch.autograd.grad(value.sum(), s, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), s)
    return [value.detach(), first.detach(), second]


@pytest.mark.parametrize("name", EXACT)
def test_against_mpmath(name: str) -> None:
    found = _derivatives(getattr(series, name), torch.tensor(NEAR, dtype=torch.float64))
    with mpmath.workdps(60):

        def exact(s: float, order: int) -> float:
            return float(mpmath.diff(EXACT[name], mpmath.mpf(s), order, h=mpmath.mpf(10) ** -18))

        want = [[exact(s, order) for s in NEAR] for order in range(3)]
    for order, tolerance in enumerate((1e-14, 1e-12, 1e-10)):
        expected = torch.tensor(want[order], dtype=torch.float64)
        torch.testing.assert_close(found[order], expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", EXACT)
def test_continuous_across_the_switch(name: str) -> None:
    sides = torch.tensor([SWITCH * (1 - 1e-14), SWITCH * (1 + 1e-14)], dtype=torch.float64)
    for (below, above), tolerance in zip(
        _derivatives(getattr(series, name), sides), (1e-14, 1e-12, 1e-10), strict=True
    ):
        assert abs(above - below) < tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", EXACT)
def test_one_at_zero_with_finite_derivatives(name: str, dtype: torch.dtype) -> None:
    value, first, second = _derivatives(getattr(series, name), torch.zeros(1, dtype=dtype))
    slopes = {"tanhc": -1 / 3, "atanhc": 1 / 3, "asinhc": -1 / 6, "sinhc": 1 / 6, "coshr": 1 / 2}
    slopes |= {"sinc": -1 / 6, "cosr": -1 / 2, "asinc": 1 / 6}
    slope = slopes[name]
    assert value.item() == 1
    assert first.item() == pytest.approx(slope, rel=1e-6)
    assert second.isfinite().all()


@pytest.mark.parametrize("name", EXACT)
def test_second_derivatives_agree_in_every_mode(name: str) -> None:
    """Second derivatives in every mode and from a kept graph.

    A Hessian product of a kept graph, repeated, batched, forward over reverse and after another, is
    the same.
    """
    s = torch.tensor([1e-4, 0.3, 0.9], dtype=torch.float64, requires_grad=True)
    f = getattr(series, name)
    want = _derivatives(f, s.detach())[2]
    (first,) = torch.autograd.grad(f(s).sum(), s, create_graph=True)

    def product(v: Tensor, batched: bool = False) -> Tensor:
        return torch.autograd.grad(first, s, v, retain_graph=True, is_grads_batched=batched)[0]

    for factor in (1.0, 1.0, 2.0):
        torch.testing.assert_close(product(torch.eye(3, dtype=s.dtype), batched=True), want.diag())
        torch.testing.assert_close(product(torch.full_like(s, factor)), factor * want)
    torch.testing.assert_close(product(torch.ones_like(s)), want)
    torch.testing.assert_close(torch.func.hessian(lambda s: f(s).sum())(s.detach()), want.diag())
    (again,) = torch.autograd.grad(first.sum(), s, create_graph=True)
    third = torch.autograd.grad(again.sum(), s)[0]
    h = 1e-5
    ends = [_derivatives(f, s.detach() + d)[2] for d in (h, -h)]
    torch.testing.assert_close(third, (ends[0] - ends[1]) / (2 * h), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", EXACT)
def test_product_costs_one_operation(name: str) -> None:
    """A product costs one operation of a kept graph.

    What does not depend on the vector is computed once, not once a product.
    """
    s = torch.tensor([1e-4, 0.3, 0.9], dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(getattr(series, name)(s).sum(), s, create_graph=True)
    counts = []
    for _ in range(2):
        with torch.profiler.profile() as seen:
            torch.autograd.grad(first, s, torch.ones_like(s), retain_graph=True)
        counts.append(sum(e.count for e in seen.key_averages() if e.key.startswith("aten::")))
    assert counts[1] < counts[0] / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("s", [1 - 1e-9, 1.0, 1.0 + 1e-6, 2.0])
@pytest.mark.parametrize("f", [series.atanhc, series.asinc])
def test_finite_beyond_the_boundary(f, s: float, dtype: torch.dtype) -> None:
    """The inverse functions are finite at and beyond the boundary."""
    for derivative in _derivatives(f, torch.tensor([s], dtype=dtype)):
        assert derivative.isfinite().all()
