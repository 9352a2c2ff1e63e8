"""The ball of a curvature as geoopt's manifold: it follows θ, and gradients reach θ."""

import copy
import io
from typing import Any

import geoopt
import pytest
import torch
from geoopt.manifolds.stereographic import math as stereographic
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import hsac
from hsac import ball

F64 = torch.float64
DECAY = 0.1


class Prototypes(nn.Module):
    """Classes scored by the squared distance of a linear feature to their points.

    The features are frozen: to rotate them with the points would change nothing, and the lower
    level's solution would be a circle.
    """

    def __init__(self, points: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Linear(3, 2, dtype=F64).requires_grad_(False)
        self.c = hsac.Curvature(0.5)
        self.ball = self.c.manifold()
        start = torch.randn(3, 2, dtype=F64) / 2
        self.p = geoopt.ManifoldParameter(start, manifold=self.ball) if points else None
        self.tangent = None if points else nn.Parameter(start)

    def forward(self, x: Tensor) -> Tensor:
        p = self.ball.expmap0(self.tangent) if self.p is None else self.p
        u = self.ball.expmap0(self.features(x))
        return -stereographic.dist(u[:, None], p, k=-self.c()).square()


def batch(seed: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(30, 3, generator=g, dtype=F64), torch.randint(3, (30,), generator=g)


def learner_of(model: nn.Module, **parameters: Any) -> hsac.CurvatureLearner:
    optimizer = geoopt.optim.RiemannianSGD(hsac.weights(model), lr=0.1, weight_decay=DECAY)
    loss = lambda rows: cross_entropy(model(rows[0]), rows[1])  # noqa: E731
    return hsac.CurvatureLearner(model, optimizer, loss, **({"period": 1} | parameters))


def solve(model: nn.Module, rows: tuple[Tensor, Tensor]) -> None:
    """Put the weights where the lower level's gradient is 0, by L-BFGS and Newton's method."""
    named = {name: w for name, w in model.named_parameters() if name in ("p", "tangent")}
    sizes = [w.numel() for w in named.values()]

    def lower(flat: Tensor) -> Tensor:
        pieces = zip(named.items(), flat.split(sizes), strict=True)
        point = {name: piece.view(w.shape) for (name, w), piece in pieces}
        logits = torch.func.functional_call(model, point, (rows[0],))
        return cross_entropy(logits, rows[1]) + DECAY / 2 * flat.square().sum()

    flat = nn.utils.parameters_to_vector(named.values()).detach().requires_grad_()
    optimizer = torch.optim.LBFGS([flat], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = lower(flat)
        value.backward()
        return value

    optimizer.step(closure)
    flat = flat.detach()
    for _ in range(5):
        gradient = torch.autograd.functional.jacobian(lower, flat)
        flat = flat - torch.linalg.solve(torch.autograd.functional.hessian(lower, flat), gradient)
    assert float(gradient.norm()) < 1e-12
    nn.utils.vector_to_parameters(flat, named.values())


@pytest.mark.parametrize("points", [False, True])
def test_hypergradient_is_the_differences(points: bool) -> None:
    """Of the upper loss where the lower level is solved again at each θ."""
    model, (upper, lower) = Prototypes(points), (batch(1), batch(2))
    start, values, h = model.c.theta.item(), [], 1e-4
    for theta in (start + h, start - h, start):
        with torch.no_grad():
            model.c.theta.fill_(theta)
        solve(model, lower)
        values.append(float(cross_entropy(model(upper[0]), upper[1]).detach()))
    learner = learner_of(model, objective="loss", solver={"name": "exact"})
    log = learner.step(upper, lower)
    assert not log["fallback"]
    wanted = (values[0] - values[1]) / (2 * h)
    assert log["hypergradient"]["c.theta"] == pytest.approx(wanted, rel=1e-6)


def test_outer_steps_move_the_ball() -> None:
    """The very object, with no copy of the c that it was made at."""
    model = Prototypes()
    x, y = torch.rand(2, 4, 2, dtype=F64) / 2
    before = model.ball.dist(x, y).detach()
    learner_of(model).step(batch(1), batch(2), batch(3))
    assert model.c().item() != pytest.approx(0.5)
    assert model.ball.c.item() == -model.ball.k.item() == model.c().item()
    assert not torch.allclose(model.ball.dist(x, y), before)
    torch.testing.assert_close(model.ball.dist(x, y), ball.dist(x, y, model.c()))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_maps_are_those_of_hsac(dtype: torch.dtype) -> None:
    """The sign of k is geoopt's, and points keep their type."""
    curvature = hsac.Curvature(0.7)
    manifold, c = curvature.manifold(), curvature().to(dtype)
    u, v = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=dtype) / 2
    x, y = ball.expmap0(u, c), ball.expmap0(v, c)
    assert isinstance(manifold, geoopt.PoincareBall)
    torch.testing.assert_close(manifold.expmap0(u), x)
    torch.testing.assert_close(manifold.logmap0(x), ball.logmap0(x, c))
    torch.testing.assert_close(manifold.mobius_add(x, y), ball.mobius_add(x, y, c))
    torch.testing.assert_close(manifold.dist(x, y), ball.dist(x, y, c))


def copied(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model)


def saved(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("how", [copied, saved])
@pytest.mark.parametrize("points", [False, True])
def test_copies_have_their_own_ball(how: Any, points: bool) -> None:
    model = Prototypes(points)
    other = how(model)
    with torch.no_grad():
        other.c.theta.add_(1.0)
    assert other.ball.c.item() == other.c().item()
    assert model.ball.c.item() == pytest.approx(0.5)
    if points:
        assert other.p.manifold.c.item() == other.c().item()


def test_ball_has_one_theta() -> None:
    """Beside its curvature and alone, where the learner finds it, too."""
    model = Prototypes()
    assert [name for name, _ in model.named_parameters() if "theta" in name] == ["c.theta"]
    other = Prototypes()
    with torch.no_grad():
        other.c.theta.add_(1.0)
    other.load_state_dict(model.state_dict())
    assert other.ball.c.item() == pytest.approx(0.5)
    alone = hsac.Curvature(0.3).manifold()
    assert [name for name, _ in alone.named_parameters()] == ["curvature.theta"]
    assert alone.float().c.dtype == torch.float32


def test_points_come_back_inside() -> None:
    """As `projx` says, at the c of the moment, once c has grown over them."""
    model = Prototypes(points=True)
    with torch.no_grad():
        model.p.copy_(0.99 * model.ball.radius * nn.functional.normalize(model.p, dim=-1))
        model.c.theta.add_(1.0)
        assert not model.ball.check_point_on_manifold(model.p)
        model.p.proj_()
    assert model.ball.check_point_on_manifold(model.p)
    assert bool((model.p.norm(dim=-1) < model.c().rsqrt()).all())


def test_gradients_without_a_learner() -> None:
    """θ can be in an ordinary optimizer, as for any `Curvature`."""
    curvature = hsac.Curvature(0.7)
    u = torch.tensor([0.3, 0.4], dtype=F64)
    found = torch.autograd.grad(curvature.manifold().expmap0(u).sum(), curvature.theta)
    wanted = torch.autograd.grad(ball.expmap0(u, curvature()).sum(), curvature.theta)
    torch.testing.assert_close(found, wanted)


def test_origin_has_no_second_derivative() -> None:
    """Of geoopt's norm: the outer step says so, and hsac's maps have one."""
    model, fallbacks = Prototypes(), []
    with torch.no_grad():
        model.tangent[0] = 0.0
    theirs = model.ball.expmap0
    for exp in (theirs, lambda u: ball.expmap0(u, model.c())):
        model.ball.expmap0 = exp
        fallbacks.append(learner_of(model).step(batch(1), batch(2), batch(3))["fallback"])
    assert fallbacks == [True, False]
