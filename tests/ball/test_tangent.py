"""Long tangent vectors in float32 and float64, against mpmath with 800 digits."""

import mpmath
import pytest
import torch
from torch import Tensor

from hsac import ball
from hsac.ball import inputs, maps, tangent
from hsac.models.conv4_protonet import Conv4Protonet
from hsac.models.heads.poincare_mlr import PoincareMlr
from hsac.models.heads.prototypes import Prototypes

F32, F64 = torch.float32, torch.float64
CURVATURES = (1e-3, 0.1, 1.0, 5.0, 10.0)
# of a tangent vector, in units of 1/√c: the first are short, and float32 overflows from 22 on
LENGTHS = (0.5, 3.0, 12.0, 25.0, 60.0, 150.0)
Numbers = list[mpmath.mpf]


@pytest.fixture(autouse=True)
def _digits():
    with mpmath.workdps(800):
        yield


def _mp(x: Tensor) -> Numbers:
    return [mpmath.mpf(a) for a in x.tolist()]


def _norm(u: Numbers) -> mpmath.mpf:
    return mpmath.sqrt(mpmath.fsum(a * a for a in u))


def _logit(u: Numbers, z: Numbers, r: mpmath.mpf, c: mpmath.mpf) -> mpmath.mpf:
    """Shimizu et al. 2021, eq. 6, at x = expmap0(u)."""
    root, size = mpmath.sqrt(c), _norm(z)
    length = 2 * root * _norm(u)
    inner = mpmath.fdot(u, z) / (_norm(u) * size)
    turned = mpmath.sinh(length) * inner * mpmath.cosh(2 * root * r)
    return 2 * size / root * mpmath.asinh(turned - mpmath.sinh(2 * root * r) * mpmath.cosh(length))


def _distance(u: Numbers, v: Numbers, c: mpmath.mpf) -> mpmath.mpf:
    """2/√c artanh(√c|-x ⊕ y|) by the law of cosines."""
    root = mpmath.sqrt(c)
    a, b = 2 * root * _norm(u), 2 * root * _norm(v)
    inner = mpmath.fdot(u, v) / (_norm(u) * _norm(v))
    cosh = mpmath.cosh(a) * mpmath.cosh(b) - mpmath.sinh(a) * mpmath.sinh(b) * inner
    return mpmath.acosh(max(cosh, mpmath.mpf(1))) / root


def _drawn(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=F64)


def _long(seed: int, c: float, dtype: torch.dtype, lengths: tuple[float, ...] = LENGTHS) -> Tensor:
    directions = torch.nn.functional.normalize(_drawn(seed, len(lengths), 4), dim=-1)
    return (directions * torch.tensor(lengths)[:, None] / c**0.5).to(dtype)


def _error(found: Tensor, want: list[list[mpmath.mpf]]) -> float:
    exact = torch.tensor([[float(a) for a in row] for row in want], dtype=F64)
    return float(((found.double() - exact).abs() / (exact.abs() + exact.abs().mean())).max())


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(F32, 2e-5), (F64, 1e-12)])
def test_logits_of_long_vectors(dtype: torch.dtype, tolerance: float, c: float) -> None:
    """Values and gradients in u, z, r and c, with offsets in the range and beyond."""
    u, z = _long(0, c, dtype), _drawn(1, 3, 4).to(dtype)
    r = (torch.tensor([0.0, 0.3, -15.0]) / c**0.5).to(dtype)
    leaves = [x.requires_grad_() for x in (u, z, r, torch.tensor(c, dtype=dtype))]
    found = ball.mlr_logits_tangent(*leaves)
    k = mpmath.mpf(float(leaves[3]))
    points, normals, offsets = [_mp(x) for x in u], [_mp(x) for x in z], _mp(r)
    want = [[_logit(p, n, o, k) for n, o in zip(normals, offsets, strict=True)] for p in points]
    assert _error(found, want) < tolerance
    for i in range(len(u)):
        for j in range(len(z)):
            gradients = torch.autograd.grad(found[i, j], leaves, retain_graph=True)

            def moved(name: str, at: int, h: mpmath.mpf, i: int = i, j: int = j) -> mpmath.mpf:
                p, n, o, curvature = list(points[i]), list(normals[j]), offsets[j], k
                if name == "u":
                    p[at] += h
                elif name == "z":
                    n[at] += h
                elif name == "r":
                    o += h
                else:
                    curvature += h
                return _logit(p, n, o, curvature)

            def slope(name: str, at: int = 0, moved=moved) -> mpmath.mpf:
                h = mpmath.mpf(10) ** -300
                return (moved(name, at, h) - moved(name, at, -h)) / (2 * h)

            exact = [[slope("u", a) for a in range(4)], [slope("z", a) for a in range(4)]]
            exact += [[slope("r")], [slope("c")]]
            rows = gradients[0][i], gradients[1][j], gradients[2][j : j + 1], gradients[3][None]
            for row, expected in zip(rows, exact, strict=True):
                # a slope is a difference of larger numbers where the hyperplane is far
                assert _error(row[None], [expected]) < 50 * tolerance


@pytest.mark.parametrize("dtype", [F32, F64])
def test_logits_on_the_hyperplane(dtype: torch.dtype) -> None:
    """They are 0 for a long vector at right angles, and the gradient is finite."""
    u = torch.tensor([[300.0, 0.0]], dtype=dtype, requires_grad=True)
    z = torch.tensor([[0.0, 1.0]], dtype=dtype)
    found = ball.mlr_logits_tangent(u, z, torch.zeros(1, dtype=dtype), torch.ones((), dtype=dtype))
    assert found.item() == 0
    assert torch.autograd.grad(found.sum(), u)[0].isfinite().all()


@pytest.mark.parametrize("c", CURVATURES)
def test_second_derivatives_of_long_vectors(c: float) -> None:
    """Those of the logits and of the heads are finite in float32."""
    u, z = _long(0, c, F32), _drawn(1, 6, 4).float()
    protonet = Conv4Protonet((16, 16), 2, "hyperbolic", clip=1e3)
    heads = [
        lambda u, z, k: ball.mlr_logits_tangent(u, z, z[:, 0], k),
        lambda u, z, k: Prototypes(4, 6).forward({"z": z}, k, u),
        lambda u, z, k: protonet.classify({"t": 0 * k}, k[None], (u + z).view(1, 2, 3, 4))[0],
    ]
    for head in heads:
        leaves = [x.clone().requires_grad_() for x in (u, z, torch.tensor(c))]
        total = head(*leaves).log_softmax(-1).sum()
        first = torch.autograd.grad(total, leaves, create_graph=True)
        assert all(g.isfinite().all() for g in first)
        second = torch.autograd.grad(sum(g.sum() for g in first), leaves)
        assert all(g.isfinite().all() for g in second)


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(F32, 2e-3), (F64, 1e-8)])
def test_distances_of_long_vectors(dtype: torch.dtype, tolerance: float, c: float) -> None:
    """All pairs of short and long, on one ray, opposite and in other directions."""
    u = torch.cat((_long(0, c, dtype), _long(1, c, dtype)))
    ray = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=F64) * torch.tensor(LENGTHS)[:, None]
    u = torch.cat((u, (ray / c**0.5).to(dtype), (-ray / c**0.5).to(dtype)))
    k = torch.tensor(c, dtype=dtype)
    points = [_mp(x) for x in u]
    want = [[_distance(p, q, mpmath.mpf(float(k))) for q in points] for p in points]
    found = ball.dist_tangent(u[:, None], u[None], k)
    pairs = ball.pairwise_squared_distance_tangent(u, u, k)
    assert _error(found, want) < tolerance
    assert _error(pairs.sqrt(), want) < tolerance
    # where one point is far, the digits are those of the type
    far = torch.maximum(u.norm(dim=-1)[:, None], u.norm(dim=-1)) * c**0.5 > 11
    exact = torch.tensor([[float(a) for a in row] for row in want], dtype=F64)
    torch.testing.assert_close(
        found.double()[far], exact[far], rtol=1e-6 if dtype == F32 else 1e-13, atol=1e-7 / c**0.5
    )


@pytest.mark.parametrize("dtype", [F32, F64])
def test_distance_gradients_of_long_vectors(dtype: torch.dtype) -> None:
    """Those in both vectors and in c, of far pairs that are near each other or not."""
    c = 2.0
    u = _long(0, c, dtype, (12.0, 12.0, 30.0, 0.5, 12.0))
    v = _long(1, c, dtype, (12.0, 0.3, 150.0, 25.0, 12.0))
    # on one ray and near
    u[4] = torch.tensor([8.0, 0.0, 0.0, 0.0])
    v[4] = u[4] * (1 + 2**-8)
    leaves = [x.clone().requires_grad_() for x in (u, v, torch.tensor(c, dtype=dtype))]
    found = ball.dist_tangent(*leaves)
    h = mpmath.mpf(10) ** -300
    for i in range(len(u)):
        p, q, k = _mp(u[i]), _mp(v[i]), mpmath.mpf(c)
        got = torch.autograd.grad(found[i], leaves, retain_graph=True)
        want = []
        for a in range(4):
            step = [h if b == a else mpmath.mpf(0) for b in range(4)]
            ahead, behind = ([x + s * d for x, d in zip(p, step, strict=True)] for s in (1, -1))
            want.append((_distance(ahead, q, k) - _distance(behind, q, k)) / (2 * h))
        slope = (_distance(p, q, k + h) - _distance(p, q, k - h)) / (2 * h)
        tolerance = 1e-3 if dtype == F32 else 1e-9
        if i == 4:  # across the ray the slope is that of a root at 0
            assert got[0][i, 0].item() == pytest.approx(float(want[0]), rel=tolerance)
        else:
            assert _error(got[0][i][None], [want]) < tolerance
        assert got[2].item() == pytest.approx(float(slope), rel=tolerance, abs=tolerance)


def test_zero_vector_and_far_vector() -> None:
    """The gradient at a vector of 0 is that of its limit."""
    u, v = torch.tensor([15.0, 0.0], dtype=F64), torch.zeros(2, dtype=F64, requires_grad=True)
    found = ball.dist_tangent(u, v, torch.ones((), dtype=F64))
    assert found.item() == pytest.approx(30)
    (slope,) = torch.autograd.grad(found, v)
    torch.testing.assert_close(slope, torch.tensor([-2.0, 0.0], dtype=F64), rtol=1e-6, atol=1e-9)


def _midpoint(u: list[Numbers], c: mpmath.mpf) -> Numbers:
    """The tangent vector of the normalised sum on the hyperboloid."""
    root = mpmath.sqrt(c)
    time, space = mpmath.mpf(0), [mpmath.mpf(0)] * len(u[0])
    for one in u:
        length = _norm(one)
        time += mpmath.cosh(2 * root * length)
        share = mpmath.sinh(2 * root * length) / length
        space = [s + share * a for s, a in zip(space, one, strict=True)]
    size = _norm(space)
    return [s / size * mpmath.atanh(size / time) / (2 * root) for s in space]


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(F32, 1e-5), (F64, 1e-12)])
def test_midpoints_of_long_vectors(dtype: torch.dtype, tolerance: float, c: float) -> None:
    k = torch.tensor(c, dtype=dtype)
    for lengths in ((12.0, 15.0, 20.0), (0.5, 12.0, 3.0), (150.0, 140.0, 1.0), (30.0,)):
        u = _long(2, c, dtype, lengths)
        found = tangent.midpoint_tangent(u, k)
        want = _midpoint([_mp(x) for x in u], mpmath.mpf(float(k)))
        assert _error(found[None], [want]) < tolerance


@pytest.mark.parametrize("c", [0.1, 1.0, 10.0])
def test_heads_of_unclipped_features(c: float) -> None:
    """Float32 logits of features of He-initialised width are those of float64, and finite.

    Their norms are 8 to 19.
    """
    u, generator = _long(0, 1.0, F64, (8.0, 10.0, 12.0, 15.0, 19.0)), torch.Generator()
    for head in (PoincareMlr(4, 6), Prototypes(4, 6)):
        params = head.init(generator.manual_seed(0))
        small = {name: p.float() for name, p in params.items()}
        want = head.forward(params, torch.tensor(c, dtype=F64), u)
        found = head.forward(small, torch.tensor(c), u.float())
        # at √c|u| of 6 points are still used, which have three digits of a distance in float32
        torch.testing.assert_close(found.double(), want, rtol=2e-3, atol=1e-4 * want.abs().max())


@pytest.mark.parametrize("c", [1.0, 10.0])
@pytest.mark.parametrize("shot", [1, 2])
def test_protonet_of_unclipped_features(shot: int, c: float) -> None:
    """Logits of long features are those of midpoints and distances by mpmath."""
    model = Conv4Protonet((16, 16), shot, "hyperbolic", clip=1e3)
    u = _long(3, 1.0, F32, (9.0, 12.0, 15.0, 40.0, 10.0, 19.0)[: 2 * (shot + 1)])
    u = u.view(1, 2, shot + 1, 4).requires_grad_()
    found = model.classify({"t": torch.zeros(())}, torch.tensor([c]), u)
    k, points = mpmath.mpf(c), [[_mp(x) for x in way] for way in u.detach()[0]]
    middles = [_midpoint(way[:shot], k) for way in points]
    want = [[-(_distance(way[shot], m, k) ** 2) for m in middles] for way in points]
    assert _error(found[0], want) < 1e-4
    assert torch.autograd.grad(found.sum(), u)[0].isfinite().all()


def test_vmap_of_long_and_short_runs() -> None:
    """A run with long features changes no bit of another run."""
    long, short = _long(0, 1.0, F32), 0.01 * _long(1, 1.0, F32)
    z, c = _drawn(1, 2, 3, 4).float(), torch.tensor([1.0, 0.3])

    def mlr(u: Tensor, z: Tensor, c: Tensor) -> Tensor:
        return ball.mlr_logits_tangent(u, z, z[:, 0], c)

    for f in (mlr, ball.pairwise_squared_distance_tangent):
        found = torch.func.vmap(f)(torch.stack((long, short)), z, c)
        assert found.isfinite().all()
        # Beside another short run, as products of fewer matrices may round otherwise.
        beside = torch.func.vmap(f)(torch.stack((0.01 * long, short)), z, c)
        assert torch.equal(found[1], beside[1])


def test_the_shortcut_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving out what is for long vectors gives the same bits, derivatives too."""

    def both(c: float, dtype: torch.dtype) -> list[Tensor]:
        u, z = _long(0, 10.0, dtype, (0.5, 3.0, 6.3)), _drawn(1, 3, 4).to(dtype)
        found = []
        for f in (
            lambda u, z, k: ball.mlr_logits_tangent(u, z, z[:, 0], k),
            ball.pairwise_squared_distance_tangent,
            ball.dist_tangent,
        ):
            leaves = [x.clone().requires_grad_() for x in (u, z / z.norm(), torch.tensor(c).to(u))]
            value = f(*leaves)
            first = torch.autograd.grad(value.sum(), leaves, create_graph=True)
            found += [value, *first, *torch.autograd.grad(sum(g.sum() for g in first), leaves)]
        return found

    for c in (0.0, 1e-3, 1.0, 10.0):
        for dtype in (F32, F64):
            monkeypatch.undo()
            short = both(c, dtype)
            for module in (maps, tangent):
                monkeypatch.setattr(module, "may_exceed", lambda x, limit: True)
            assert all(torch.equal(a, b) for a, b in zip(short, both(c, dtype), strict=True))


def test_shortcut_sees_through_transforms() -> None:
    """It finds the numbers inside of vmap and grad, and takes a tensor that has none as long."""
    seen = []

    def f(x: Tensor) -> Tensor:
        seen.append((inputs.may_exceed(x, 2.5), inputs.may_exceed(x, 3.5)))
        return x.sum()

    torch.func.vmap(torch.func.grad(f))(torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
    assert seen == [(True, False)]
    assert inputs.may_exceed(torch.zeros(2, device="meta"), 1.0)
    assert not inputs.may_exceed(torch.zeros(0), 1.0)
