"""Batches of the validation part: their rows, the loss on them, and what they leave alone."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from studies import cell_of

from hsac.data.store import load_arrays
from hsac.ops.runner import train_seeds
from hsac.train.inputs import load_inputs
from hsac.train.seeds import generator
from hsac.train.setup import prepare
from hsac.train.tasks.images import ImageTask
from hsac.train.tasks.metrics import balanced_weights
from hsac.train.tasks.types import plain_loss

EXPERIMENTS = ("digits", "disease", "glyphs_few_shot")


def made_of(small, name, method="sgd+fixed@0.3", seeds=(0, 1), variant=None):
    study, cell = cell_of(small.keys, name, method)
    chosen = variant or small.variants[name]
    return prepare(load_inputs(study.device, cell, chosen, small.data), seeds)


def c_of(made):
    return made.transform(made.theta).expand(-1, len(made.model.curvature_names))


def test_held_out_images_have_own_stream(small) -> None:
    """They are shuffled validation rows."""
    task = made_of(small, "digits").task
    x, y, weights = task.held_out()
    for i, seed in enumerate((0, 1)):
        rows = torch.randperm(len(task.rows["validation"]), generator=generator(seed, "held_out"))[
            : task.held_out_size
        ]
        assert torch.equal(x[i], task.pixels(task.rows["validation"][rows]))
        assert torch.equal(y[i], task.y["validation"][rows])
    assert (weights == 1).all()


def test_held_out_episodes_are_validation_episodes(small, doubled) -> None:
    task = made_of(small, "glyphs_few_shot").task
    known = [task.pixels(episode) for episode in task.episodes["validation"]]
    drawn = [task.held_out() for _ in range(5)]
    for run in range(2):
        places = [
            next(k for k, e in enumerate(known) if torch.equal(e, batch[run, 0])) for batch in drawn
        ]
        assert sorted(places) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_held_out_draws_disturb_no_stream(small, doubled, name) -> None:
    """Nor do draws of features."""
    quiet, asked = made_of(small, name), made_of(small, name)
    for _ in range(3):
        asked.task.held_out()
        asked.task.features(asked.ensemble, asked.w, c_of(asked))
    for stream in ("batches", "upper"):
        quiet_loss, asked_loss = (
            plain_loss(made.task, made.ensemble, made.w, c_of(made), made.task.batch(stream))
            for made in (quiet, asked)
        )
        assert torch.equal(quiet_loss, asked_loss)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *((name, "sgd+fixed@0.3") for name in EXPERIMENTS),
        ("digits", "sgd+fixed@0.3+logit_adjusted_post_hoc"),
    ],
)
def test_held_out_logits_agree_with_evaluation(small, doubled, name, method) -> None:
    """On the whole part."""
    made = made_of(small, name, method)
    c = c_of(made)
    logits, labels, weights = made.task.held_out_logits(made.ensemble, made.w, c)
    metrics = made.task.evaluate(made.ensemble, made.w, c)
    nll = (
        -logits.log_softmax(-1).gather(-1, labels.expand(logits.shape[:-1])[..., None]).squeeze(-1)
    )
    torch.testing.assert_close(
        (nll * weights).double().mean(-1), metrics["validation_nll"], rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_features_embed_training_rows(small, doubled, name) -> None:
    made = made_of(small, name)
    u = made.task.features(made.ensemble, made.w, c_of(made))
    assert u.dim() == 3
    assert len(u) == 2
    assert (u.norm(dim=-1) <= 2 + 1e-6).all()  # clipped, as the head sees them
    if name == "digits":
        rows = torch.randperm(len(made.task.clean), generator=generator(1, "features"))[
            : made.task.size
        ]
        x = made.task.pixels(made.task.rows["train"][rows])
        want = made.ensemble.call("embed", made.w[1:], c_of(made)[1:], x, shared=True)
        torch.testing.assert_close(u[1:], want)


def test_balanced_weights() -> None:
    labels = torch.tensor([0, 0, 0, 2, 2, 2, 2, 2, 2, 5])
    weights = balanced_weights(labels)
    assert float(weights.mean()) == pytest.approx(1)
    sums = torch.zeros(6, dtype=torch.float64).index_add(0, labels, weights)
    torch.testing.assert_close(sums[[0, 2, 5]], torch.full((3,), 10 / 3, dtype=torch.float64))
    assert (balanced_weights(torch.tensor([3, 1, 0, 0, 1, 3])) == 1).all()


@pytest.mark.parametrize(("recipe", "weighed"), [("long_tail", True), ("plain", False)])
def test_long_tail_weighs_classes_alike(small, recipe, weighed) -> None:
    """Over one epoch of held-out batches the mean loss is the mean over the classes' means.

    Elsewhere it is the mean over the rows.
    """
    variant = copy.deepcopy(small.variants["digits"])
    variant["recipe"] = variant["recipe"] | {"recipe": recipe}
    arrays, _ = load_arrays("digits", small.data)
    digits = ImageTask(arrays, variant, [0], 8, torch.zeros((), dtype=torch.float64))
    labels = digits.y["validation"].numpy()
    unequal = [np.flatnonzero(labels == k)[: 4 * (1 + k)] for k in range(10)]
    keep = np.sort(np.concatenate(unequal))
    keep = keep[: len(keep) // 8 * 8]
    variant["indices"]["validation"] = np.array(variant["indices"]["validation"])[keep].tolist()
    made = made_of(small, "digits", seeds=[0], variant=variant)
    made.task.held_out_size = 8
    c = c_of(made)
    losses = [
        made.task.held_out_loss(made.ensemble, made.w, c, made.task.held_out())
        for _ in range(len(keep) // 8)
    ]
    logits, y, _ = made.task.held_out_logits(made.ensemble, made.w, c)
    nll = torch.nn.functional.cross_entropy(logits[0], y, reduction="none")
    by_class = torch.stack([nll[y == k].mean() for k in y.unique()]).mean()
    assert not torch.allclose(by_class, nll.mean(), rtol=1e-3)
    torch.testing.assert_close(torch.stack(losses).mean(), by_class if weighed else nll.mean())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_direct_held_out_gradient_is_autograds(small, doubled, name) -> None:
    """In the first outer step of held_out_direct.

    It is dU/dθ of the mean cross-entropy on the first held-out batch, by autograd through the whole
    network. Nothing of the training loss is in it.
    """
    keys = copy.deepcopy(small.keys)
    keys["rules"]["curvature"]["held_out_direct"] |= {"period": 1, "warm_up": 0.0}
    study, cell = cell_of(keys, name, "sgd+held_out_direct@0.3")

    class Still:
        """Weights that stay, so that the point of the first outer step is known."""

        def init(self, w):
            return {}

        def update(self, w, state, gradient, rate):
            return w, state, gradient(w)

    def watch(made):
        return replace(made, weight_rule=Still(), schedule=replace(made.schedule, epochs=1))

    (record, _), _ = train_seeds(study, cell, [0, 1], small.variants[name], small.data, watch)
    made = made_of(small, name)
    theta = made.theta.clone().requires_grad_()
    c = made.transform(theta).expand(-1, len(made.model.curvature_names))
    batch = made.task.held_out()
    if name == "digits":
        logits, y = made.ensemble.call("forward", made.w, c, batch[0]), batch[1]
    elif name == "disease":
        rows = made.task.rows["validation"]
        logits = made.ensemble.call("forward", made.w, c, made.task.graph, shared=True)[:, rows]
        y = made.task.y[rows].expand(2, -1)
    else:
        logits = made.ensemble.call("forward", made.w, c, batch).flatten(1, 2)
        y = made.task.answers.expand(2, -1)
    loss = torch.stack([torch.nn.functional.cross_entropy(logits[i], y[i]) for i in range(2)])
    want, loss = torch.autograd.grad(loss.sum(), theta)[0], loss.detach()
    assert record["outer"]["step"][0] == 1
    np.testing.assert_allclose(
        record["outer"]["hypergradient"][0], want[0].numpy(), rtol=1e-5, atol=1e-9
    )
    assert record["outer"]["value"][0] == pytest.approx(float(loss[0]), rel=1e-5)
    assert record["held_out_batches"] == record["steps"]
    assert record["products"] == 0
