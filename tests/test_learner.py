"""The curvature learner against the suite's own functions.

And beside manifolds, BatchNorm, dropout and autocast.
"""

import contextlib
import copy
import math
import pickle
import runpy
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geoopt
import pytest
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import stateless
from two_ranks import on_two_ranks

import hsac
import hsac.learner as learner_module
from hsac.ball import mlr_logits_tangent
from hsac.errors import InputError
from hsac.hypergradient import implicit_hypergradient
from hsac.hypergradient.solvers.neumann import Neumann
from hsac.learner import READINGS
from hsac.parts import build
from hsac.rules.curvature.hsac import Hsac, Samples

ROOT = Path(__file__).parent.parent
F64 = torch.float64
CHECKPOINT = torch.utils.checkpoint.CheckpointFunction
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
MANIFOLDS = ("Lorentz", "Stiefel", "EuclideanStiefel", "SymmetricPositiveDefinite")
SOLVERS = ("neumann", "cg", "amortised", "nystrom", "unrolled", "identity")


class Net(nn.Module):
    """Linear layer, optional layers in between, Poincaré MLR."""

    def __init__(self, *between: nn.Module, curvatures: int = 1, dtype: torch.dtype = F64) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Linear(5, 4), *between).to(dtype)
        self.z = nn.Parameter(torch.randn(3, 4).to(dtype))
        self.r = nn.Parameter(torch.zeros(3, dtype=dtype))
        self.c = nn.ModuleList(hsac.Curvature(0.1 * (i + 1)) for i in range(curvatures))

    def forward(self, x: Tensor) -> Tensor:
        c = sum(c() for c in self.c) / len(self.c)
        return mlr_logits_tangent(self.features(x), self.z, self.r, c)


def data(n: int = 24, dtype: torch.dtype = F64) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, 5, generator=g, dtype=dtype), torch.randint(3, (n,), generator=g)


def loss_of(model: nn.Module):
    return lambda batch: cross_entropy(model(batch[0]), batch[1])


def sgd(model: nn.Module, decay: float = 0.01) -> torch.optim.Optimizer:
    return torch.optim.SGD(hsac.weights(model), lr=0.1, momentum=0.9, weight_decay=decay)


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    learner: hsac.CurvatureLearner,
    steps: int,
    batch: Any,
):
    loss, logs = learner.loss, []
    for _ in range(steps):
        optimizer.zero_grad()
        loss(batch).backward()
        optimizer.step()
        logs.append(learner.step(batch))
    return logs


def test_curvature_starts_where_asked() -> None:
    for transform in ("exp", "softplus", "sigmoid"):
        assert float(hsac.Curvature(0.1, transform)().detach()) == pytest.approx(0.1, rel=1e-12)


def flat_loss(batch: tuple[Tensor, Tensor]):
    """The loss of `Net(nn.Tanh())` on a batch, written by hand as a function of (w, θ)."""
    x, y = batch

    def loss(w: Tensor, theta: Tensor) -> Tensor:
        weight, bias, z, r = w[0].split([20, 4, 12, 3])
        u = (x @ weight.view(4, 5).T + bias).tanh()
        logits = mlr_logits_tangent(u, z.view(3, 4), r, theta.exp().mean())
        return cross_entropy(logits, y).reshape(1)

    return loss


def flat_weights(model: Net) -> Tensor:
    parameters = (*model.features.parameters(), model.z, model.r)
    return torch.cat([p.detach().flatten() for p in parameters])[None]


@pytest.mark.parametrize("objective", ["worst", "gap"])
@pytest.mark.parametrize("per_layer", [False, True])
def test_outer_step_is_the_benchmark_rules(objective: str, per_layer: bool) -> None:
    """The same numbers as the rule gives on the model written by hand as a function of (w, θ)."""
    model, batch = Net(nn.Tanh(), curvatures=2), data()
    optimizer = sgd(model)
    parameters = {"objective": objective, "per_layer": per_layer, "period": 1, "ascent_steps": 2}
    learner = hsac.CurvatureLearner(model, optimizer, loss_of(model), **parameters)

    loss = flat_loss(batch)

    def decayed(w: Tensor, theta: Tensor) -> Tensor:
        return loss(w, theta) + 0.005 * w.square().sum()

    # state-dict order: the optimiser's, z and r before the features
    rule = Hsac(**parameters)
    theta = torch.tensor([[0.1, 0.2]], dtype=F64).log()
    flat = flat_weights(model)
    moved, _, log = rule.outer(
        theta, rule.init(theta), flat, Samples(loss, decayed, loss), lambda: flat, [20, 4, 12, 3]
    )
    found = learner.step(batch, batch)
    expected = log["hypergradient"][0].tolist()
    assert list(found["hypergradient"].values()) == pytest.approx(expected, rel=1e-9)
    assert list(found["curvature"].values()) == pytest.approx(moved[0].exp().tolist(), rel=1e-9)
    assert found["value"] == pytest.approx(float(log["value"]), rel=1e-12)
    assert found["residual"] == pytest.approx(float(log["residual"]), rel=1e-6)


@pytest.mark.parametrize("reading", READINGS)
def test_readings_are_the_benchmark_rules(reading: str) -> None:
    """A reading has the defaults of the benchmark's rule of its name, and moves c."""
    model, batch = Net(nn.Tanh()), data()
    optimizer = sgd(model)
    learner = hsac.CurvatureLearner(model, optimizer, loss_of(model), reading=reading, period=1)
    rule = build("curvature rule", f"hsac_{reading}", {"period": 1, "batch": "training"}, "")
    assert learner.rule == rule
    (curvature,) = learner.curvatures.values()
    before = curvature().item()
    logs = [learner.step(batch, batch, batch) for _ in range(4)]
    # The fixed step of `literal` is too long for this Hessian, which is what the flag is for.
    assert reading == "literal" or not any(log["fallback"] for log in logs)
    assert curvature().item() != before
    # and what it carries over is taken again
    other = hsac.CurvatureLearner(model, optimizer, loss_of(model), reading=reading, period=1)
    other.load_state_dict(copy.deepcopy(learner.state_dict()))
    assert other.count == 4


def test_unknown_readings_are_refused() -> None:
    model = Net(nn.Tanh())
    with pytest.raises(InputError, match=r"reading: found 'litral'; allowed are .*literal"):
        hsac.CurvatureLearner(model, sgd(model), loss_of(model), reading="litral")


def test_relative_bounds_are_kept() -> None:
    """C stays within the factor of where its module started."""
    model, batch = Net(nn.Tanh()), data()
    learner = hsac.CurvatureLearner(
        model, sgd(model), loss_of(model), period=1, step=5.0, bounds_relative=2.0
    )
    (curvature,) = learner.curvatures.values()
    for _ in range(5):
        learner.step(batch, batch)
        assert curvature.start / 2 <= curvature().item() * (1 + 1e-12)
        assert curvature().item() <= 2 * curvature.start * (1 + 1e-12)
    assert abs(math.log(curvature().item() / curvature.start)) > 0.5


def test_meta_reading_wants_two_batches() -> None:
    """Its lower level is on training batches, which half a meta batch is not."""
    model = Net(nn.Tanh())
    learner = hsac.CurvatureLearner(model, sgd(model), loss_of(model), reading="meta", period=1)
    with pytest.raises(InputError, match="reading='meta'"):
        learner.step(data())
    assert learner.step(data(), data())


@pytest.mark.parametrize("reading", ["curvature_scope", "joint_scope"])
def test_scope_looks_beyond_the_bounds(reading: str) -> None:
    """At a bound of c the scope over c is as wide as elsewhere, and c itself stays inside."""
    values = []
    for high in (1.0, 10.0):
        torch.manual_seed(0)
        model, batch = Net(nn.Tanh()), data()
        model.c = nn.ModuleList([hsac.Curvature(1.0, bounds=(1e-3, high))])
        learner = hsac.CurvatureLearner(
            model, sgd(model), loss_of(model), reading=reading, period=1
        )
        log = learner.step(batch, batch)
        values.append((log["value"], log["hypergradient"]))
        assert model.c[0]().item() <= high * (1 + 1e-12)
    assert values[0] == values[1]
    assert values[0][0] != 0


def test_frozen_scope_over_curvature_rests() -> None:
    model, batch = Net(nn.Tanh()), data()
    learner = hsac.CurvatureLearner(
        model, sgd(model), loss_of(model), reading="curvature_scope", period=1
    )
    (curvature,) = learner.curvatures.values()
    curvature.theta.requires_grad_(False)
    learner.step(batch, batch)
    assert curvature().item() == pytest.approx(curvature.start)


def by_hand(model: Net, upper: tuple[Tensor, Tensor], lower: tuple[Tensor, Tensor]) -> list[float]:
    """Return value, hypergradient and residual of `Net(nn.Tanh())` without a scope.

    `sgd`'s weight decay is in the lower loss.
    """
    plain = flat_loss(lower)

    def objective(w: Tensor, theta: Tensor) -> Tensor:
        return plain(w, theta) + 0.005 * w.square().sum()

    theta = torch.tensor([[0.1]], dtype=F64).log()
    found = implicit_hypergradient(
        flat_loss(upper), objective, flat_weights(model), theta, Neumann(), {}
    )
    assert not found.fallback
    return [float(found.value), float(found.total), float(found.residual)]


def logged(learner: hsac.CurvatureLearner, *batches: Any) -> list[float]:
    log = learner.step(*batches)
    return [log["value"], log["hypergradient"]["c.0.theta"], log["residual"]]


def scopeless(model: nn.Module, loss: Any = None, **parameters: Any) -> hsac.CurvatureLearner:
    parameters = {"objective": "loss", "period": 1} | parameters
    return hsac.CurvatureLearner(model, sgd(model), loss or loss_of(model), **parameters)


def test_each_level_has_its_batch() -> None:
    """Value and direct term come of the first batch, solve and mixed product of the second."""
    model, (x, y) = Net(nn.Tanh()), data()
    a, b = (x[:7], y[:7]), (x[7:], y[7:])
    found = logged(scopeless(model), a, b)
    assert found == pytest.approx(by_hand(model, a, b), rel=1e-9)
    assert found != pytest.approx(by_hand(model, b, a), rel=1e-3)


def test_one_batch_is_halved() -> None:
    """`step(batch)` of old code: even rows for the upper level, odd rows for the lower level."""
    model, (x, y) = Net(nn.Tanh()), data(23)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = logged(scopeless(model), (x, y))
    assert found == pytest.approx(by_hand(model, (x[0::2], y[0::2]), (x[1::2], y[1::2])), rel=1e-9)
    assert found != pytest.approx(by_hand(model, (x, y), (x, y)), rel=1e-3)


def with_adversary(upper: Any, lower: Any, adversary: Any) -> list[float]:
    """Return what `logged` gives with the default scope, from the rule on the model by hand."""
    plain, rule, flat = flat_loss(lower), Hsac(), flat_weights(Net(nn.Tanh()))

    def objective(w: Tensor, theta: Tensor) -> Tensor:
        return plain(w, theta) + 0.005 * w.square().sum()

    samples = Samples(flat_loss(upper), objective, flat_loss(adversary))
    theta = torch.tensor([[0.1]], dtype=F64).log()
    _, _, log = rule.outer(theta, rule.init(theta), flat, samples, lambda: flat, [20, 4, 12, 3])
    return [float(log[name]) for name in ("value", "hypergradient", "residual")]


def test_third_batch_finds_the_adversary() -> None:
    """Without one the upper level's batch is halved again; one given twice is the whole set."""
    x, y = data(24)
    a, b, c = ((x[i::3], y[i::3]) for i in range(3))
    even, odd = ((a[0][i::2], a[1][i::2]) for i in range(2))
    half = x[0::2], y[0::2]
    quarters = [(half[0][i::2], half[1][i::2]) for i in range(2)]
    given = {
        (a, b, c): with_adversary(a, b, c),
        (a, b): with_adversary(odd, b, even),
        ((x, y),): with_adversary(quarters[1], (x[1::2], y[1::2]), quarters[0]),
        (a, a): with_adversary(a, a, a),
    }
    for batches, want in given.items():
        model = Net(nn.Tanh())
        learner = hsac.CurvatureLearner(model, sgd(model), loss_of(model), period=1)
        assert logged(learner, *batches) == pytest.approx(want, rel=1e-9), len(batches)
    assert given[a, b, c] != pytest.approx(with_adversary(a, b, a), rel=1e-3)


def test_unsplittable_upper_batches_warn_once() -> None:
    """The levels are independent, and the adversary is found on the upper level's sample."""
    learner = graph_learner(objective="worst")
    with pytest.warns(
        UserWarning,
        match=(
            r"upper level's sample cannot be split.*adversary was found on all of it.*step\(batch,"
            r" other, third\)"
        ),
    ):
        learner.step(Graph(), Graph())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.step(Graph(), Graph())
        graph_learner(objective="worst").step(Graph(), Graph(), Graph())
        graph_learner().step(Graph(), Graph())  # no adversary


def test_tracking_sees_the_lower_batch() -> None:
    """Between outer steps an amortised solver works on `other`, or on the odd half."""
    model = Net()
    seen: list[Tensor] = []

    def loss(batch: Any) -> Tensor:
        seen.append(batch[0])
        return cross_entropy(model(batch[0]), batch[1])

    learner = hsac.CurvatureLearner(model, sgd(model), loss, period=2, solver={"name": "amortised"})
    a, b = data(), data(10)
    learner.step(a, b)
    assert not seen  # nothing to track yet
    learner.step(a, b)
    seen.clear()
    learner.step(a, b)
    assert seen
    assert all(x is b[0] for x in seen)
    learner.step(a, b)
    seen.clear()
    learner.step(a)
    assert seen
    assert all(torch.equal(x, a[0][1::2]) for x in seen)


class Graph:
    """A whole graph, as an object of a class that the learner does not know."""

    def __init__(self) -> None:
        self.x, self.y = data()


def graph_learner(**parameters: Any) -> hsac.CurvatureLearner:
    model = Net(nn.Tanh())
    return scopeless(model, lambda graph: cross_entropy(model(graph.x), graph.y), **parameters)


def test_unsplittable_batches_warn_once() -> None:
    """Both levels see the whole of it, and each learner says so once, at the caller's line."""
    for _ in range(2):
        learner = graph_learner()
        words = "cannot be split .* so both levels saw the same sample"
        with pytest.warns(UserWarning, match=words) as said:
            found = logged(learner, Graph())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            learner.step(Graph())
        assert [w.filename for w in said] == [__file__]
        assert found == pytest.approx(by_hand(Net(nn.Tanh()), data(), data()), rel=1e-9)


def test_batch_given_twice_is_silent() -> None:
    graph = Graph()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = logged(graph_learner(), graph, graph)
    assert found == pytest.approx(by_hand(Net(nn.Tanh()), data(), data()), rel=1e-9)


def test_idle_calls_split_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No split, no warning and no loss where no outer step is due."""
    split: list[Any] = []
    monkeypatch.setattr(hsac.learner, "halves", lambda batch, *_: split.append(batch))
    learner = graph_learner(period=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert learner.step(Graph()) == learner.step(object()) == {}
    assert not split
    with pytest.warns(UserWarning, match="cannot be split"):
        assert learner.step(Graph())
    assert len(split) == 1


def test_losses_that_need_whole_batches() -> None:
    """A dense adjacency has rows, but its halves are no graphs: the error says what to do."""
    model = Net()
    batch = (*data(), torch.eye(24, dtype=F64))
    learner = scopeless(model, lambda batch: cross_entropy(batch[2] @ model(batch[0]), batch[1]))
    words = (
        r"^CurvatureLearner.step: found a batch whose halves the loss does not take"
        r" \(RuntimeError\).* twice if"
    )
    with pytest.raises(InputError, match=words) as caught:
        learner.step(batch)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "\n" not in str(caught.value)
    assert learner.step(batch, batch)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):  # the caller's own batch
        learner.step(batch, (*data(), torch.eye(12, dtype=F64)))


def test_the_advice_on_whole_batches_works() -> None:
    """With an adversary two are too few, as one is halved for it: the error asks for three."""
    model = Net()
    batch, other, third = ((*data(), torch.eye(24, dtype=F64)) for _ in range(3))
    loss = lambda batch: cross_entropy(batch[2] @ model(batch[0]), batch[1])  # noqa: E731
    learner = scopeless(model, loss, objective="worst")
    words = (
        r"allowed are three independent batches, `step\(batch, other, third\)`, or the same one"
        r" twice if"
    )
    for given in ((batch,), (batch, other)):
        with pytest.raises(InputError, match=words):
            learner.step(*given)
    assert learner.step(batch, other, third)
    assert learner.step(batch, batch)


@pytest.mark.parametrize("rows", [1, 5, 7])
def test_small_batches_are_not_halved(rows: int) -> None:
    """BatchNorm may refuse a part of a loader's last batch; both levels then see all of it."""
    x, y = data(rows)
    words = "pieces of 4 rows or more, so both levels and the adversary saw"
    with pytest.warns(UserWarning, match=words):
        found = logged(scopeless(Net(nn.Tanh()), objective="worst"), (x, y))
    assert found == pytest.approx(with_adversary((x, y), (x, y), (x, y)), rel=1e-9)
    if rows > 1:
        model = Net(nn.BatchNorm1d(4))
        with pytest.warns(UserWarning, match="saw the same sample"):
            assert scopeless(model, objective="worst").step((x, y))


@pytest.mark.parametrize("rows", [8, 14])
def test_small_halves_keep_the_adversary(rows: int) -> None:
    """The levels have a half each, and the adversary that of the upper level.

    The same warning comes once, and one about something else still comes.
    """
    x, y = data(rows)
    upper, lower = (x[0::2], y[0::2]), (x[1::2], y[1::2])
    learner = scopeless(Net(nn.Tanh()), objective="worst")
    with pytest.warns(UserWarning, match="adversary was found on all of it"):
        found = logged(learner, (x, y))
    assert found == pytest.approx(with_adversary(upper, lower, upper), rel=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.step((x, y))
    with pytest.warns(UserWarning, match="both levels and the adversary"):
        learner.step(data(3))
    model = Net(nn.BatchNorm1d(4))
    with pytest.warns(UserWarning, match="adversary was found"):
        assert scopeless(model, objective="worst").step((x, y))


def test_warnings_say_what_was_shared() -> None:
    """The adversary is named where it has no batch, the third batch where one is of use."""
    third = {"third": Graph()}
    both, all_three = "so both levels saw", "so both levels and the adversary saw"
    for objective, given, seen, batches in (
        ("loss", {}, both, "two independent batches, `step(batch, other)`,"),
        ("mean", {}, both, "two independent batches, `step(batch, other)`,"),
        ("worst", {}, all_three, "three independent batches, `step(batch, other, third)`,"),
        ("gap", third, both, "three independent batches, `step(batch, other, third)`,"),
    ):
        with pytest.warns(UserWarning, match="cannot be split") as said:
            graph_learner(objective=objective).step(Graph(), **given)
        assert len(said) == 1
        text = str(said[0].message)
        assert seen in text
        assert f"pass {batches} or the same object twice" in text


def test_none_given_twice_is_silent() -> None:
    """None is a batch like another: that of a loss which always takes the whole training set."""
    model, whole = Net(nn.Tanh()), data()
    loss = lambda batch: cross_entropy(model(whole[0]), whole[1])  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = logged(scopeless(model, loss, objective="worst"), None, None)
        assert scopeless(model, loss, objective="worst").step(0, 1, None)
    assert found == pytest.approx(with_adversary(whole, whole, whole), rel=1e-9)


def test_tracking_splits_no_upper_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between outer steps only the lower level has work: no halves, no warning."""
    split: list[Any] = []
    monkeypatch.setattr(hsac.learner, "halves", lambda batch, *_: split.append(batch))
    learner = graph_learner(objective="worst", period=2, solver={"name": "amortised"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.step(Graph())
        learner.step(Graph(), Graph(), Graph())
        assert learner.step(Graph(), Graph()) == {}
        assert learner.state["tracked"] == 1
    assert not split
    with pytest.warns(UserWarning, match="adversary was found"):
        learner.step(Graph(), Graph())
    assert len(split) == 1


def test_errors_of_whole_batches_pass() -> None:
    """An error that the whole batch has as well is not blamed on its halves."""
    model, (x, y) = Net(), data()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        scopeless(model).step((x[:, :3], y))
    words = r"^loss: found shape \[12\]; allowed is a tensor with one value"

    def each(batch):
        return cross_entropy(model(batch[0]), batch[1], reduction="none")

    with pytest.raises(InputError, match=words):
        scopeless(model, each).step((x, y))


def test_one_sample_biases_the_hypergradient() -> None:
    """Two batches, and two halves, have all rows' hypergradient as their mean; one has not.

    The labels are noise, so that the examples' gradients differ much. Without a scope and with the
    identity for H⁻¹, the hypergradient is linear in what each level's sample gives. Independent
    samples then leave no bias at all.
    """
    x, y = data(200)
    generator = torch.Generator().manual_seed(0)
    solver = {"name": "identity", "scale": 10.0}
    # with so small a step c stays where it is
    learner = scopeless(Net(nn.Tanh()), solver=solver, ratio=float("inf"), step=1e-12)

    def draw() -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(x), (16,), generator=generator)
        return x[rows], y[rows]

    def standard_errors(batches: list[tuple[Any, ...]]) -> float:
        found = torch.tensor([logged(learner, *given)[1] for given in batches], dtype=F64)
        return float((found.mean() - want) / (found.std() / len(found) ** 0.5))

    want = logged(learner, (x, y), (x, y))[1]
    assert abs(standard_errors([(draw(), draw()) for _ in range(150)])) < 4
    assert abs(standard_errors([(draw(),) for _ in range(150)])) < 4
    assert abs(standard_errors([(batch, batch) for batch in (draw() for _ in range(150))])) > 6


def test_weight_decay_is_the_optimizers() -> None:
    found = []
    for decay in (0.0, 0.5):
        model = Net()
        found.append(
            hsac.CurvatureLearner(model, sgd(model, decay), loss_of(model), period=1).step(data())
        )
    assert found[0]["value"] == found[1]["value"]  # the upper level is the plain loss
    assert found[0]["hypergradient"] != found[1]["hypergradient"]


def test_period_and_warm_up_count_calls() -> None:
    model = Net()
    learner = hsac.CurvatureLearner(model, sgd(model), loss_of(model), period=3, warm_up=4)
    due = [bool(learner.step(data())) for _ in range(12)]
    assert [i + 1 for i, d in enumerate(due) if d] == [6, 9, 12]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_step_leaves_other_state_alone(device: str, solver: str) -> None:
    """Statistics, gradients and random numbers are afterwards what they were."""
    model = Net(nn.BatchNorm1d(4), nn.Dropout(0.5), dtype=torch.float32).to(device)
    x, y = (t.to(device) for t in data(dtype=torch.float32))
    optimizer = sgd(model)
    learner = hsac.CurvatureLearner(
        model, optimizer, loss_of(model), period=2, ascent_steps=3, solver={"name": solver}
    )
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


def test_each_sample_has_its_dropout_masks() -> None:
    """Evaluations on one sample share their mask, and the samples' masks differ.

    One mask for both levels would tie them together as one batch does.
    """
    model = Net(nn.Dropout(0.5))
    seen: list[Tensor] = []
    model.features[1].register_forward_hook(lambda module, inputs, output: seen.append(output == 0))
    learner = hsac.CurvatureLearner(model, sgd(model), loss_of(model), period=1, ascent_steps=3)
    batch, state = data(), torch.get_rng_state()
    learner.step(batch, batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(seen) > 3
    assert len({mask.numpy().tobytes() for mask in seen}) == 3


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
    radius = 0.99 if kind == "ball" else 1.0  # near the boundary
    start = start / start.norm(dim=-1, keepdim=True) * radius
    model = Points(manifold, start)
    optimizer = geoopt.optim.RiemannianAdam(hsac.weights(model), lr=0.01, weight_decay=1e-3)
    learner = hsac.CurvatureLearner(
        model, optimizer, loss_of(model), period=2, ascent_steps=3, radius=1.0, scope="euclidean"
    )
    logs = train(model, optimizer, learner, 8, data())
    perturbed = [p for p in model.seen if not torch.equal(p, model.points)]
    assert len(perturbed) > 8
    assert all(manifold.check_point_on_manifold(p, atol=1e-6) for p in model.seen)
    moved = [float((p - model.points.detach()).norm()) for p in model.seen]
    assert max(moved) > 0.05  # by the ascent
    assert all(torch.isfinite(torch.tensor(log["value"])) for log in logs if log)
    assert isinstance(model.points, geoopt.ManifoldParameter)


def test_hypergradient_on_a_sphere() -> None:
    """The implicit term ignores directions off the sphere.

    Adding |points|² to the loss changes nothing on it.
    """
    found = []
    for weight in (0.0, 7.0):
        torch.manual_seed(0)
        points = torch.nn.functional.normalize(torch.randn(3, 4, dtype=F64), dim=-1)
        model = Points(geoopt.Sphere(), points)
        optimizer = geoopt.optim.RiemannianSGD(hsac.weights(model), lr=0.01)

        def loss(batch: Any, model: Points = model, weight: float = weight) -> Tensor:
            return cross_entropy(model(batch[0]), batch[1]) + weight * model.points.square().sum()

        learner = hsac.CurvatureLearner(
            model, optimizer, loss, period=1, scope="euclidean", solver={"name": "cg", "terms": 60}
        )
        found.append(learner.step(data())["hypergradient"]["c.theta"])
    assert found[1] == pytest.approx(found[0], rel=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_loss_may_autocast(device: str) -> None:
    model = Net(nn.BatchNorm1d(4), dtype=torch.float32).to(device)
    x, y = (t.to(device) for t in data(dtype=torch.float32))
    kinds = set()

    def loss(batch: Any) -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            features = model.features[0](batch[0])
            kinds.add(features.dtype)
            features = model.features[1](features)
        logits = mlr_logits_tangent(features.float(), model.z, model.r, model.c[0]())
        return cross_entropy(logits, batch[1])

    optimizer = sgd(model)
    learner = hsac.CurvatureLearner(model, optimizer, loss, period=2)
    logs = train(model, optimizer, learner, 6, (x, y))
    assert kinds == {torch.bfloat16}
    assert all(log["fallback"] is False for log in logs if log)
    exact = Net(nn.BatchNorm1d(4), dtype=torch.float32).to(device)
    optimizer = sgd(exact)
    learner = hsac.CurvatureLearner(exact, optimizer, loss_of(exact), period=2)
    plain = train(exact, optimizer, learner, 6, (x, y))
    assert logs[1]["value"] == pytest.approx(plain[1]["value"], rel=0.05)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"solver": {"name": "amortised"}},
        {"objective": "mean"},
        {"ascent_steps": 3, "solver": {"name": "cg"}},
    ],
)
def test_resumed_learner_continues_bit_for_bit(tmp_path: Path, parameters: dict[str, Any]) -> None:
    def fresh() -> tuple[Net, torch.optim.Optimizer, hsac.CurvatureLearner]:
        model = Net(nn.BatchNorm1d(4))
        optimizer = sgd(model)
        learner = hsac.CurvatureLearner(model, optimizer, loss_of(model), period=3, **parameters)
        return model, optimizer, learner

    model, optimizer, learner = fresh()
    whole = train(model, optimizer, learner, 17, data())
    first, stopped, before = fresh()
    begun = train(first, stopped, before, 8, data())
    states = {
        "model": first.state_dict(),
        "optimizer": stopped.state_dict(),
        "learner": before.state_dict(),
    }
    torch.save(states, tmp_path / "checkpoint.pt")
    states = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    resumed, going, after = fresh()
    for part, name in ((resumed, "model"), (going, "optimizer"), (after, "learner")):
        part.load_state_dict(states[name])
    assert begun + train(resumed, going, after, 9, data()) == whole
    both = zip(model.parameters(), resumed.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in both)


def test_amortised_works_between_outer_steps() -> None:
    """It spends one Hessian-vector product."""
    model = Net()
    learner = hsac.CurvatureLearner(
        model, sgd(model), loss_of(model), period=4, solver={"name": "amortised"}
    )
    products = [log["products"] for log in (learner.step(data()) for _ in range(12)) if log]
    assert products[1:] == [products[0] + 3] * 2


def slots(model: nn.Module) -> list[tuple[int, str, int]]:
    """Every parameter and buffer slot of the model, with the identity of what is in it."""
    found = []
    for module in model.modules():
        for own in (module._parameters, module._buffers):
            found += [(id(module), name, id(value)) for name, value in own.items()]
    return found


class Shared(nn.Module):
    """A layer, a BatchNorm, a curvature and a tensor that are each reached by two ways."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Linear(4, 4, dtype=F64), nn.BatchNorm1d(4, dtype=F64)
        self.c = hsac.Curvature(0.3)
        self.again, self.same_norm, self.same_c = self.first, self.norm, self.c
        self.tied = nn.Linear(4, 4, dtype=F64)
        self.tied.weight = self.first.weight
        self.head = hsac.Curvature(0.3)
        self.head.theta = self.c.theta

    def forward(self, x: Tensor) -> Tensor:
        u = self.tied(self.same_norm(self.again(self.norm(self.first(x)).tanh()).tanh()))
        c = self.same_c() + self.head()
        return mlr_logits_tangent(u, u.new_ones(3, 4).tril(), u.new_zeros(3), c)


def test_shared_modules_and_tensors_stay_shared() -> None:
    """Reached by two ways they stay what they are."""
    x, y = data()
    model = Shared()
    before = slots(model)
    state = {k: v.clone() for k, v in model.state_dict().items() if "theta" not in k}
    loss = lambda batch: cross_entropy(model(batch[0][:, :4]), batch[1])  # noqa: E731
    learner = hsac.CurvatureLearner(model, sgd(model), loss, period=1, ascent_steps=2)
    assert list(learner.curvatures) == ["c.theta"]
    log = learner.step((x, y))
    assert slots(model) == before
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in state.items())
    assert set(log["hypergradient"]) == {"c.theta"}
    assert all(p.is_leaf for p in model.parameters())

    # both curvatures move: the direct derivative is that of the two together
    def at(theta: float) -> Tensor:
        with torch.no_grad():
            model.c.theta.fill_(theta)
        return loss((x, y)).detach()

    direct = hsac.CurvatureLearner(
        model, sgd(model), loss, period=1, solver={"name": "none"}, radius=1e-9
    )
    theta = float(model.c.theta.detach())
    want = float(at(theta + 1e-5) - at(theta - 1e-5)) / 2e-5
    at(theta)
    batch = x, y
    assert direct.step(batch, batch)["hypergradient"]["c.theta"] == pytest.approx(want, rel=1e-5)


def interrupted(learner: hsac.CurvatureLearner, event: int) -> tuple[int, bool]:
    """Take a step, with Ctrl-C at the given line of those that swap, evaluate and move.

    Returns the number of lines not yet reached, and whether the step was interrupted.
    """
    files = (learner_module, stateless, torch.random, torch.nn.attention, contextlib)
    names, left = {module.__file__ for module in files}, [event]

    def trace(frame: Any, kind: str, _: Any) -> Any:
        if frame.f_code.co_filename not in names:
            return None
        left[0] -= kind == "line"
        if left[0] == 0 and kind == "line":
            signal.raise_signal(signal.SIGINT)
        return trace

    sys.settrace(trace)
    try:
        learner.step(data())
    except KeyboardInterrupt:
        return left[0], True
    finally:
        sys.settrace(None)
    return left[0], False


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let Ctrl-C raise, which a worker of pytest-xdist ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_interrupted_steps_leave_the_model() -> None:
    """Ctrl-C at any line: tensors, buffers, random numbers and torch's settings are as before.

    The curvature and the learner's own state have either moved both, or neither.
    """
    model = Shared()
    loss = lambda batch: cross_entropy(model(batch[0][:, :4]), batch[1])  # noqa: E731
    # Two evaluations are enough: all of a step's are alike.
    one = {"period": 1, "objective": "loss", "solver": {"name": "identity"}}
    learner = hsac.CurvatureLearner(model, sgd(model), loss, **one)
    learner.step(data())
    places = slots(model)
    events = 100_000 - interrupted(learner, 100_000)[0]
    interrupts = 0
    for event in range(1, events + 1):
        state = {k: v.clone() for k, v in model.state_dict().items()}
        counted, stream = learner.state["adam"]["count"].item(), torch.get_rng_state()
        interrupts += interrupted(learner, event)[1]
        assert slots(model) == places, event
        now = model.state_dict().items()
        assert all(torch.equal(v, state[k]) for k, v in now if "theta" not in k), event
        moved = not torch.equal(model.c.theta, state["c.theta"])
        assert moved == (learner.state["adam"]["count"].item() > counted), event
        assert torch.equal(torch.get_rng_state(), stream), event
        assert torch.backends.cuda.flash_sdp_enabled(), event
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, event
    assert interrupts == events > 200


def test_loss_may_hold_the_model() -> None:
    """It may be a module that has the model as a submodule."""

    class Loss(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, batch: Any) -> Tensor:
            return cross_entropy(self.model(batch[0]), batch[1])

    one, other = Net(), Net()
    logs = [
        hsac.CurvatureLearner(m, sgd(m), f, period=1).step(data())
        for m, f in ((one, Loss(one)), (other, loss_of(other)))
    ]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("solver", ["neumann", "amortised", "unrolled", "nystrom", "cg"])
@pytest.mark.parametrize("factor", [0.0, float("nan")])
def test_bad_batch_leaves_no_trace(solver: str, factor: float) -> None:
    """After a batch with no gradient, or NaN for one, the solves are as they would have been."""
    found = []
    for bad in (False, True):
        model = Net(nn.Tanh())
        scale = [1.0]

        def loss(batch, model=model, scale=scale):
            return scale[0] * cross_entropy(model(batch[0]), batch[1])

        learner = hsac.CurvatureLearner(
            *(model, sgd(model, 30.0), loss),
            **{"period": 1, "step": 1e-9, "warm_start": False},
            solver={"name": solver},
        )
        for k in range(40):
            scale[0] = factor if bad and k in (0, 1) else 1.0
            log = learner.step(data())
        found.append(log)
    assert found[1]["fallback"] == found[0]["fallback"]
    assert found[1]["residual"] == pytest.approx(found[0]["residual"], rel=0.01, abs=1e-3)
    without, after = (log["hypergradient"]["c.0.theta"] for log in found)
    assert after == pytest.approx(without, rel=0.01)


def test_skipped_steps_do_not_count() -> None:
    moved = []
    for skipped in (0, 20):
        model = Net()
        scale = [1.0]

        def loss(batch, model=model, scale=scale):
            return scale[0] * cross_entropy(model(batch[0]), batch[1])

        learner = hsac.CurvatureLearner(model, sgd(model), loss, period=1, warm_start=False)
        scale[0] = float("nan")
        for _ in range(skipped):
            learner.step(data())
        assert float(model.c[0]().detach()) == pytest.approx(0.1)
        scale[0] = 1.0
        moved.append(learner.step(data())["curvature"]["c.0.theta"])
    assert moved[1] == pytest.approx(moved[0], rel=1e-9)


def test_frozen_weights_and_curvatures_stay() -> None:
    model = Net(nn.Linear(4, 4, dtype=F64), curvatures=2)
    optimizer = sgd(model)
    seen: list[Tensor] = []
    first = model.features[0]
    first.register_forward_hook(lambda module, *_: seen.append(module.weight.detach().clone()))
    learner = hsac.CurvatureLearner(model, optimizer, loss_of(model), period=1)
    learner.step(data())
    assert any(not torch.equal(w, model.features[0].weight) for w in seen)
    model.features[0].requires_grad_(False)
    model.c[1].theta.requires_grad_(False)
    seen.clear()
    before = float(model.c[1]().detach())
    learner.step(data())
    assert all(torch.equal(w, model.features[0].weight) for w in seen)
    assert float(model.c[1]().detach()) == before


def test_added_layer_is_perturbed() -> None:
    model = Net(nn.Linear(4, 4, dtype=F64))
    optimizer = torch.optim.SGD([model.z, model.r], lr=0.1)
    learner = hsac.CurvatureLearner(model, optimizer, loss_of(model), period=1)
    learner.step(data())
    optimizer.add_param_group({"params": list(model.features.parameters()), "weight_decay": 0.1})
    learner.step(data())
    assert learner.state["adversary"].shape[1] == sum(p.numel() for p in hsac.weights(model))


def test_decoupled_decay_is_left_out() -> None:
    """It is no part of the objective."""
    found = []
    for decay in (0.0, 0.5):
        model = Net()
        optimizer = torch.optim.AdamW(hsac.weights(model), lr=0.1, weight_decay=decay)
        found.append(hsac.CurvatureLearner(model, optimizer, loss_of(model), period=1).step(data()))
    assert found[0] == found[1]


def test_curvature_gradients_do_not_accumulate() -> None:
    model = Net()
    learner = hsac.CurvatureLearner(model, sgd(model), loss_of(model), warm_up=100)
    for _ in range(5):
        learner.loss(data()).backward()
        learner.step(data())
        assert model.c[0].theta.grad is None


@pytest.mark.parametrize("clipped", [nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_])
def test_weights_train_without_theta(clipped: Any) -> None:
    """Under a GradScaler, whatever is clipped: θ is in no optimizer and has no gradient."""
    trained = []
    for parameters in (nn.Module.parameters, hsac.weights):
        model = Net(nn.Tanh(), dtype=torch.float32)
        optimizer, scaler = sgd(model), torch.amp.GradScaler("cpu")
        x, y = data(dtype=torch.float32)
        learner = hsac.CurvatureLearner(model, optimizer, loss_of(model), period=2)
        for _ in range(6):
            optimizer.zero_grad()
            scaler.scale(learner.loss((x, y))).backward()
            assert model.c[0].theta.grad is None
            scaler.unscale_(optimizer)
            clipped(parameters(model), 0.1)
            scaler.step(optimizer)
            scaler.update()
            learner.step((x, y))
        trained.append(model.state_dict())
    assert float(model.c[0]().detach()) != pytest.approx(0.1)
    assert all(torch.equal(v, trained[1][k]) for k, v in trained[0].items())


def theta_gradient(model: nn.Module, called: Any = None) -> Tensor | None:
    x, y = data()
    model.zero_grad()
    cross_entropy((model if called is None else called)(x), y).backward()
    return model.c[0].theta.grad


def test_theta_follows_losses_without_learner() -> None:
    """So it is the baseline of an ordinary optimizer, before a learner, after it and in copies."""
    model = Net()
    expected = theta_gradient(model)
    assert expected != 0
    first = hsac.CurvatureLearner(model, sgd(model), loss_of(model))
    second = hsac.CurvatureLearner(model, sgd(model), loss_of(model))
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert theta_gradient(copied) == expected
    del first
    assert theta_gradient(model) is None
    with_learner = copy.deepcopy(second)
    assert theta_gradient(with_learner.model) is None
    del second
    assert theta_gradient(model) == expected


def test_shared_thetas_are_held() -> None:
    """Also where two modules share it, one of which the learner knows by name."""
    model = Shared()
    loss = lambda batch: cross_entropy(model(batch[0][:, :4]), batch[1])  # noqa: E731
    learner = hsac.CurvatureLearner(model, sgd(model), loss, period=1)
    loss(data()).backward()
    assert model.c.theta.grad is None
    batch = data()
    assert learner.step(batch, batch)["hypergradient"]["c.theta"] != 0


def test_functional_calls_differentiate_theta() -> None:
    """One's own functional calls ask for it, and get what they got without a learner."""
    model, (x, y) = Net(), data()
    point = {k: v.detach() for k, v in model.named_parameters()}

    def loss(point: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(torch.func.functional_call(model, point, (x[None],)), y[None])

    examples = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))
    expected = examples(point, x, y)["c.0.theta"]
    learner = hsac.CurvatureLearner(model, sgd(model), loss_of(model))
    assert torch.equal(examples(point, x, y)["c.0.theta"], expected)
    assert torch.allclose(torch.func.vmap(lambda x: model(x[None]))(x)[:, 0], model(x))
    assert learner.due is False


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_compiled_models_leave_theta_alone() -> None:
    """Compiled before there is a learner, while there is one, and after it."""
    model = Net()
    compiled = torch.compile(model, backend="aot_eager")
    expected = theta_gradient(model)
    assert theta_gradient(model, compiled) == pytest.approx(expected)
    learner = hsac.CurvatureLearner(model, sgd(model), loss_of(model))
    assert theta_gradient(model, compiled) is None
    del learner
    assert theta_gradient(model, compiled) == pytest.approx(expected)
    torch._dynamo.reset()


def batch_of(rank: int, step: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(2 * step + rank)
    return torch.randn(16, 5, generator=g, dtype=F64), torch.randint(3, (16,), generator=g)


def parallel(rank: int, learner_first: bool, wrapped: bool, **options: Any) -> dict[str, Any]:
    """Train as DistributedDataParallel does, each rank on batches of its own."""
    model = Net(nn.BatchNorm1d(4, dtype=F64), nn.Tanh())
    optimizer = sgd(model)
    ddp = None if learner_first else DistributedDataParallel(model, **options)
    seen: Any = ddp if wrapped else model
    solver = {"solver": {"name": "amortised"}, "ascent_steps": 2}
    learner = hsac.CurvatureLearner(seen, optimizer, loss_of(seen), period=3, **solver)
    ddp = ddp or DistributedDataParallel(model, **options)
    norms = []
    for step in range(12):
        optimizer.zero_grad()
        loss_of(ddp)(batch_of(rank, step)).backward()
        gradients = [[p.grad for p in of] for of in (model.parameters(), hsac.weights(model))]
        norms.append([float(nn.utils.get_total_norm(of)) for of in gradients])
        optimizer.step()
        log = learner.step(*(batch_of(rank, 100 + 3 * step + k) for k in range(3)))
    state = {k: v for k, v in learner.state_dict().items() if k in ("count", "rule")}
    return {"theta": float(model.c[0].theta.detach()), "norms": norms, "log": log, "state": state}


def on_rank(rank: int) -> dict[str, Any]:
    """Return what one of two ranks finds."""
    found: dict[str, Any] = {name: parallel(rank, **how) for name, how in PARALLEL.items()}
    model = Net()
    scale = [1.0]

    def loss(batch: Any) -> Tensor:
        if batch == "bad":
            raise ValueError("a bad batch")
        return scale[0] * cross_entropy(model(batch[0]), batch[1])

    def tried(call: Any) -> Any:
        try:
            return call()
        except (InputError, ValueError, RuntimeError) as error:
            return repr(error)

    learner = hsac.CurvatureLearner(model, sgd(model), loss, period=1)
    batches = [batch_of(rank, k) for k in range(3)]
    found["failed"] = tried(lambda: learner.step("bad" if rank == 1 else batches[0], *batches[1:]))
    scale[0] = float("nan") if rank == 1 else 1.0
    found["not finite"] = learner.step(*batches)
    scale[0] = 1.0
    found["after"] = learner.step(*batches)
    # ranks that train models of their own
    with torch.no_grad():
        model.z.add_(rank)
    found["apart"] = tried(lambda: learner.step(*batches))
    own = hsac.CurvatureLearner(model, sgd(model), loss, period=1, ranks="own")
    found["own"] = own.step(*batches)["hypergradient"]["c.0.theta"]
    found["some"] = tried(lambda: hsac.CurvatureLearner(model, sgd(model), loss, ranks=rank))
    fully_shard(model.features)
    found["sharded"] = tried(lambda: hsac.CurvatureLearner(model, sgd(model), loss))
    return found


PARALLEL: dict[str, dict[str, Any]] = {
    "model": {"learner_first": False, "wrapped": False},
    "wrapper": {"learner_first": False, "wrapped": True},
    "learner first": {"learner_first": True, "wrapped": False},
    "unused": {"learner_first": False, "wrapped": False, "find_unused_parameters": True},
    "static": {"learner_first": True, "wrapped": False, "static_graph": True},
    "views": {"learner_first": True, "wrapped": False, "gradient_as_bucket_view": True},
}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return on_two_ranks(on_rank, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("how", PARALLEL)
def test_ranks_share_one_curvature(ranks: list[dict[str, Any]], how: str) -> None:
    """And all that their learners hold, so that a checkpoint of one is one of all."""
    first, second = (rank[how] for rank in ranks)
    assert first["theta"] == second["theta"] == pytest.approx(ranks[0]["model"]["theta"], rel=1e-9)
    assert first["theta"] != pytest.approx(math.log(0.1))
    assert first["log"] == second["log"]
    pairs = zip(tensors(first["state"]), tensors(second["state"]), strict=True)
    assert all(torch.equal(x, y) for x, y in pairs)
    assert all(every == pytest.approx(of_weights) for every, of_weights in first["norms"])


def tensors(state: Any) -> list[Tensor]:
    if isinstance(state, dict):
        return [x for value in state.values() for x in tensors(value)]
    return [torch.as_tensor(state)]


def test_ranks_fall_back_together(ranks: list[dict[str, Any]]) -> None:
    """A batch of one rank that fails, or is not finite, leaves both at the same curvature."""
    first, second = ranks
    assert second["failed"] == "ValueError('a bad batch')"
    assert "failed on another rank" in first["failed"]
    assert first["not finite"]["fallback"]
    assert second["not finite"]["curvature"] == first["not finite"]["curvature"]
    assert not first["after"]["fallback"]
    assert first["after"] == second["after"]


def test_ranks_apart_are_refused(ranks: list[dict[str, Any]]) -> None:
    """Models that differ, and those that no rank has as a whole. Each may say that it is alone."""
    for rank in ranks:
        assert "differ between ranks" in rank["apart"]
        assert "DTensor" in rank["sharded"]
        assert "all, own, or a process group" in rank["some"]
    assert ranks[0]["own"] != ranks[1]["own"]


def test_due_says_when_batches_count() -> None:
    """`due` says when a batch is needed."""
    model = Net()
    learner = hsac.CurvatureLearner(model, sgd(model), loss_of(model), period=3, warm_up=3)
    for _ in range(9):
        due = learner.due
        assert bool(learner.step(data() if due else None)) == due


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("needs_gradient", [False, True])
def test_checkpointing_is_refused(reentrant: bool, needs_gradient: bool) -> None:
    """Either kind, whether or not the block's input needs a gradient. A call under no_grad is not.

    The reentrant kind would leave out the gradient of weights whose block has such an input.
    """
    model = Net(nn.Tanh())
    features = model.features
    checkpointed = lambda batch: cross_entropy(  # noqa: E731
        mlr_logits_tangent(
            torch.utils.checkpoint.checkpoint(
                features,
                batch[0].clone().requires_grad_(needs_gradient),
                use_reentrant=reentrant,
            ),
            model.z,
            model.r,
            model.c[0](),
        ),
        batch[1],
    )
    with pytest.raises(RuntimeError, match="gradient checkpointing recomputes at other weights"):
        hsac.CurvatureLearner(model, sgd(model), checkpointed, period=1).step(data())
    assert torch.utils.checkpoint.CheckpointFunction is CHECKPOINT
    with torch.no_grad():
        log = hsac.CurvatureLearner(model, sgd(model), loss_of(model), period=1).step(data())
    other = Net(nn.Tanh())
    assert log == hsac.CurvatureLearner(other, sgd(other), loss_of(other), period=1).step(data())
    with torch.inference_mode(), pytest.raises(InputError, match="inference mode"):
        hsac.CurvatureLearner(other, sgd(other), loss_of(other), period=1).step(data())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_model_is_served(dtype: torch.dtype) -> None:
    """The hypergradient is that of the model in float32, to the weights' rounding."""
    found = []
    for at in (dtype, torch.float32):
        model = Net(dtype=torch.float32).to(dtype).to(at)
        assert model.c[0].theta.dtype == torch.float32
        x, y = data()
        batch = x.to(dtype).to(at), y
        learner = hsac.CurvatureLearner(model, sgd(model), loss_of(model), period=1)
        log = learner.step(batch, batch, batch)
        assert not log["fallback"]
        found.append(log["hypergradient"]["c.0.theta"])
    assert found[0] == pytest.approx(found[1], rel=0.03)


def test_missing_second_derivatives_warn(
    recwarn: pytest.WarningsRecorder,
) -> None:
    """Of custom autograd functions only those that lack them are warned about."""

    class Sine(torch.autograd.Function):
        """Whose derivative is right and, as it saves one, has none of its own; `honest` has."""

        @staticmethod
        def forward(ctx: Any, x: Tensor, honest: bool) -> Tensor:
            ctx.save_for_backward(x if honest else x.cos())
            ctx.honest = honest
            return x.sin()

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            (saved,) = ctx.saved_tensors
            return g * (saved.cos() if ctx.honest else saved.detach()), None

    for honest in (True, False):
        model = Net()
        loss = lambda batch, model=model, honest=honest: cross_entropy(  # noqa: E731
            mlr_logits_tangent(
                Sine.apply(model.features(batch[0]), honest), model.z, model.r, model.c[0]()
            ),
            batch[1],
        )
        learner = hsac.CurvatureLearner(model, sgd(model), loss, period=1)
        learner.step(data())
        learner.step(data())
        said = [str(w.message) for w in recwarn.list if "second derivatives" in str(w.message)]
        assert len(said) == (0 if honest else 1)  # once is enough
    assert "Sine" in said[0]


def test_attention_has_second_derivatives() -> None:
    torch.manual_seed(0)
    model = Net(
        nn.Unflatten(1, (2, 2)),
        nn.TransformerEncoderLayer(2, 1, 4, batch_first=True, dtype=F64),
        nn.Flatten(),
    )
    assert learner_log(model)["fallback"] in (False, True)


def learner_log(model: nn.Module) -> dict[str, Any]:
    return hsac.CurvatureLearner(model, sgd(model), loss_of(model), period=1).step(data())


@pytest.mark.parametrize("name", MANIFOLDS)
def test_other_manifolds_move(name: str) -> None:
    kinds = {"Stiefel": geoopt.CanonicalStiefel, "EuclideanStiefel": geoopt.EuclideanStiefel}
    manifold = kinds.get(name, getattr(geoopt, name, None))()
    manifold = manifold.double()
    draw = manifold.random_normal if name == "Lorentz" else manifold.random
    torch.manual_seed(0)
    model = Net()
    model.p = geoopt.ManifoldParameter(draw(4, 4, dtype=F64), manifold=manifold)
    loss = lambda batch: cross_entropy(  # noqa: E731
        mlr_logits_tangent(model.features(batch[0]) @ model.p, model.z, model.r, model.c[0]()),
        batch[1],
    )
    optimizer = geoopt.optim.RiemannianAdam(hsac.weights(model), lr=0.01)
    learner = hsac.CurvatureLearner(model, optimizer, loss, period=1, ascent_steps=2, radius=0.1)
    for log in train(model, optimizer, learner, 3, data()):
        assert torch.isfinite(torch.tensor(log["value"]))
        assert torch.isfinite(torch.tensor(log["hypergradient"]["c.0.theta"]))


def test_bad_input_is_named() -> None:
    model = Net()
    with pytest.raises(InputError, match=r"^model: found no hsac.Curvature"):
        hsac.CurvatureLearner(nn.Linear(2, 2), sgd(model), loss_of(model))
    with pytest.raises(InputError, match=r"^optimizer: found the curvature 'c.0.theta'"):
        hsac.CurvatureLearner(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_of(model))
    with pytest.raises(InputError, match=r"^optimizer: found a parameter of shape"):
        hsac.CurvatureLearner(model, sgd(Net()), loss_of(model))
    with pytest.raises(InputError, match=r"^CurvatureLearner.radius: found -1"):
        hsac.CurvatureLearner(model, sgd(model), loss_of(model), radius=-1)
    words = r"CurvatureLearner.raduis: found an unknown key.*did you mean 'radius'"
    with pytest.raises(InputError, match=words):
        hsac.CurvatureLearner(model, sgd(model), loss_of(model), raduis=1.0)
    for given, words in (
        ({"warm_up": 0.1}, "warm_up: found 0.1; allowed is an integer from 0"),
        ({"seed": -1}, "seed: found -1"),
        ({"radius": float("inf")}, "radius: found inf"),
        ({"period": 0}, "period: found 0"),
        ({"batch": "held_out"}, "batch: found 'held_out'; allowed is training"),
        (
            {"shared": "levels"},
            r"shared: found 'levels'; allowed is none; `step\(batch, batch, batch\)` shares",
        ),
        (
            {"batch_factor": 2},
            "batch_factor: found 2; allowed is 1; a sample is as large as the batch",
        ),
        (
            {"anneal": True},
            "anneal: found True; allowed is False; how long training is, it cannot know",
        ),
    ):
        with pytest.raises(InputError, match=f"^CurvatureLearner.{words}"):
            hsac.CurvatureLearner(model, sgd(model), loss_of(model), **given)
    for loss, found in (
        (lambda batch: cross_entropy(model(batch[0]), batch[1], reduction="none"), r"shape \[24\]"),
        (lambda batch: 1.0, "float"),
    ):
        words = f"^loss: found {found}; allowed is a tensor with one value"
        with pytest.raises(InputError, match=words):
            hsac.CurvatureLearner(model, sgd(model), loss, period=1).step(data(), data())


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (
            lambda m: hsac.CurvatureLearner(m, sgd(m), loss_of(m), solver={"name": "amortised"}),
            "solver",
        ),
        (
            lambda m: hsac.CurvatureLearner(
                m, torch.optim.SGD(hsac.weights(m)[::-1], lr=0.1), loss_of(m)
            ),
            "weights",
        ),
    ],
)
def test_state_of_another_learner(make: Any, key: str) -> None:
    """It is refused."""
    model = Net()
    state = hsac.CurvatureLearner(model, sgd(model), loss_of(model)).state_dict()
    with pytest.raises(InputError, match=f"^state_dict: {key}: found"):
        make(model).load_state_dict(state)
    other = Net(curvatures=2)
    with pytest.raises(InputError, match=r"^state_dict: curvatures: found \['c.0.theta'\]"):
        hsac.CurvatureLearner(other, sgd(other), loss_of(other)).load_state_dict(state)


def test_example_is_short_and_runs(capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "examples/own_loop.py"
    assert len(path.read_text().splitlines()) < 40
    runpy.run_path(str(path))
    said = capsys.readouterr().out
    assert said.count("curvature") == 3
    assert float(said.split()[-1]) > 0.8
