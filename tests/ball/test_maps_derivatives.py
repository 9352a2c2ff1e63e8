"""Second derivatives in (points, c) where they break first, vmap, limits, and the maps' laws."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from hsac import ball
from hsac.ball.maps import BOUNDARY

F64 = torch.float64
Map = Callable[[Tensor, Tensor, Tensor], Tensor]
MAPS: dict[str, Map] = {  # functions of two points (n, d) and c
    "mobius_add": ball.mobius_add,
    "mobius_scalar_mul": lambda x, y, c: ball.mobius_scalar_mul(y[..., :1], x, c),
    "exp0": lambda x, y, c: ball.expmap0(x, c),
    "log0": lambda x, y, c: ball.logmap0(x, c),
    "exp": ball.expmap,
    "log": ball.logmap,
    "squared_distance": ball.squared_distance,
    "distance": ball.dist,
    "conformal_factor": lambda x, y, c: ball.conformal_factor(x, c),
    "project": lambda x, y, c: ball.project(x, c),
    "midpoint": lambda x, y, c: ball.midpoint(torch.stack((x, y), -2), c),
    "mlr_logits": lambda x, y, c: ball.mlr_logits(x, y, y[:, 0], c),
    "mlr_logits_tangent": lambda x, y, c: ball.mlr_logits_tangent(x, y, y[:, 0], c),
}
X = torch.tensor([[0.21, -0.34], [-0.11, 0.05]], dtype=F64)
Y = torch.tensor([[-0.13, 0.27], [0.31, 0.12]], dtype=F64)


def _edge(c: float) -> Tensor:
    """Points at the share of the radius to which `project` pulls in float32."""
    return torch.nn.functional.normalize(X, dim=-1) * (1 - BOUNDARY[torch.float32]) / c**0.5


def _check(
    name: str, x: Tensor, y: Tensor, c: float, tolerance: float = 1e-4, **steps: float
) -> None:
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    curvature = torch.tensor(c, dtype=F64, requires_grad=True)
    arguments = {"rtol": tolerance, "atol": 1e-5, **steps}
    assert gradcheck(MAPS[name], (x, y, curvature), **arguments)
    assert gradgradcheck(MAPS[name], (x, y, curvature), **arguments)


@pytest.mark.parametrize("c", [1e-4, 0.09, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("name", MAPS)
def test_twice_differentiable(name: str, c: float) -> None:
    _check(name, X, Y, c)


@pytest.mark.parametrize("c", [0.0, 1e-8])
@pytest.mark.parametrize("name", MAPS)
def test_twice_differentiable_at_zero_curvature(name: str, c: float) -> None:
    # finite differences cross c < 0 here, where the series are still analytic
    _check(name, X, Y, c)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("c", [0.0, 1.0])
def test_twice_differentiable_at_the_origin(name: str, c: float) -> None:
    _check(name, torch.zeros_like(X), Y, c)


@pytest.mark.parametrize("c", [0.0, 1.0, 3.0])
def test_squared_distance_smooth_at_equal_points(c: float) -> None:
    """Squared distance twice differentiable at equal points."""
    _check("squared_distance", X, X, c)


@pytest.mark.parametrize(
    "name", ["mobius_add", "log0", "squared_distance", "conformal_factor", "mlr_logits"]
)
def test_twice_differentiable_near_the_boundary(name: str) -> None:
    # derivatives grow as powers of 1/(1 - c|x|²) = 126: smaller steps, absolute errors in
    # proportion
    _check(name, _edge(1.0), Y, 1.0, tolerance=1e-3, eps=1e-7, atol=1.0)


@pytest.mark.parametrize("name", ["exp0", "exp", "mlr_logits_tangent"])
def test_twice_differentiable_for_long_tangent_vectors(name: str) -> None:
    if name == "exp":
        _check(name, Y, X * 5, 2.0)
    else:
        _check(name, X * 5, Y, 2.0)


def test_distance_gradient_finite_at_equal_points() -> None:
    """Distance has a finite gradient at equal points."""
    for dtype in (torch.float32, F64):
        x = X.to(dtype).requires_grad_()
        (g,) = torch.autograd.grad(
            ball.dist(x, X.to(dtype), torch.tensor(1.0, dtype=dtype)).sum(), x
        )
        assert g.isfinite().all()


@pytest.mark.parametrize("name", MAPS)
def test_continuous_at_zero_curvature(name: str) -> None:
    at = [MAPS[name](X, Y, torch.tensor(c, dtype=F64)) for c in (0.0, 1e-8)]
    torch.testing.assert_close(at[1], at[0], rtol=1e-6, atol=1e-7)


def test_flat_limits() -> None:
    zero = torch.tensor(0.0, dtype=F64)
    for found, want in (
        (ball.expmap0(X, zero), X),
        (ball.logmap0(X, zero), X),
        (ball.mobius_add(X, Y, zero), X + Y),
        (ball.expmap(X, Y, zero), X + Y),
        (ball.logmap(X, Y, zero), Y - X),
        (ball.squared_distance(X, Y, zero), 4 * (X - Y).square().sum(-1)),
        (ball.dist(X, Y, zero), 2 * (X - Y).norm(dim=-1)),
        (ball.mobius_scalar_mul(torch.tensor(2.5), X, zero), 2.5 * X),
    ):
        torch.testing.assert_close(found, want, rtol=1e-14, atol=1e-14)


def test_flat_mlr_is_linear() -> None:
    zero, r = torch.tensor(0.0, dtype=F64), torch.tensor([0.3, -1.2], dtype=F64)
    want = 4 * (X @ Y.mT - r * Y.norm(dim=-1))
    torch.testing.assert_close(ball.mlr_logits(X, Y, r, zero), want)
    torch.testing.assert_close(ball.mlr_logits_tangent(X, Y, r, zero), want)


@pytest.mark.parametrize("c", [0.0, 1e-9, 1e-3, 0.3, 1.0, 5.0])
def test_tangent_mlr_is_mlr_of_points(c: float) -> None:
    """The MLR of tangent features is the MLR of their points."""
    curvature, r = torch.tensor(c, dtype=F64), torch.tensor([0.4, -0.7], dtype=F64)
    u = torch.cat((3 * X, torch.zeros(1, 2, dtype=F64)))
    want = ball.mlr_logits(ball.expmap0(u, curvature), Y, r, curvature)
    torch.testing.assert_close(
        ball.mlr_logits_tangent(u, Y, r, curvature), want, rtol=1e-10, atol=1e-12
    )


def test_mlr_changes_sign_at_its_hyperplane() -> None:
    """The MLR is zero on its hyperplane and positive beyond."""
    c, z, r = torch.tensor(0.8, dtype=F64), Y[:1], torch.tensor([0.6], dtype=F64)
    foot = ball.expmap0(r[:, None] * z / z.norm(), c)
    torch.testing.assert_close(
        ball.mlr_logits(foot, z, r, c), torch.zeros(1, 1, dtype=F64), atol=1e-14, rtol=0
    )
    assert ball.mlr_logits(ball.mobius_add(foot, 0.1 * z, c), z, r, c).item() > 0


@pytest.mark.parametrize("name", MAPS)
def test_vmap_over_points_and_curvature(name: str) -> None:
    f = MAPS[name]
    c = torch.tensor([0.0, 1e-6, 0.3, 2.0], dtype=F64)
    x, y = (torch.stack([p * s for s in (0.0, 0.01, 0.7, 1.0)]) for p in (X, Y))
    y = y + 0.01
    want = torch.stack([f(x[i], y[i], c[i]) for i in range(4)])
    torch.testing.assert_close(torch.func.vmap(f)(x, y, c), want, rtol=1e-12, atol=1e-14)
    want = torch.stack([f(X, Y, k) for k in c])
    torch.testing.assert_close(
        torch.func.vmap(f, (None, None, 0))(X, Y, c), want, rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("name", MAPS)
def test_second_derivatives_pass_vmap(name: str) -> None:
    """Second derivatives under vmap are those of one curvature at a time.

    ∂²/∂c² of a bundle of curvatures as one program equals one at a time.
    """

    def second(c: Tensor) -> Tensor:
        return torch.func.grad(torch.func.grad(lambda k: MAPS[name](X, Y, k).sum()))(c)

    c = torch.tensor([0.0, 1e-5, 0.5, 2.0], dtype=F64)
    torch.testing.assert_close(
        torch.func.vmap(second)(c), torch.stack([second(k) for k in c]), rtol=1e-9, atol=1e-12
    )


curvatures = st.one_of(st.just(0.0), st.floats(1e-12, 5))
vectors = st.lists(st.floats(-1, 1), min_size=3, max_size=3).map(
    lambda v: torch.tensor(v, dtype=F64)
)


@settings(max_examples=60, deadline=None)
@given(vectors, vectors, curvatures)
def test_inverse_pairs(u: Tensor, v: Tensor, c: float) -> None:
    curvature = torch.tensor(c, dtype=F64)
    x = ball.expmap0(u, curvature)
    torch.testing.assert_close(ball.logmap0(x, curvature), u, rtol=1e-7, atol=1e-9)
    y = ball.expmap0(v, curvature)
    torch.testing.assert_close(
        ball.expmap(x, ball.logmap(x, y, curvature), curvature), y, rtol=1e-6, atol=1e-7
    )
    torch.testing.assert_close(
        ball.mobius_add(-x, ball.mobius_add(x, y, curvature), curvature), y, rtol=1e-6, atol=1e-7
    )


@settings(max_examples=60, deadline=None)
@given(vectors, vectors, curvatures, st.floats(-2, 2), st.floats(-2, 2))
def test_laws(u: Tensor, v: Tensor, c: float, a: float, b: float) -> None:
    k = torch.tensor(c, dtype=F64)
    x, y = ball.expmap0(0.3 * u, k), ball.expmap0(0.3 * v, k)

    def times(r: float, p: Tensor) -> Tensor:
        return ball.mobius_scalar_mul(torch.tensor(r, dtype=F64), p, k)

    torch.testing.assert_close(times(a, times(b, x)), times(a * b, x), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(
        ball.mobius_add(times(a, x), times(b, x), k), times(a + b, x), rtol=1e-6, atol=1e-8
    )
    torch.testing.assert_close(ball.dist(x, y, k), ball.dist(y, x, k))
    torch.testing.assert_close(
        ball.dist(torch.zeros_like(x), x, k), 2 * ball.logmap0(x, k).norm(), rtol=1e-8, atol=1e-12
    )
    tangent = ball.logmap(x, y, k)
    length = (ball.conformal_factor(x, k) * tangent).norm()
    torch.testing.assert_close(length, ball.dist(x, y, k), rtol=1e-6, atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=2), st.floats(1e-3, 10))
def test_clip_norm(u: list[float], radius: float) -> None:
    x = torch.tensor(u, dtype=F64)
    found = ball.clip_norm(x, radius)
    assert found.norm() <= radius * (1 + 1e-12)
    if x.norm() < radius:
        assert torch.equal(found, x)


def test_clip_norm_has_derivatives_at_zero() -> None:
    for dtype in (torch.float32, F64):
        x = torch.zeros(3, dtype=dtype, requires_grad=True)
        (g,) = torch.autograd.grad(
            (ball.clip_norm(x, 1.0) * torch.arange(1.0, 4).to(dtype)).sum(), x, create_graph=True
        )
        torch.testing.assert_close(g, torch.arange(1.0, 4).to(dtype))
        (h,) = torch.autograd.grad(g.sum(), x, allow_unused=True)
        assert h is None or torch.equal(h, torch.zeros_like(x))


@pytest.mark.parametrize("c", [0.0, 1e-15, 1e-6, 1e-3, 1.0, 10.0])
def test_float32_finite_at_the_extremes(c: float) -> None:
    """Float32 has no nan at the extremes.

    Values, gradients and second derivatives of what models compose, from 0 and denormals to the
    clip at 2.
    """
    radii = torch.tensor([0.0, 1e-30, 1e-10, 1e-4, 0.1, 1.0, 2.0])
    u0 = radii[:, None] * torch.tensor([[0.6, -0.8]])

    def composed(u: Tensor, k: Tensor) -> dict[str, Tensor]:
        x = ball.project(ball.expmap0(u, k), k)
        r = torch.linspace(-1, 1, 7)
        return {
            "log0": ball.logmap0(x, k),
            "exp": ball.project(ball.expmap(x, u, k), k),
            "log": ball.logmap(x, x.flip(0), k),
            "squared_distance": ball.squared_distance(x[:, None], x[None], k),
            "midpoint": ball.midpoint(x[:, None] * torch.tensor([0.2, 0.5, 1.0])[:, None], k),
            "mlr_logits": ball.mlr_logits(x, u + 0.1, r, k),
            "mlr_logits_tangent": ball.mlr_logits_tangent(ball.clip_norm(u, 2.0), u + 0.1, r, k),
        }

    for name in composed(u0, torch.tensor(c)):
        u, k = u0.clone().requires_grad_(), torch.tensor(c, requires_grad=True)
        value = composed(u, k)[name]
        assert value.isfinite().all(), name
        first = torch.autograd.grad(value.sum(), (u, k), create_graph=True)
        assert all(g.isfinite().all() for g in first), f"{name}: gradient"
        second = torch.autograd.grad(sum(g.sum() for g in first), (u, k))
        assert all(not g.isnan().any() for g in second), f"{name}: second derivative"
