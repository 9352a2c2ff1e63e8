"""The training loop against training loops written out in torch."""

from dataclasses import replace

import pytest
import torch
from studies import cell_of, recipe_of, smoke_keys, with_training

from hsac.data import build_variant
from hsac.errors import InputError
from hsac.rules.curvature.joint import Joint
from hsac.rules.weights.adam import Adam
from hsac.rules.weights.sam import Sam
from hsac.rules.weights.sgd import Sgd
from hsac.train.inputs import load_inputs
from hsac.train.loop import Trainer, train
from hsac.train.setup import prepare

DECAY, RHO, STEPS = 0.02, 0.05, 200


@pytest.fixture(scope="module")
def made(data_folder):
    """Prepare the digits of the smoke scale in double precision, the same at every call."""
    keys = smoke_keys()
    experiment = keys["experiments"]["digits"]
    variant = build_variant(experiment["dataset"], "plain", recipe_of(experiment), data_folder)
    cell = with_training(
        cell_of(keys, "digits", "sgd+fixed@0.3")[1],
        weight_decay=DECAY,
        schedule="constant",
        epochs=100,
    )

    def prepared():
        found = prepare(load_inputs("cpu", cell, variant, data_folder), [0])
        return replace(found, w=found.w.double(), theta=found.theta.double())

    return prepared


@pytest.mark.parametrize(
    ("base", "given", "make"),
    [
        ("sgd", {"lr": 0.05, "momentum": 0.9}, torch.optim.SGD),
        ("adam", {"lr": 0.003}, torch.optim.Adam),
    ],
)
def test_sam_is_public_sam(made, base, given, make) -> None:
    """200 steps of a network under SAM with weight decay are those of a plain loop in torch.

    The plain loop is as the authors' code: backward of the loss, up along its gradient, backward,
    back to w, a step of the optimizer with weight decay.
    """
    ours = made()
    trainer = Trainer(replace(ours, weight_rule=Sam(RHO, "euclidean", base, given)), lambda _: None)
    for index in range(STEPS):
        trainer.step(index)

    plain = made()
    w = plain.w.clone().requires_grad_()
    losses = Trainer(plain, lambda _: None).losses
    optimizer = make([w], weight_decay=DECAY, **given)
    for _ in range(STEPS):
        loss = losses.loss(plain.task.batch("batches"))
        optimizer.zero_grad()
        loss(w, plain.theta).sum().backward()
        start = w.detach().clone()
        with torch.no_grad():
            w.add_(RHO * w.grad / w.grad.norm())
        optimizer.zero_grad()
        loss(w, plain.theta).sum().backward()
        with torch.no_grad():
            w.copy_(start)
        optimizer.step()
    moved = (w - plain.w).norm()
    assert (trainer.w - w).norm() < 1e-8 * moved


def groups(w, theta, decay):
    """Parameter groups of torch that say whether θ decays."""
    return [
        {"params": [w], "weight_decay": DECAY},
        {"params": [theta], "weight_decay": DECAY if decay else 0.0},
    ]


@pytest.mark.parametrize("decay", [False, True])
@pytest.mark.parametrize(
    ("rule", "given", "make"),
    [
        (Sgd, {"lr": 0.05, "momentum": 0.9}, torch.optim.SGD),
        (Adam, {"lr": 0.003}, torch.optim.Adam),
    ],
)
def test_joint_is_torchs_own_optimizer(made, rule, given, make, decay) -> None:
    """Every step under `joint` is that of torch's optimizer on the parameters w and θ."""
    ours = made()
    trainer = Trainer(
        replace(ours, weight_rule=rule(**given), curvature_rule=Joint(decay)), lambda _: None
    )
    plain = made()
    w, theta = plain.w.clone().requires_grad_(), plain.theta.clone().requires_grad_()
    losses = Trainer(plain, lambda _: None).losses
    optimizer = make(groups(w, theta, decay), **given)
    for index in range(50):
        trainer.step(index)
        optimizer.zero_grad()
        losses.loss(plain.task.batch("batches"))(w, theta).sum().backward()
        optimizer.step()
        torch.testing.assert_close(trainer.w, w.detach(), rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(trainer.theta, theta.detach(), rtol=1e-9, atol=1e-10)
    assert (theta - plain.theta).abs().min() > 1e-3


@pytest.mark.parametrize("decay", [False, True])
def test_sam_under_joint_climbs_both(made, decay) -> None:
    """SAM under `joint` is SAM on the vector (w, θ): one ball, and no decay in the ascent."""
    given = {"lr": 0.05, "momentum": 0.9}
    rules = {"weight_rule": Sam(RHO, "euclidean", "sgd", given), "curvature_rule": Joint(decay)}
    trainer = Trainer(replace(made(), **rules), lambda _: None)
    plain = made()
    both = [plain.w.clone().requires_grad_(), plain.theta.clone().requires_grad_()]
    losses = Trainer(plain, lambda _: None).losses
    optimizer = torch.optim.SGD(groups(*both, decay), **given)
    for index in range(50):
        trainer.step(index)
        loss = losses.loss(plain.task.batch("batches"))
        g = torch.autograd.grad(loss(*both).sum(), both)
        length = torch.cat(g, -1).norm()
        above = [p + RHO * slope / length for p, slope in zip(both, g, strict=True)]
        for p, slope in zip(both, torch.autograd.grad(loss(*above).sum(), above), strict=True):
            p.grad = slope
        optimizer.step()
    torch.testing.assert_close(trainer.w, both[0].detach(), rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(trainer.theta, both[1].detach(), rtol=1e-8, atol=1e-9)


def test_joint_counts_the_objective_whole(made) -> None:
    """The gradient under `joint` is that of the value that it states."""
    found = made()
    losses = Trainer(found, lambda _: None).losses
    batch, sizes = found.task.batch("batches"), [found.w.shape[1], found.theta.shape[1]]
    gradient = losses.joint_gradient(batch, sizes, True)
    point = torch.cat([found.w, found.theta], -1)
    at = gradient(point)
    direction = torch.randn(point.shape, generator=torch.Generator().manual_seed(0)).to(point)
    h = 1e-5
    slope = (gradient(point + h * direction).loss - gradient(point - h * direction).loss) / (2 * h)
    torch.testing.assert_close((at.weights * direction).sum(-1), slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("cut", [torch.Tensor.detach, torch.zeros_like])
def test_models_must_use_their_curvature(made, monkeypatch, cut) -> None:
    """A head that computes with another number than the c it is given is refused."""
    found = made()
    head = type(found.model.classifier)
    forward = head.forward
    monkeypatch.setattr(
        head, "forward", lambda self, params, c, u: forward(self, params, cut(c), u)
    )
    words = "^model: found outputs that do not depend on the curvature; allowed is"
    with pytest.raises(InputError, match=words):
        train(found, lambda _: torch.zeros_like(found.w))
