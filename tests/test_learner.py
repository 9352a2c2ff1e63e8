"""The curvature learner against the suite's own functions, and beside manifolds, BatchNorm, dropout and autocast."""

import runpy
from pathlib import Path
from typing import Any

import geoopt
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import hsac
from hsac.ball import mlr_logits_tangent
from hsac.errors import InputError
from hsac.rules.curvature.hsac import Hsac

ROOT = Path(__file__).parent.parent
F64 = torch.float64
DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available()]


class Net(nn.Module):
    """Linear layer, optional layers in between, Poincaré MLR."""

    def __init__(self, *between: nn.Module, curvatures: int = 1, dtype: torch.dtype = F64) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Linear(5, 4), *between).to(dtype)
        self.z, self.r = nn.Parameter(torch.randn(3, 4).to(dtype)), nn.Parameter(torch.zeros(3, dtype=dtype))
        self.c = nn.ModuleList(hsac.Curvature(0.1 * (i + 1)) for i in range(curvatures))

    def forward(self, x: Tensor) -> Tensor:
        return mlr_logits_tangent(self.features(x), self.z, self.r, sum(c() for c in self.c) / len(self.c))


def data(n: int = 24, dtype: torch.dtype = F64) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, 5, generator=g, dtype=dtype), torch.randint(3, (n,), generator=g)


def loss_of(model: nn.Module):
    return lambda batch: cross_entropy(model(batch[0]), batch[1])


def sgd(model: nn.Module, decay: float = 0.01) -> torch.optim.Optimizer:
    return torch.optim.SGD(hsac.weights(model), lr=0.1, momentum=0.9, weight_decay=decay)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, learner: hsac.CurvatureLearner, steps: int, batch: Any):
    loss, logs = learner.loss, []
    for _ in range(steps):
        optimizer.zero_grad()
        loss(batch).backward()
        optimizer.step()
        logs.append(learner.step(batch))
    return logs


def test_a_curvature_starts_where_it_is_asked_to() -> None:
    for transform in ("exp", "softplus", "sigmoid"):
        assert float(hsac.Curvature(0.1, transform)().detach()) == pytest.approx(0.1, rel=1e-12)


@pytest.mark.parametrize("objective", ["worst", "gap"])
@pytest.mark.parametrize("per_layer", [False, True])
def test_an_outer_step_is_the_benchmark_rules(objective: str, per_layer: bool) -> None:
    """The same numbers as the rule gives on the model written by hand as a function of (w, θ)."""
    model, (x, y) = Net(nn.Tanh(), curvatures=2), data()
    optimizer = sgd(model)
    parameters = {"objective": objective, "per_layer": per_layer, "period": 1, "ascent_steps": 2}
    learner = hsac.CurvatureLearner(model, optimizer, loss_of(model), **parameters)

    def loss(w: Tensor, theta: Tensor) -> Tensor:
        weight, bias, z, r = w[0].split([20, 4, 12, 3])
        u = (x @ weight.view(4, 5).T + bias).tanh()
        return cross_entropy(mlr_logits_tangent(u, z.view(3, 4), r, theta.exp().mean()), y).reshape(1)

    def decayed(w: Tensor, theta: Tensor) -> Tensor:
        return loss(w, theta) + 0.005 * w.square().sum()

    # state-dict order: the optimiser's, z and r before the features
    rule = Hsac(**parameters)
    theta = torch.tensor([[0.1, 0.2]], dtype=F64).log()
    flat = torch.cat([p.detach().flatten() for p in (*model.features.parameters(), model.z, model.r)])[None]
    moved, _, log = rule.outer(theta, rule.init(theta), flat, loss, decayed, lambda: flat, [20, 4, 12, 3])
    found = learner.step((x, y))
    assert list(found["hypergradient"].values()) == pytest.approx(log["hypergradient"][0].tolist(), rel=1e-9)
    assert list(found["curvature"].values()) == pytest.approx(moved[0].exp().tolist(), rel=1e-9)
    assert found["value"] == pytest.approx(float(log["value"]), rel=1e-12)
    assert found["residual"] == pytest.approx(float(log["residual"]), rel=1e-6)


def test_weight_decay_is_the_optimisers() -> None:
    found = []
    for decay in (0.0, 0.5):
        model = Net()
        found.append(hsac.CurvatureLearner(model, sgd(model, decay), loss_of(model), period=1).step(data()))
    assert found[0]["value"] == found[1]["value"]  # the upper level is the plain loss
    assert found[0]["hypergradient"] != found[1]["hypergradient"]


def test_period_and_warm_up() -> None:
    model = Net()
    learner = hsac.CurvatureLearner(model, sgd(model), loss_of(model), period=3, warm_up=4)
    due = [bool(learner.step(data())) for _ in range(12)]
    assert [i + 1 for i, d in enumerate(due) if d] == [6, 9, 12]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("solver", ["neumann", "cg", "amortised", "nystrom", "unrolled", "identity"])
def test_statistics_gradients_and_random_numbers_are_left_alone(device: str, solver: str) -> None:
    model = Net(nn.BatchNorm1d(4), nn.Dropout(0.5), dtype=torch.float32).to(device)
    x, y = (t.to(device) for t in data(dtype=torch.float32))
    optimizer = sgd(model)
    learner = hsac.CurvatureLearner(model, optimizer, loss_of(model), period=2, ascent_steps=3, solver={"name": solver})
    learner.loss((x, y)).backward()
    before = {k: v.clone() for k, v in model.state_dict().items() if "theta" not in k}
    gradients = [p.grad.clone() for p in hsac.weights(model)]
    stream = torch.get_rng_state()
    logs = [learner.step((x, y)) for _ in range(6)]
    assert [bool(log) for log in logs] == [False, True] * 3
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())
    assert all(torch.equal(g, p.grad) for g, p in zip(gradients, hsac.weights(model), strict=True))
    assert torch.equal(stream, torch.get_rng_state())
    assert model.training
    assert float(model.c[0]().detach()) != pytest.approx(0.1)


def test_evaluations_of_one_outer_step_share_their_dropout_masks() -> None:
    model = Net(nn.Dropout(0.5))
    seen: list[Tensor] = []
    model.features[1].register_forward_hook(lambda module, inputs, output: seen.append(output == 0))
    learner = hsac.CurvatureLearner(model, sgd(model), loss_of(model), period=1, ascent_steps=3)
    learner.step(data())
    assert len(seen) > 3
    assert all(torch.equal(mask, seen[0]) for mask in seen)


class Points(nn.Module):
    """Class points on a manifold, scored by negative squared distance to the features."""

    def __init__(self, manifold: geoopt.Manifold, points: Tensor) -> None:
        super().__init__()
        self.features = nn.Linear(5, points.shape[-1], dtype=F64)
        self.points = geoopt.ManifoldParameter(points, manifold=manifold)
        self.c = hsac.Curvature(0.5)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        manifold = self.points.manifold  # what geoopt's users do
        self.seen.append(self.points.detach().as_subclass(Tensor))
        u = self.features(x) * self.c().sqrt()
        return -manifold.dist2(manifold.projx(u)[:, None], self.points[None])


@pytest.mark.parametrize("kind", ["ball", "sphere"])
def test_manifold_parameters_stay_on_their_manifold(kind: str) -> None:
    torch.manual_seed(0)
    start = torch.randn(3, 4, dtype=F64)
    manifold = geoopt.PoincareBall(c=1.0) if kind == "ball" else geoopt.Sphere()
    start = start / start.norm(dim=-1, keepdim=True) * (0.99 if kind == "ball" else 1.0)  # near the boundary
    model = Points(manifold, start)
    optimizer = geoopt.optim.RiemannianAdam(hsac.weights(model), lr=0.01, weight_decay=1e-3)
    learner = hsac.CurvatureLearner(
        model, optimizer, loss_of(model), period=2, ascent_steps=3, radius=1.0, scope="euclidean"
    )
    logs = train(model, optimizer, learner, 8, data())
    perturbed = [p for p in model.seen if not torch.equal(p, model.points)]
    assert len(perturbed) > 8
    assert all(manifold.check_point_on_manifold(p, atol=1e-6) for p in model.seen)
    assert max(float((p - model.points.detach()).norm()) for p in model.seen) > 0.05  # the ascent did move them
    assert all(torch.isfinite(torch.tensor(log["value"])) for log in logs if log)
    assert isinstance(model.points, geoopt.ManifoldParameter)


def test_on_a_sphere_the_hypergradient_is_that_of_the_coordinates_along_it() -> None:
    """The implicit term must ignore directions off the sphere: adding |points|² to the loss changes nothing there."""
    found = []
    for weight in (0.0, 7.0):
        torch.manual_seed(0)
        model = Points(geoopt.Sphere(), torch.nn.functional.normalize(torch.randn(3, 4, dtype=F64), dim=-1))
        optimizer = geoopt.optim.RiemannianSGD(hsac.weights(model), lr=0.01)

        def loss(batch: Any, model: Points = model, weight: float = weight) -> Tensor:
            return cross_entropy(model(batch[0]), batch[1]) + weight * model.points.square().sum()

        learner = hsac.CurvatureLearner(
            model, optimizer, loss, period=1, scope="euclidean", solver={"name": "cg", "terms": 60}
        )
        found.append(learner.step(data())["hypergradient"]["c.theta"])
    assert found[1] == pytest.approx(found[0], rel=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_autocast(device: str) -> None:
    model = Net(nn.BatchNorm1d(4), dtype=torch.float32).to(device)
    x, y = (t.to(device) for t in data(dtype=torch.float32))
    kinds = set()

    def loss(batch: Any) -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            features = model.features[0](batch[0])
            kinds.add(features.dtype)
            features = model.features[1](features)
        return cross_entropy(mlr_logits_tangent(features.float(), model.z, model.r, model.c[0]()), batch[1])

    optimizer = sgd(model)
    learner = hsac.CurvatureLearner(model, optimizer, loss, period=2)
    logs = train(model, optimizer, learner, 6, (x, y))
    assert kinds == {torch.bfloat16}
    assert all(log["fallback"] is False for log in logs if log)
    exact = Net(nn.BatchNorm1d(4), dtype=torch.float32).to(device)
    optimizer = sgd(exact)
    plain = train(exact, optimizer, hsac.CurvatureLearner(exact, optimizer, loss_of(exact), period=2), 6, (x, y))
    assert logs[1]["value"] == pytest.approx(plain[1]["value"], rel=0.05)


@pytest.mark.parametrize(
    "parameters",
    [{}, {"solver": {"name": "amortised"}}, {"objective": "mean"}, {"ascent_steps": 3, "solver": {"name": "cg"}}],
)
def test_a_resumed_learner_goes_on_bit_for_bit(tmp_path: Path, parameters: dict[str, Any]) -> None:
    def fresh() -> tuple[Net, torch.optim.Optimizer, hsac.CurvatureLearner]:
        model = Net(nn.BatchNorm1d(4))
        optimizer = sgd(model)
        return model, optimizer, hsac.CurvatureLearner(model, optimizer, loss_of(model), period=3, **parameters)

    model, optimizer, learner = fresh()
    whole = train(model, optimizer, learner, 17, data())
    first, stopped, before = fresh()
    begun = train(first, stopped, before, 8, data())
    states = {"model": first.state_dict(), "optimizer": stopped.state_dict(), "learner": before.state_dict()}
    torch.save(states, tmp_path / "checkpoint.pt")
    states = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    resumed, going, after = fresh()
    for part, name in ((resumed, "model"), (going, "optimizer"), (after, "learner")):
        part.load_state_dict(states[name])
    assert begun + train(resumed, going, after, 9, data()) == whole
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))


def test_amortised_spends_a_product_between_outer_steps() -> None:
    model = Net()
    learner = hsac.CurvatureLearner(model, sgd(model), loss_of(model), period=4, solver={"name": "amortised"})
    products = [log["products"] for log in (learner.step(data()) for _ in range(12)) if log]
    assert products[1:] == [products[0] + 3] * 2


def test_bad_input() -> None:
    model = Net()
    with pytest.raises(InputError, match=r"^model: found no hsac.Curvature"):
        hsac.CurvatureLearner(nn.Linear(2, 2), sgd(model), loss_of(model))
    with pytest.raises(InputError, match=r"^optimizer: found the curvature 'c.0.theta'"):
        hsac.CurvatureLearner(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_of(model))
    with pytest.raises(InputError, match=r"^optimizer: found a parameter of shape"):
        hsac.CurvatureLearner(model, sgd(Net()), loss_of(model))
    with pytest.raises(InputError, match=r"^CurvatureLearner.radius: found -1"):
        hsac.CurvatureLearner(model, sgd(model), loss_of(model), radius=-1)
    with pytest.raises(InputError, match=r"CurvatureLearner.raduis: found an unknown key.*did you mean 'radius'"):
        hsac.CurvatureLearner(model, sgd(model), loss_of(model), raduis=1.0)
    other = Net(curvatures=2)
    state = hsac.CurvatureLearner(other, sgd(other), loss_of(other)).state_dict()
    with pytest.raises(InputError, match=r"^state_dict: found 2 curvatures; allowed is 1"):
        hsac.CurvatureLearner(model, sgd(model), loss_of(model)).load_state_dict(state)


def test_the_example_is_short_and_runs(capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "examples/own_loop.py"
    assert len(path.read_text().splitlines()) < 40
    runpy.run_path(str(path))
    said = capsys.readouterr().out
    assert said.count("curvature") == 3
    assert float(said.split()[-1]) > 0.8
