"""Precision and shapes of the maps' inputs, and what traces them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hsac import ball
from hsac.ball.maps import safe_norm, squared_norm
from hsac.ball.tangent import midpoint_tangent
from hsac.errors import InputError

F32, F64 = torch.float32, torch.float64
HALF = (torch.float16, torch.bfloat16)
Map = Callable[..., Tensor]
# name -> function of two sets of points or vectors (4, 3) and c
MAPS: dict[str, Map] = {
    "clip_norm": lambda x, y, c: ball.clip_norm(x, 0.3),
    "conformal_factor": lambda x, y, c: ball.conformal_factor(x, c),
    "dist": ball.dist,
    "dist_tangent": ball.dist_tangent,
    "expmap": ball.expmap,
    "expmap0": lambda x, y, c: ball.expmap0(x, c),
    "logmap": ball.logmap,
    "logmap0": lambda x, y, c: ball.logmap0(x, c),
    "midpoint": lambda x, y, c: ball.midpoint(x, c),
    "mlr_logits": lambda x, y, c: ball.mlr_logits(x, y, y[:, 0], c),
    "mlr_logits_tangent": lambda x, y, c: ball.mlr_logits_tangent(x, y, y[:, 0], c),
    "mobius_add": ball.mobius_add,
    "mobius_scalar_mul": lambda x, y, c: ball.mobius_scalar_mul(y[..., :1], x, c),
    "pairwise_distance": ball.pairwise_distance,
    "pairwise_squared_distance": ball.pairwise_squared_distance,
    "pairwise_squared_distance_tangent": ball.pairwise_squared_distance_tangent,
    "project": lambda x, y, c: ball.project(4 * x, c),
    "squared_distance": ball.squared_distance,
}
# those that take one c for all of their points
COMMON = ("mlr_logits", "mlr_logits_tangent", "midpoint")


def _points(dtype: torch.dtype = F64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 3, generator=generator, dtype=F64)
    x = 0.5 * x / (1 + x.norm(dim=-1, keepdim=True))
    # of few bits, so that every type holds the same numbers
    return tuple(x.to(torch.bfloat16).to(torch.float16).to(dtype))


def test_every_map_is_here() -> None:
    assert {*MAPS, "Curvature", "Transform"} == set(ball.__all__)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", MAPS)
def test_half_input_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    """Bit for bit, with c in half precision, in float32 and in float64."""
    f, c = MAPS[name], torch.tensor(0.75)
    want = f(*_points(F32), c)
    for curvature in (c, c.to(dtype), c.double()):
        found = f(*_points(dtype), curvature)
        assert found.dtype == F32
        torch.testing.assert_close(found, want, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", MAPS)
def test_autocast_is_off_inside(name: str, dtype: torch.dtype) -> None:
    """Values and gradients under autocast are those without it."""
    results = []
    for enabled in (True, False):
        x, y = (p.requires_grad_() for p in _points(F32))
        c = torch.tensor(0.75, requires_grad=True)
        with torch.autocast("cpu", dtype, enabled=enabled):
            value = MAPS[name](x, y, c)
        gradients = torch.autograd.grad(value.sum(), (x, y, c), materialize_grads=True)
        results.append((value, *gradients))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("c", [1.0, 5.0, 10.0])
def test_logits_of_half_features(c: float, dtype: torch.dtype) -> None:
    """At the clip's norm they are those of float64, where sinh overflows in float16."""
    generator = torch.Generator().manual_seed(0)
    u = ball.clip_norm(10 * torch.randn(64, 4, generator=generator), 2.0).to(dtype)
    z, r = torch.randn(10, 4, generator=generator) / 4, torch.randn(10, generator=generator) / 10
    want = ball.mlr_logits_tangent(u.double(), z.double(), r.double(), torch.tensor(c, dtype=F64))
    with torch.autocast("cpu", dtype):
        found = ball.mlr_logits_tangent(u, z, r, ball.Curvature(c)())
    torch.testing.assert_close(found.double(), want, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("dtype", HALF)
def test_backward_under_autocast(dtype: torch.dtype) -> None:
    """The gradient of all pairs' distances has its own products, which stay in float32."""
    found = []
    for enabled in (True, False):
        x, y = (p.requires_grad_() for p in _points(F32))
        with torch.autocast("cpu", dtype, enabled=enabled):
            value = ball.pairwise_squared_distance(x, y, torch.tensor(0.75)).sum()
            found.append(torch.autograd.grad(value, (x, y)))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("dtype", HALF)
def test_half_norms_and_distances(dtype: torch.dtype) -> None:
    """Of a short vector, of equal points, and at the boundary."""
    x = torch.full((1, 4), 0.01).to(dtype)
    assert safe_norm(x).item() == pytest.approx(x.double().norm().item(), rel=1e-6)
    assert squared_norm(x).dtype == F32
    one = torch.ones((), dtype=dtype)
    assert ball.dist(x, x, one).item() == pytest.approx(0, abs=1e-8)
    far = ball.project(torch.full((1, 4), 3.0, dtype=dtype), one)
    assert far.norm().item() == pytest.approx(1 - 4e-3)
    assert torch.equal(ball.midpoint(torch.zeros(3, 2, dtype=dtype), one), torch.zeros(2))


def test_integers_are_points() -> None:
    """Whole numbers are taken as float32."""
    found = ball.project(torch.tensor([[3, 4]]), torch.tensor(1))
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8]]) * (1 - 4e-3))


@pytest.mark.parametrize("name", [name for name in MAPS if name != "clip_norm"])
def test_curvature_without_an_axis_is_refused(name: str) -> None:
    """A c of shape (n,) would be one of the coordinates' or mix the points."""
    for n in (3, 4):  # as many as coordinates, as many as points
        with pytest.raises(InputError, match=rf"c: found the shape \({n},\)"):
            MAPS[name](*_points(), torch.rand(n, dtype=F64))


@pytest.mark.parametrize("name", MAPS)
def test_curvature_of_each_point(name: str) -> None:
    """It is that of each point alone, or refused where points of several balls would meet."""
    (x, y), c = _points(), torch.tensor([[0.0], [0.3], [1.0], [2.0]], dtype=F64)
    if name.startswith("pairwise") or name in COMMON:
        with pytest.raises(InputError, match=r"c: found the shape \(4, 1\)"):
            MAPS[name](x, y, c)
        return
    want = [MAPS[name](x[i], y[i], c[i, 0]) for i in range(4)]
    torch.testing.assert_close(MAPS[name](x, y, c), torch.stack(want), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y, c: ball.midpoint(x, c),
        lambda x, y, c: midpoint_tangent(x * 50, c),
        ball.pairwise_distance,
        ball.pairwise_squared_distance,
        ball.pairwise_squared_distance_tangent,
        lambda x, y, c: ball.pairwise_squared_distance_tangent(x * 50, y * 50, c),
    ],
)
def test_curvature_of_each_set(f: Map) -> None:
    """With c (n, 1, 1), each set of points has its own, as with one set at a time."""
    x, y = (torch.stack((p, 0.5 * p, 0.3 * p, -p)) for p in _points())
    c = torch.tensor([0.5, 0.3, 1.0, 2.0], dtype=F64)
    found = f(x, y, c[:, None, None])
    want = torch.stack([f(x[i], y[i], c[i]) for i in range(4)])
    torch.testing.assert_close(found, want, rtol=1e-12, atol=1e-13)
    with pytest.raises(InputError, match=r"found the shape \(4, 1\)"):
        f(x, y, c[:, None])


def test_factor_and_radius_without_an_axis_are_refused() -> None:
    x, c = _points()[0], torch.tensor(1.0)
    for n in (3, 4):
        with pytest.raises(InputError, match=r"^r: found the shape"):
            ball.mobius_scalar_mul(torch.rand(n), x, c)
        with pytest.raises(InputError, match=r"^radius: found the shape"):
            ball.clip_norm(x, torch.rand(n))


@pytest.mark.parametrize("f", [ball.mobius_add, ball.dist, ball.expmap, ball.logmap])
def test_points_of_unequal_dimension_are_refused(f: Map) -> None:
    """A point of one coordinate would be taken as one with that coordinate everywhere."""
    with pytest.raises(InputError, match=r"points: found the shapes"):
        f(_points()[0], torch.rand(4, 1, dtype=F64), torch.tensor(1.0))


@pytest.mark.parametrize("name", MAPS)
def test_compiles_as_one_graph(name: str) -> None:
    """`fullgraph=True` traces every map, with the value and the gradients of the map itself."""
    torch._dynamo.reset()
    compiled = torch.compile(MAPS[name], fullgraph=True, backend="aot_eager")
    found = []
    for f in (compiled, MAPS[name]):
        leaves = [p.requires_grad_() for p in _points()]
        leaves.append(torch.tensor(0.75, dtype=F64, requires_grad=True))
        value = f(*leaves)
        gradients = torch.autograd.grad(value.sin().sum(), leaves, materialize_grads=True)
        found.append((value, *gradients))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-11)


def test_compiled_map_serves_long_vectors() -> None:
    """What was traced on short vectors is right for long ones, and at c = 0."""
    torch._dynamo.reset()
    for name in ("mlr_logits_tangent", "dist_tangent"):
        compiled = torch.compile(MAPS[name], fullgraph=True, backend="aot_eager")
        x, y = _points(F32)
        for scale, c in ((1.0, 0.75), (200.0, 0.75), (1.0, 0.0)):
            curvature = torch.tensor(c)
            want = MAPS[name](scale * x, y, curvature)
            assert want.isfinite().all()
            torch.testing.assert_close(compiled(scale * x, y, curvature), want)


@pytest.mark.parametrize("name", MAPS)
def test_forward_over_forward_derivatives(name: str) -> None:
    """Two forward derivatives, of jvp and of jacfwd, are those of reverse mode. They were 0."""
    x, y = _points()

    def total(t: Tensor) -> Tensor:
        return MAPS[name](x * t, y * t, 0.75 * t).sin().sum()

    def along(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda t: torch.func.jvp(f, (t,), (torch.ones_like(t),))[1]

    one = torch.tensor(1.0, dtype=F64)
    grad, jacfwd = torch.func.grad, torch.func.jacfwd
    want = grad(grad(total))(one)
    assert want.abs() > 1e-6
    for second in (along(along(total)), jacfwd(jacfwd(total)), jacfwd(grad(total))):
        torch.testing.assert_close(second(one), want, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(grad(along(total))(one), want, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(
        along(along(along(total)))(one), grad(grad(grad(total)))(one), rtol=1e-8, atol=1e-9
    )
    batch = torch.func.vmap(along(along(total)))(torch.stack((one, one)))
    torch.testing.assert_close(batch, torch.stack((want, want)), rtol=1e-9, atol=1e-11)
