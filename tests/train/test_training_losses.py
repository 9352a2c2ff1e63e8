"""Training losses inside training: shared by every gradient, product and run.

What they predict with is evaluated.
"""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from studies import cell_of, recipe_of, smoke_keys, with_training

from hsac.data import build_variant, load_variant, write_variant
from hsac.errors import InputError
from hsac.losses.elr import Elr
from hsac.losses.focal import Focal
from hsac.losses.meta_weight_net import MetaWeightNet
from hsac.ops.runner import train_seeds
from hsac.parts import names
from hsac.train.augment import Mixing
from hsac.train.inputs import load_inputs
from hsac.train.loop import BilevelLosses, Trainer
from hsac.train.seeds import normals
from hsac.train.setup import prepare
from hsac.train.tasks import metrics
from hsac.train.tasks.images import Balanced
from hsac.train.tasks.types import plain_loss

COST = {"meta_weight_net": 2}  # gradients that a loss takes beside a step's own
LOSSES = [name for name in names("loss") if name != "cross_entropy"]


@pytest.fixture(scope="module")
def keys():
    keys = smoke_keys()
    for name, epochs in (("digits", 1), ("disease", 12)):
        keys["experiments"][name]["training"] |= {"epochs": epochs, "evaluations": 1}
    keys["rules"]["losses"] = dict.fromkeys(LOSSES) | keys["rules"]["losses"]
    keys["rules"]["curvature"]["hsac"] = {"period": 3, "solver": {"name": "cg", "terms": 2}}
    return keys


@pytest.fixture(scope="module")
def variants(keys, data_folder, tmp_path_factory):
    folder, out = tmp_path_factory.mktemp("variants"), {}
    for name in ("digits", "disease"):
        experiment = keys["experiments"][name]
        recipe = recipe_of(experiment)
        write_variant(
            build_variant(experiment["dataset"], name, recipe, data_folder), folder / f"{name}.json"
        )
        out[name] = load_variant(folder / f"{name}.json")
    recipe = recipe_of(keys["experiments"]["digits"]) | {"meta": 5}
    out["meta"] = build_variant("digits", "meta", recipe, data_folder)
    return out


def trained(keys, experiment, method, seeds, variants, data_folder):
    study, cell = cell_of(keys, experiment, method)
    # Every loss is trained on the same rows, and a loss that learns needs a meta set beside them.
    variant = variants["meta" if experiment == "digits" else experiment]
    runs = train_seeds(study, cell, seeds, variant, data_folder)
    return [record for record, _ in runs]


@pytest.mark.parametrize("name", LOSSES)
def test_bundled_and_looped_seeds_agree(keys, variants, data_folder, name):
    """Under sam and hsac."""
    method = f"sam+hsac+{name}"
    together = trained(keys, "digits", method, [3, 4], variants, data_folder)
    plain = trained(keys, "digits", "sam+hsac", [3, 4], variants, data_folder)
    for a, seed, other in zip(together, (3, 4), plain, strict=True):
        (b,) = trained(keys, "digits", method, [seed], variants, data_folder)
        assert a["status"] == "ok"
        assert a["loss"] == name
        assert a["products"] > 0
        assert a["gradients"] == other["gradients"] + COST.get(name, 0) * a["steps"]
        np.testing.assert_allclose(a["curvature"]["final"], b["curvature"]["final"], rtol=1e-6)
        for key in ("test_nll", "test_balanced_accuracy", "test_ece"):
            assert a["metrics"]["last"][key] == pytest.approx(b["metrics"]["last"][key], rel=1e-6)
        assert a["metrics"]["last"]["test_nll"] != other["metrics"]["last"]["test_nll"]


@pytest.mark.parametrize("name", ["elr", "ldam_drw", "gce"])
def test_graphs_take_row_losses(keys, variants, data_folder, name):
    """Losses that need labelled training rows."""
    (record,) = trained(keys, "disease", f"adam+hsac+{name}", [0], variants, data_folder)
    assert record["status"] == "ok"


def prepared(keys, variants, data_folder, method="sgd+hsac+elr", variant="digits"):
    study, cell = cell_of(keys, "digits", method)
    made = prepare(load_inputs(study.device, cell, variants[variant], data_folder), [0, 1])
    return made, BilevelLosses(made.task, made.ensemble, lambda theta: theta.exp(), 0.0, made.w)


def test_only_first_gradient_is_remembered(keys, variants, data_folder):
    """Of each training step."""
    made, problem = prepared(keys, variants, data_folder)
    assert isinstance(made.task.trained, Elr)
    batch = made.task.batch("batches")
    rows = batch[2]
    gradient = problem.gradient(batch, made.theta, False)
    gradient(made.w)
    kept = problem.memory["target"].clone()
    logits = made.ensemble.call("forward", made.w, made.theta.exp(), batch[0])
    seen = torch.stack([kept[i, rows[i]] for i in range(2)])
    torch.testing.assert_close(seen, 0.3 * logits.softmax(-1))
    assert not kept[0, [k for k in range(kept.shape[1]) if k not in rows[0].tolist()]].any()
    gradient(made.w + 1)  # where SAM takes its step
    problem.objective(made.task.batch("upper"))(made.w, made.theta)  # a Hessian product
    assert torch.equal(problem.memory["target"], kept)
    problem.gradient(batch, made.theta, False)(made.w)
    torch.testing.assert_close(
        problem.memory["target"][0, rows[0]], 0.7 * seen[0] + 0.3 * logits[0].softmax(-1)
    )


def test_hessian_products_use_training_loss(keys, variants, data_folder):
    made, problem = prepared(keys, variants, data_folder, "sgd+hsac+focal")
    batch = made.task.batch("upper")
    logits = made.ensemble.call("forward", made.w, made.theta.exp(), batch[0])
    want = Focal()(logits, batch[1], {}, 0.0)
    torch.testing.assert_close(problem.loss(batch)(made.w, made.theta), want)
    assert not torch.allclose(
        plain_loss(made.task, made.ensemble, made.w, made.theta.exp(), batch), want
    )


def test_progress_reaches_the_loss(keys, variants, data_folder, monkeypatch):
    seen = []
    monkeypatch.setattr(
        Focal, "__call__", lambda self, z, y, state, at: seen.append(at) or z.square().mean((1, 2))
    )
    trained(keys, "digits", "sgd+fixed@0.3+focal", [0], variants, data_folder)
    assert seen == [k / 14 for k in range(14)]


def test_adjusted_logits_are_evaluated(keys, variants, data_folder):
    """And certified."""
    made, _ = prepared(keys, variants, data_folder, "sgd+fixed@0.3+logit_adjusted_post_hoc")
    task = made.task
    skewed = replace(task.trained, tau=200.0)  # digits are nearly balanced: exaggerate what is left
    c = torch.full((2, 1), 0.3, dtype=torch.float64)
    before, risk = task.evaluate(made.ensemble, made.w, c), task.risk(made.ensemble, made.w, c)
    task.trained = skewed
    after = task.evaluate(made.ensemble, made.w, c)
    rows = task.rows["test"]
    logits = skewed.adjust(made.ensemble.call("forward", made.w, c, task.pixels(rows), shared=True))
    want = (logits.argmax(-1) == task.y["test"]).double().mean(-1)
    torch.testing.assert_close(after["test_accuracy"], want)
    assert not torch.equal(after["test_accuracy"], before["test_accuracy"])
    assert not torch.equal(task.risk(made.ensemble, made.w, c), risk)


def test_balanced_accuracy_and_calibration_error():
    g = torch.Generator().manual_seed(0)
    logits, labels = (
        torch.randn(3, 400, 4, generator=g, dtype=torch.float64),
        torch.randint(0, 3, (400,), generator=g),
    )
    right, _, confidence = metrics.answers(logits, labels)
    balanced, ece = (
        metrics.balanced_accuracy(right, labels),
        metrics.calibration_error(right, confidence),
    )
    for run_logits, one, other in zip(logits.softmax(-1).numpy(), balanced, ece, strict=True):
        hit, sure, own = run_logits.argmax(1) == labels.numpy(), run_logits.max(1), labels.numpy()
        assert one == pytest.approx(
            np.mean([hit[own == k].mean() for k in range(3)])
        )  # class 3 has no row
        total = 0.0
        for m in range(15):
            inside = (sure > m / 15) & (sure <= (m + 1) / 15)
            total += abs(hit[inside].sum() - sure[inside].sum()) / 400
        assert other == pytest.approx(total)
    certain = torch.tensor([[1.0, 1.0, 1.0, 1.0]])
    hits = torch.tensor([[True, True, False, True]])
    assert metrics.calibration_error(hits, certain) == pytest.approx(0.25)


def test_groups_by_training_rows():
    labels = torch.tensor([k for k, n in enumerate((101, 100, 20, 19)) for _ in range(n)])
    found = {name: members.tolist() for name, members in metrics.groups(labels, 4).items()}
    assert found == {
        "head": [0, 1],
        "middle": [2],
        "tail": [3],
        "many": [0],
        "medium": [1, 2],
        "few": [3],
    }
    assert "few" not in metrics.groups(labels[:221], 3)


def long_tailed(variants, validation):
    """The digits with a recipe that says long tail, and some of the validation rows."""
    variant = copy.deepcopy(variants["digits"])
    variant["recipe"] = {"recipe": "long_tail"}
    variant["indices"]["validation"] = validation
    return variant


def task_of(cell, variant, data_folder):
    return prepare(load_inputs("cpu", cell, variant, data_folder), [0]).task


def test_uneven_validation_selects_by_balance(keys, variants, data_folder):
    """Of a long tail."""
    study, cell = cell_of(keys, "digits", "sgd+fixed@0.3")
    rows = variants["digits"]["indices"]["validation"]
    plain = task_of(cell, variants["digits"], data_folder)
    by_class = [
        [r for r, y in zip(rows, plain.y["validation"].tolist(), strict=True) if y == k]
        for k in range(10)
    ]
    even = [r for members in by_class for r in members[:10]]
    chosen = {
        name: task_of(cell, long_tailed(variants, part), data_folder).selected_by
        for name, part in {"even": even, "uneven": even[:-5]}.items()
    }
    assert plain.selected_by == "validation_accuracy"
    assert chosen == {"even": "validation_accuracy", "uneven": "validation_balanced_accuracy"}
    cell = with_training(cell, evaluations=14)
    uneven = long_tailed(variants, even[:-5])
    ((record, _),) = train_seeds(study, cell, [0], uneven, data_folder)
    assert record["selected_by"] == "validation_balanced_accuracy"
    by = {kind: found["validation_balanced_accuracy"] for kind, found in record["metrics"].items()}
    assert by["selected"] >= max(by["last"], by["oracle"])


def test_look_ahead_gradient_is_exact(keys, variants, data_folder, monkeypatch):
    """It is the finite difference of the meta loss after a plain step, in the weighting network."""
    method = "sgd+fixed@0.3+meta_weight_net"
    made, losses = prepared(keys, variants, data_folder, method, "meta")
    batch, meta = made.task.batch("batches"), made.task.meta("meta weights")
    monkeypatch.setattr(losses, "draw_meta", lambda stream: meta)
    seen = []
    monkeypatch.setattr(MetaWeightNet, "learn", lambda self, state, g: seen.append(g) or state)
    before, length = losses.learned, 0.5 * made.task.trained.look_ahead
    losses.learn(batch, made.w, made.theta, 0.5)

    def ahead(network):
        losses.learned = before | {"network": network}
        w = made.w.clone().requires_grad_()
        (slope,) = torch.autograd.grad(losses.loss(batch)(w, made.theta).sum(), w)
        return losses.held_out(meta)(made.w - length * slope, made.theta).detach()

    network, h = before["network"], 1e-4
    for k in (0, 120, 250, 300):
        moved = h * torch.nn.functional.one_hot(torch.tensor(k), network.shape[1])
        want = (ahead(network + moved) - ahead(network - moved)) / (2 * h)
        torch.testing.assert_close(seen[0][:, k], want, rtol=1e-5, atol=1e-11)


def test_learning_weights_is_counted(keys, variants, data_folder):
    """A step draws a meta batch and takes two gradients and a second derivative more."""
    method = "sgd+fixed@0.3+meta_weight_net"
    (record,) = trained(keys, "digits", method, [0], variants, data_folder)
    steps = record["steps"]
    assert record["meta_batches"] == record["products"] == steps
    assert record["gradients"] == 3 * steps
    made, losses = prepared(keys, variants, data_folder, method)
    with pytest.raises(InputError, match=r"^variant.meta: found nothing"):
        losses.learn(made.task.batch("batches"), made.w, made.theta, 1.0)


def test_mixed_batches_are_of_training_alone(keys, variants, data_folder):
    """Each stream of training batches is mixed by its own draws, what is measured is not."""
    made, _ = prepared(keys, variants, data_folder, "sgd+hsac+mixup")
    plain, _ = prepared(keys, variants, data_folder, "sgd+hsac")
    for stream in ("batches", "upper", "lower", "adversary"):
        x, y, rows = plain.task.batch(stream)
        want = Mixing(1.0, 10, [0, 1], f"mixing {stream}")(x, y)
        found = made.task.batch(stream)
        assert torch.equal(found[0], want[0])
        assert torch.equal(found[1], want[1])
        assert torch.equal(found[2], rows)
    for a, b in zip(made.task.probe(), plain.task.probe(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(made.task.held_out(), plain.task.held_out(), strict=True):
        assert torch.equal(a, b)


def test_balanced_rows_are_uniform_by_class():
    """Every class that has rows is as likely, and within it every row."""
    labels = torch.tensor([4] * 3 + [0] * 90 + [2] * 7)
    rows = Balanced(labels, [0, 1], "balanced").next(30_000)
    assert rows.shape == (2, 30_000)
    assert not torch.equal(rows[0], rows[1])
    shares = labels[rows[0]].bincount() / 30_000
    torch.testing.assert_close(shares[[0, 2, 4]], torch.full((3,), 1 / 3), atol=0.015, rtol=0)
    each = rows[0].bincount(minlength=100) / 30_000
    torch.testing.assert_close(each[:3], torch.full((3,), 1 / 9), atol=0.015, rtol=0)
    assert (each > 0).all()


@pytest.mark.parametrize("weights", ["sgd", "sam", "adam"])
def test_crt_trains_the_head_alone(keys, variants, data_folder, weights):
    """From its start weights and on balanced batches, while the other weights and c rest."""
    method = f"{weights}+learned+crt"
    made, _ = prepared(keys, variants, data_folder, method)
    trainer = Trainer(made, normals([0, 1], made.w))
    head = made.ensemble.head
    assert 0 < int(head.sum()) < len(head)
    drawn, inner = [], made.task.batch

    def batch(stream, times=1):
        drawn.append(stream)
        return inner(stream, times)

    made.task.batch = batch
    kept = []
    for index in range(trainer.total):
        if index == trainer.head_from:
            kept = [trainer.w, trainer.theta]
            assert not torch.equal(trainer.theta, made.theta)
        trainer.step(index)
    second = trainer.total - trainer.head_from
    assert second == round(0.1 * trainer.total) > 0
    assert drawn == ["batches"] * trainer.head_from + ["balanced"] * second
    assert torch.equal(trainer.w[:, ~head], kept[0][:, ~head])
    assert torch.equal(trainer.theta, kept[1])
    # A gradient step from the start weights, which the first part has left far behind.
    from_start = (trainer.w - made.w)[:, head].norm(dim=-1)
    assert (from_start < (trainer.w - kept[0])[:, head].norm(dim=-1)).all()


def test_crt_step_is_gradient_of_head(keys, variants, data_folder):
    """The first step of the second part, at the full rate, with decay on the head alone."""
    made, _ = prepared(keys, variants, data_folder, "sgd+fixed@0.3+crt")
    twin, _ = prepared(keys, variants, data_folder, "sgd+fixed@0.3+crt")
    trainer = Trainer(made, normals([0, 1], made.w))
    for index in range(trainer.head_from):
        trainer.step(index)
    head, before = made.ensemble.head, trainer.w
    w = torch.where(head, made.w, before).requires_grad_()
    x, y, _ = twin.task.batch("balanced")
    logits = made.ensemble.call("forward", w, trainer.c, x)
    each = torch.nn.functional.cross_entropy(logits.mT, y, reduction="none").mean(-1)
    decay = made.schedule.weight_decay / 2 * (w * w).sum(-1)
    (slope,) = torch.autograd.grad((each + decay).sum(), w)
    trainer.step(trainer.head_from)
    want = torch.where(head, w - made.weight_rule.lr * slope, before)
    torch.testing.assert_close(trainer.w, want.detach())


def test_crt_needs_a_head(keys, variants, data_folder):
    made, _ = prepared(keys, variants, data_folder, "sgd+fixed@0.3+crt")
    bare = replace(made.ensemble, model=SimpleNamespace(curvature_names=("a",)))
    with pytest.raises(InputError, match=r"^loss: found one that trains the head alone, and the"):
        Trainer(replace(made, ensemble=bare), normals([0, 1], made.w))


@pytest.mark.parametrize("loss", ["mixup", "crt"])
def test_losses_of_images_refuse_graphs(keys, variants, data_folder, loss):
    with pytest.raises(InputError, match=f"^loss: found '{loss}', which changes the batches"):
        trained(keys, "disease", f"adam+hsac+{loss}", [0], variants, data_folder)
