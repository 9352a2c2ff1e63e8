"""What `CurvatureLearner` refuses of a model, an optimizer, a loss and a saved state."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geoopt
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from two_ranks import on_two_ranks

import hsac
from hsac.ball import mlr_logits_tangent
from hsac.errors import InputError

F64 = torch.float64
Use = Callable[["Net"], Tensor]


def called(model: "Net") -> Tensor:
    return model.c()


class Net(nn.Module):
    """Linear layer and Poincaré MLR, at the curvature that `use` gives."""

    def __init__(self, use: Use = called) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Linear(5, 4, dtype=F64)
        self.z = nn.Parameter(torch.randn(3, 4, dtype=F64))
        self.r = nn.Parameter(torch.zeros(3, dtype=F64))
        self.c, self.use = hsac.Curvature(0.5), use

    def forward(self, x: Tensor) -> Tensor:
        return mlr_logits_tangent(self.features(x), self.z, self.r, self.use(self))


def batch() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(24, 5, generator=g, dtype=F64), torch.randint(3, (24,), generator=g)


def learner_of(model: nn.Module, called: Any = None, **parameters: Any) -> hsac.CurvatureLearner:
    optimizer = torch.optim.SGD(hsac.weights(model), lr=0.1, weight_decay=0.01)
    called = model if called is None else called

    def loss(batch: Any) -> Tensor:
        return cross_entropy(called(batch[0]), batch[1])

    return hsac.CurvatureLearner(model, optimizer, loss, **({"period": 1} | parameters))


CUT_OFF: dict[str, Use] = {
    "float": lambda model: torch.tensor(float(model.c()), dtype=F64),
    "item": lambda model: torch.tensor(model.c().item(), dtype=F64),
    "detach": lambda model: model.c().detach(),
    "geoopt": lambda model: geoopt.PoincareBall(c=model.c()).c,
    "another": lambda model: torch.tensor(0.5, dtype=F64),
}


@pytest.mark.parametrize("name", CUT_OFF)
def test_curvature_outside_the_loss(name: str) -> None:
    """The first outer step refuses it and changes nothing."""
    model = Net(CUT_OFF[name])
    learner = learner_of(model)
    before = copy.deepcopy(model.state_dict())
    words = r"^loss: found one that does not depend on c\.theta, which would never move; allowed is"
    with pytest.raises(InputError, match=words):
        learner.step(batch())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_loss_of_another_copy() -> None:
    """A copied learner whose loss calls the model that it was copied from is refused."""
    learner = copy.deepcopy(learner_of(Net()))
    with pytest.raises(InputError, match=r"the hsac\.Curvature of this very model"):
        learner.step(batch())


def test_loss_without_gradient() -> None:
    model = Net()
    learner = learner_of(model, called=torch.no_grad()(model.forward))
    with pytest.raises(InputError, match="does not depend on"):
        learner.step(batch())


def test_frozen_curvatures_need_no_loss() -> None:
    model = Net()
    model.second = hsac.Curvature(0.3).requires_grad_(False)
    learner = learner_of(model)
    assert learner.step(batch())["curvature"]["second.theta"] == pytest.approx(0.3)
    model.second.requires_grad_(True)
    with pytest.raises(InputError, match=r"does not depend on second\.theta,"):
        learner_of(model).step(batch())


class Gated(Net):
    """Its second curvature counts for batches of more than twelve rows."""

    def __init__(self) -> None:
        super().__init__()
        self.second = hsac.Curvature(0.3)

    def forward(self, x: Tensor) -> Tensor:
        c = self.c() + self.second() if len(x) > 12 else self.c()
        return mlr_logits_tangent(self.features(x), self.z, self.r, c)


@pytest.mark.parametrize("rows", [(24, 8), (8, 24)])
def test_one_sample_may_leave_it_out(rows: tuple[int, int]) -> None:
    samples = [tuple(part[:n] for part in batch()) for n in (*rows, 24)]
    assert not learner_of(Gated()).step(*samples)["fallback"]


def ranks_with_a_gate(rank: int) -> str:
    rows = 24 if rank else 8
    sample = tuple(part[:rows] for part in batch())
    used = str(learner_of(Gated()).step(sample, sample)["fallback"])
    try:
        learner_of(Net(CUT_OFF["detach"] if rank else called)).step(batch())
        learner_of(Net(CUT_OFF["detach"])).step(batch())
    except InputError as error:
        return f"{used} {error}"
    return used


def test_one_rank_may_leave_it_out(tmp_path: Path) -> None:
    for said in on_two_ranks(ranks_with_a_gate, tmp_path):
        assert said.startswith("False loss: found one that does not depend on c.theta")


def test_meta_models_are_refused() -> None:
    with torch.device("meta"):
        model = Net()
    with pytest.raises(InputError, match=r"^model: found 'c.theta' on the device meta; allowed is"):
        learner_of(model)
    model = Net()
    model.features = nn.Linear(5, 4, device="meta")
    with pytest.raises(InputError, match=r"^model: found 'features.weight' on the device meta"):
        learner_of(model)


class Untaken(nn.Parameter):
    """A parameter that torch's functions do not take."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__class__.__name__ == "method-wrapper":
            return super().__torch_function__(func, types, args, kwargs or {})
        raise TypeError(f"Attempting to apply {func} on a ManifoldParameter")


class Wrapped(Untaken):
    """The same with methods of its own, as HypLL's."""

    def detach(self) -> Any:
        return object()


@pytest.mark.parametrize("kind", [Untaken, Wrapped])
def test_other_parameters_are_refused(kind: type[Untaken]) -> None:
    model = Net()
    words = rf"^optimizer: found 'point' of type .*\.{kind.__name__}; allowed are the parameters of"
    model.point = kind(torch.zeros(3))
    with pytest.raises(InputError, match=words):
        learner_of(model)


def test_other_living_learners_warn_once() -> None:
    model = Net()
    first = learner_of(model)
    second = learner_of(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            second.step(batch(), batch())
    told = [warning for warning in caught if "another learner" in str(warning.message)]
    assert len(told) == 1
    assert told[0].filename == __file__
    del first
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner_of(copy.deepcopy(model)).step(batch(), batch())


class Embedded(Net):
    """The rows of an embedding as features."""

    def __init__(self, sparse: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(24, 5, sparse=sparse, dtype=F64)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.table(torch.arange(len(x))))


def test_sparse_gradients_are_refused() -> None:
    words = r"^CurvatureLearner.step: the model has sparse gradients; allowed are dense ones"
    with pytest.raises(InputError, match=words):
        learner_of(Embedded(sparse=True)).step(batch(), batch())
    assert not learner_of(Embedded(sparse=False)).step(batch(), batch())["fallback"]


@pytest.mark.parametrize("whose", ["model", "loss"])
def test_compiled_models_are_refused(whose: str) -> None:
    """Those whose code has no second derivatives."""
    model = Net()
    compiled = torch.compile(model, backend="aot_eager")
    learner = learner_of(compiled if whose == "model" else model, called=compiled)
    words = r"^CurvatureLearner.step: the model is compiled; allowed is the module that was"
    with pytest.raises(InputError, match=words):
        learner.step(batch(), batch())


@pytest.mark.parametrize("name", ["Adafactor", "Muon"])
def test_optimizers_with_decoupled_decay(name: str) -> None:
    """Their decay is the gradient of no objective, as that of AdamW."""
    found = []
    for decay in (0.0, 0.5):
        model = Net().requires_grad_(False)
        model.c.requires_grad_(True)
        weights = [model.features.weight.requires_grad_(True), model.z.requires_grad_(True)]
        optimizer = getattr(torch.optim, name)(weights, lr=0.1, weight_decay=decay)
        learner = hsac.CurvatureLearner(
            model, optimizer, lambda b, m=model: cross_entropy(m(b[0]), b[1]), period=1
        )
        found.append(learner.step(batch(), batch()))
    assert found[0] == found[1]


def sigmoid() -> Net:
    model = Net()
    model.c = hsac.Curvature(0.5, "sigmoid")
    return model


def bounded() -> Net:
    model = Net()
    model.c = hsac.Curvature(0.5, bounds=(0.01, 1.0))
    return model


OTHERS: dict[str, Callable[[], hsac.CurvatureLearner]] = {
    "objective": lambda: learner_of(Net(), objective="gap"),
    "radius": lambda: learner_of(Net(), radius=0.1),
    "period": lambda: learner_of(Net(), period=2),
    "step": lambda: learner_of(Net(), step=0.5),
    "warm_up": lambda: learner_of(Net(), warm_up=90),
    "solver": lambda: learner_of(Net(), solver={"name": "neumann", "terms": 4}),
    "transforms": lambda: learner_of(sigmoid()),
    "bounds": lambda: learner_of(bounded()),
}


@pytest.mark.parametrize("key", OTHERS)
def test_state_of_other_settings(key: str) -> None:
    """It is refused in the name of the key, and the learner stays as it was."""
    saved = learner_of(Net())
    saved.step(batch(), batch())
    other = OTHERS[key]()
    with pytest.raises(
        InputError, match=rf"^state_dict: {key}: found .*; allowed is .*this learner"
    ):
        other.load_state_dict(saved.state_dict())
    assert other.count == 0
    assert other.state["adversary"] is None


def without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda state: {k: v for k, v in state.items() if k != key}


def changed(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda state: state | values


def with_rule(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda state: state | {"rule": state["rule"] | values}


def adam(**values: float) -> dict[str, Tensor]:
    whole = {"first": 0.1, "second": 0.1, "count": 1.0} | values
    return {key: torch.full((1, 1), value, dtype=F64) for key, value in whole.items()}


DAMAGED: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (without("count"), "state_dict: found no count; allowed is all"),
    (without("settings"), "state_dict: found no settings"),
    (lambda state: None, "state_dict: found NoneType; allowed is what"),
    (lambda state: {}, "state_dict: found no count, rule, generator, settings"),
    (changed(count=-1), "state_dict: count: found -1; allowed is an integer from 0"),
    (changed(count=1.5), "state_dict: count: found 1.5"),
    (changed(rule={}), "state_dict: rule: found no adam"),
    (changed(settings={}), "state_dict: settings: found no"),
    (changed(generator=torch.zeros(3)), "state_dict: generator: found no state of torch's"),
    (with_rule(adam={}), r"state_dict: rule\.adam: found no first"),
    (with_rule(adam=adam(first=torch.nan)), r"state_dict: rule\.adam\.first: found tensor.*nan"),
    (with_rule(adversary=torch.zeros(1, 7)), r"state_dict: rule\.adversary: found \[1, 7\]; .*39"),
    (with_rule(adversary=3), r"state_dict: rule\.adversary: found 3; allowed is a tensor"),
    (with_rule(adversary=torch.full((1, 39), torch.nan)), r"state_dict: rule\.adversary: found"),
    (with_rule(adam=adam(count=-1.0)), r"state_dict: rule\.adam\.count: .* from 0"),
    (with_rule(adam=adam(second=-1.0)), r"state_dict: rule\.adam\.second: .* from 0"),
    (with_rule(solver=None), r"state_dict: rule\.solver: found NoneType"),
    (
        with_rule(solver={"power": torch.ones(1, 3)}),
        r"state_dict: rule\.solver\.power: found \[1",
    ),
    (with_rule(tracked="x"), r"state_dict: rule\.tracked: found 'x'; allowed is an integer from 0"),
    (changed(count=7, generator=torch.zeros(5056, dtype=torch.uint8)), "state_dict: generator: "),
    (changed(count=7, generator=torch.zeros(5056)), "state_dict: generator: "),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGED)
def test_damaged_state(damage: Callable[[dict[str, Any]], Any], words: str) -> None:
    """It is refused, and the learner stays as it was."""
    learner = learner_of(Net())
    learner.step(batch(), batch())
    state = learner.state_dict()
    with pytest.raises(InputError, match=f"^{words}"):
        learner.load_state_dict(damage(state))
    assert learner.count == 1
    learner.load_state_dict(state)


def test_unfrozen_curvatures_are_checked() -> None:
    model = Net()
    model.second = hsac.Curvature(0.3).requires_grad_(False)
    learner = learner_of(model)
    learner.step(batch(), batch())
    model.second.requires_grad_(True)
    with pytest.raises(InputError, match=r"does not depend on second\.theta,"):
        learner.step(batch(), batch())


def test_replaced_curvatures_are_refused() -> None:
    model = Net()
    learner = learner_of(model)
    learner.step(batch(), batch())
    model.c = hsac.Curvature(0.5)
    with pytest.raises(InputError, match=r"^model: found other curvatures \(c\.theta\) than when"):
        learner.step(batch(), batch())


class Two(Net):
    """A second curvature with a large derivative, or a number in its place."""

    def __init__(self, learned: bool) -> None:
        super().__init__()
        self.second = hsac.Curvature(0.3).requires_grad_(False) if learned else (lambda: 0.3)

    def forward(self, x: Tensor) -> Tensor:
        c = self.c() + 30 * self.second()
        return mlr_logits_tangent(self.features(x), self.z, self.r, c)


def test_frozen_curvatures_bound_no_step() -> None:
    """The hypergradient's length is bounded over what can move."""
    found = []
    for learned in (True, False):
        model = Two(learned)
        learner = learner_of(model, clip=0.01)
        for _ in range(5):
            learner.step(batch(), batch())
        found.append(model.c().item())
    assert found[0] == pytest.approx(found[1], rel=1e-12)


class Owner:
    """A trainer that holds its learner, whose loss is its method: a cycle of references."""

    def __init__(self, model: Net) -> None:
        self.model = model
        optimizer = torch.optim.SGD(hsac.weights(model), lr=0.1)
        self.learner = hsac.CurvatureLearner(model, optimizer, self.loss, period=1)

    def loss(self, rows: tuple[Tensor, Tensor]) -> Tensor:
        return cross_entropy(self.model(rows[0]), rows[1])


def test_dropped_owners_do_not_count() -> None:
    model = Net()
    Owner(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Owner(model).learner.step(batch(), batch())


@pytest.mark.parametrize("text", ["cannot read data/sparse_targets.pt", "donated blood"])
def test_errors_of_the_loss_are_its_own(text: str) -> None:
    model = Net()

    def loss(rows: Any) -> Tensor:
        raise RuntimeError(text)

    optimizer = torch.optim.SGD(hsac.weights(model), lr=0.1)
    learner = hsac.CurvatureLearner(model, optimizer, loss, period=1)
    with pytest.raises(RuntimeError, match=text):
        learner.step(batch(), batch())


def test_state_after_unfreezing_is_current() -> None:
    """What was carried over is of the weights of the last step, and is left out."""
    model = Net()
    model.features.requires_grad_(False)
    learner = learner_of(model)
    learner.step(batch(), batch())
    model.features.requires_grad_(True)
    other = learner_of(Net())
    other.load_state_dict(learner.state_dict())
    assert other.state["adversary"] is None
    assert other.count == 1
