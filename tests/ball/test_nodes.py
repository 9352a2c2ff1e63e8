"""The maps' custom graph nodes against the plain operations that they stand for."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from hsac import ball
from hsac.ball.arsinh import arsinh
from hsac.ball.pairwise import squared_differences
from hsac.ball.series import asinhc

F64 = torch.float64
T = torch.tensor([[-3.0, -0.2, 0.0], [1e-6, 0.4, 20.0]], dtype=F64)
X = torch.tensor([[0.21, -0.34], [-0.11, 0.05], [0.0, 0.0]], dtype=F64)
Y = torch.tensor([[-0.13, 0.27], [0.21, -0.34]], dtype=F64)


def plain_arsinh(t: Tensor, c: Tensor) -> Tensor:
    return t * asinhc(c * t * t)


def plain_differences(x: Tensor, y: Tensor) -> Tensor:
    return (x[..., :, None, :] - y[..., None, :, :]).square().sum(-1)


def derivatives(f: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
    """The value, the gradients, and the gradients of a weighted sum of these."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    value = f(*leaves)
    weights = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).view_as(value)
    first = torch.autograd.grad((value * weights).sum(), leaves, create_graph=True)
    second = torch.autograd.grad(sum((g * g).sum() for g in first), leaves)
    return value, *first, *second


@pytest.mark.parametrize(("dtype", "tolerance"), [(F64, 1e-11), (torch.float32, 1e-4)])
@pytest.mark.parametrize("c", [0.0, 1e-12, 1e-6, 1e-3, 0.3, 3.0])
def test_arsinh_equals_the_plain_version(c: float, dtype: torch.dtype, tolerance: float) -> None:
    t = T.clamp(max=3.0)
    found = derivatives(arsinh, t.to(dtype), torch.tensor(c, dtype=dtype))
    want = derivatives(plain_arsinh, t, torch.tensor(c, dtype=F64))
    for a, b in zip(found, want, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("c", [0.0, 0.3])
def test_arsinh_twice_differentiable(c: float) -> None:
    inputs = (T.clamp(max=3.0).requires_grad_(), torch.tensor(c, dtype=F64, requires_grad=True))
    assert gradcheck(arsinh, inputs, atol=1e-5, rtol=1e-4, check_forward_ad=True)
    assert gradgradcheck(arsinh, inputs, atol=1e-5, rtol=1e-4)


def test_arsinh_under_vmap_over_curvatures() -> None:
    """Arsinh of runs each with its curvature."""
    c = torch.tensor([0.0, 0.3, 2.0], dtype=F64)
    want = torch.stack([plain_arsinh(T, one) for one in c])
    torch.testing.assert_close(torch.func.vmap(arsinh, (None, 0))(T, c), want)
    torch.testing.assert_close(torch.func.vmap(arsinh, (0, None))(T, c[1]), plain_arsinh(T, c[1]))


def test_squared_differences_equal_the_plain_version() -> None:
    for a, b in zip(
        derivatives(squared_differences, X, Y), derivatives(plain_differences, X, Y), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-14)
    assert gradcheck(
        squared_differences, (X.requires_grad_(), Y.requires_grad_()), check_forward_ad=True
    )
    x = torch.stack((X, 2 * X)).detach()
    want = torch.stack([plain_differences(part, Y) for part in x])
    torch.testing.assert_close(torch.func.vmap(squared_differences, (0, None))(x, Y), want)


def test_near_points_do_not_cancel() -> None:
    x = torch.tensor([[0.5, 0.5]])
    assert squared_differences(x, x + 2**-20).item() == pytest.approx(2 * 2.0**-40, rel=1e-5)


@pytest.mark.parametrize("c", [0.0, 0.5])
def test_pairwise_distances_are_of_the_pairs(c: float) -> None:
    """Pairwise distances are those of the pairs."""
    k, x, y = torch.tensor(c, dtype=F64), X.detach(), Y.detach() + 0.01
    for pairwise, one in (
        (ball.pairwise_squared_distance, ball.squared_distance),
        (ball.pairwise_distance, ball.dist),
    ):
        found = derivatives(pairwise, x, y, k)
        want = derivatives(lambda x, y, k, one=one: one(x[:, None], y[None], k), x, y, k)
        for a, b in zip(found, want, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
