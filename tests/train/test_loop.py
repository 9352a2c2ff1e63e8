"""The training loop against training loops written out in torch."""

from dataclasses import replace

import pytest
import torch
from studies import cell_of, recipe_of, smoke_keys, with_training

from hsac.data import build_variant
from hsac.errors import InputError
from hsac.rules.weights.sam import Sam
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
