"""geoopt is the oracle of the ball's maps: values and first derivatives, in the points and in c."""

from collections.abc import Callable

import geoopt.manifolds.stereographic.math as oracle
import pytest
import torch
from torch import Tensor

from hsac import ball

CURVATURES = (1e-15, 1e-10, 1e-6, 1e-3, 0.1, 1.0, 3.0)
Map = Callable[[Tensor, Tensor, Tensor], Tensor]

# name -> (ours, geoopt's), functions of two points and c; the second point serves as tangent vector
# where one is meant
PAIRS: dict[str, tuple[Map, Map]] = {
    "mobius_add": (ball.mobius_add, lambda x, y, c: oracle.mobius_add(x, y, k=-c)),
    "mobius_scalar_mul": (
        lambda x, y, c: ball.mobius_scalar_mul(y[..., :1], x, c),
        lambda x, y, c: oracle.mobius_scalar_mul(y[..., :1], x, k=-c),
    ),
    "exp0": (lambda x, y, c: ball.expmap0(x, c), lambda x, y, c: oracle.expmap0(x, k=-c)),
    "log0": (lambda x, y, c: ball.logmap0(x, c), lambda x, y, c: oracle.logmap0(x, k=-c)),
    "exp": (ball.expmap, lambda x, y, c: oracle.expmap(x, y, k=-c)),
    "log": (ball.logmap, lambda x, y, c: oracle.logmap(x, y, k=-c)),
    "distance": (ball.dist, lambda x, y, c: oracle.dist(x, y, k=-c)),
    "squared_distance": (ball.squared_distance, lambda x, y, c: oracle.dist(x, y, k=-c) ** 2),
    "conformal_factor": (
        lambda x, y, c: ball.conformal_factor(x, c),
        lambda x, y, c: oracle.lambda_x(x, k=-c, keepdim=True),
    ),
    "mlr_logits": (
        lambda x, y, c: ball.mlr_logits(x, y, y[:, 0], c),
        lambda x, y, c: (
            2
            * y.norm(dim=-1)
            * oracle.dist2plane(
                x[:, None],
                oracle.expmap0(y * (y[:, :1] / y.norm(dim=-1, keepdim=True)), k=-c),
                y,
                k=-c,
                signed=True,
            )
        ),
    ),
}


def oracle_error(c: float, power: float) -> float:
    """How far geoopt itself is off in float64.

    It divides by √c what it subtracted, and by c√c in a derivative.
    """
    return 1e-12 + 1e-15 / max(c, 1e-11) ** power


def points(dtype: torch.dtype, share: float = 0.6) -> tuple[Tensor, Tensor]:
    """Two sets of points, inside the ball of every curvature of the sweep: (7, 3)."""
    g = torch.Generator().manual_seed(3)
    x = torch.nn.functional.normalize(
        torch.randn(2, 7, 3, generator=g, dtype=torch.float64), dim=-1
    )
    x = x * torch.linspace(0.05, share / 3**0.5, 7, dtype=torch.float64)[:, None]
    return x[0].to(dtype), x[1].to(dtype)


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PAIRS)
def test_values(name: str, dtype: torch.dtype, c: float) -> None:
    ours, theirs = PAIRS[name]
    x, y = points(torch.float64)
    want = theirs(x, y, torch.tensor(c, dtype=torch.float64))
    found = ours(x.to(dtype), y.to(dtype), torch.tensor(c, dtype=dtype))
    assert found.dtype == dtype
    tolerance = 2e-6 if dtype == torch.float32 else oracle_error(c, 0.5)
    torch.testing.assert_close(found.double(), want, rtol=10 * tolerance, atol=tolerance)


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("name", PAIRS)
def test_first_derivatives(name: str, c: float) -> None:
    grads = []
    for f in PAIRS[name]:
        x, y = (p.requires_grad_() for p in points(torch.float64))
        curvature = torch.tensor(c, dtype=torch.float64, requires_grad=True)
        total = _weighted(f(x, y, curvature))
        inputs = (x, y, curvature)
        grads.append(torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True))
    (x, y, curvature), want = grads
    # geoopt's own derivative in c cancels near 0, but its maps go on through 0 to the sphere
    if c < 1e-5:
        theirs, (p, q) = PAIRS[name][1], points(torch.float64)
        h = torch.tensor(1e-4, dtype=torch.float64)
        beside = (_weighted(theirs(p, q, c + h)) - _weighted(theirs(p, q, c - h))) / (2 * h)
        torch.testing.assert_close(curvature, beside, rtol=1e-5, atol=1e-7)
    else:
        torch.testing.assert_close(curvature, want[2], rtol=1e-9, atol=oracle_error(c, 1.5))
    torch.testing.assert_close((x, y), want[:2], rtol=1e-7, atol=10 * oracle_error(c, 0.5))


def _weighted(value: Tensor) -> Tensor:
    weights = torch.linspace(0.5, 1.5, value.numel(), dtype=torch.float64).view_as(value)
    return (weights * value).sum()


@pytest.mark.parametrize("c", [1e-6, 0.1, 1.0, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_midpoint(dtype: torch.dtype, c: float) -> None:
    x, _ = points(dtype)
    curvature = torch.tensor(c, dtype=dtype)
    want = oracle.weighted_midpoint(x.double(), k=-curvature.double(), reducedim=[0], dim=-1)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(
        ball.midpoint(x, curvature).double(), want, rtol=10 * tolerance, atol=tolerance
    )


def test_midpoint_derivatives() -> None:
    grads = []
    for f in (ball.midpoint, lambda x, c: oracle.weighted_midpoint(x, k=-c, reducedim=[0], dim=-1)):
        x, _ = points(torch.float64)
        x, c = x.requires_grad_(), torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
        grads.append(torch.autograd.grad((f(x, c) * torch.tensor([1.0, 2.0, 3.0])).sum(), (x, c)))
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-9, atol=1e-11)


def test_midpoint_of_one_and_when_flat() -> None:
    """Midpoint of one point is the point and at zero curvature the mean."""
    x, _ = points(torch.float64)
    torch.testing.assert_close(ball.midpoint(x[:, None], torch.tensor(1.3, dtype=torch.float64)), x)
    torch.testing.assert_close(ball.midpoint(x, torch.tensor(0.0, dtype=torch.float64)), x.mean(0))


@pytest.mark.parametrize("c", [1e-15, 0.1, 1.0, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_project(dtype: torch.dtype, c: float) -> None:
    g = torch.Generator().manual_seed(0)
    directions = torch.randn(50, 4, generator=g, dtype=torch.float64).to(dtype)
    x = directions * torch.logspace(-3, 3, 50).to(dtype)[:, None]
    curvature = torch.tensor(c, dtype=dtype)
    found = ball.project(x, curvature)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    want = oracle.project(x, k=-curvature)
    torch.testing.assert_close(found, want, rtol=tolerance, atol=tolerance)
    assert ((curvature * found.square().sum(-1)) < 1).all()
    torch.testing.assert_close(ball.project(found, curvature), found, rtol=tolerance, atol=0)
    inside = curvature * x.square().sum(-1) < 0.9
    assert torch.equal(found[inside], x[inside])
