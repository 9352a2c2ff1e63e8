"""Batches of the meta set: their rows and labels, their loss, their count, and refusals."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from studies import cell_of

from hsac.data import build_variant
from hsac.errors import InputError
from hsac.ops.runner import train_seeds
from hsac.train.inputs import load_inputs
from hsac.train.seeds import generator
from hsac.train.setup import prepare

RECIPE = {"recipe": "label_noise", "kind": "pair", "rate": 0.4, "meta": 3}


@pytest.fixture(scope="module")
def variant(data_folder):
    """The digits with wrong labels and a meta set of 30."""
    return build_variant("digits", "noisy", RECIPE, data_folder)


def keys_with(small, **rules):
    keys = copy.deepcopy(small.keys)
    keys["rules"]["curvature"] |= rules
    return keys


def made_of(small, variant, method="sgd+fixed@0.3", keys=None, seeds=(0, 1)):
    study, cell = cell_of(keys or small.keys, "digits", method)
    return prepare(load_inputs(study.device, cell, variant, small.data), seeds)


def test_meta_batches_are_clean_and_shuffled(small, variant) -> None:
    """They are shuffled rows of the meta set by a stream of its own, with true labels."""
    task = made_of(small, variant).task
    for stream in ("meta", "meta adversary"):
        x, y, weights = task.meta(stream)
        for i, seed in enumerate((0, 1)):
            order = torch.randperm(30, generator=generator(seed, stream))
            rows = task.rows["meta"][order]
            assert torch.equal(x[i], task.pixels(rows))
            assert torch.equal(y[i], task.y["meta"][order])
        assert (weights == 1).all()
    assert torch.equal(task.y["meta"].bincount(), torch.full((10,), 3))
    assert not torch.equal(task.clean, task.y["train"])


def test_meta_draws_disturb_no_stream(small, variant) -> None:
    quiet, asked = made_of(small, variant), made_of(small, variant)
    asked.task.meta()
    for stream in ("batches", "upper"):
        first, second = (made.task.batch(stream) for made in (quiet, asked))
        assert torch.equal(first[2], second[2])
    assert torch.equal(quiet.task.held_out()[0], asked.task.held_out()[0])


def test_meta_set_is_not_evaluated(small, variant) -> None:
    made = made_of(small, variant)
    c = made.transform(made.theta).expand(-1, len(made.model.curvature_names))
    found = made.task.evaluate(made.ensemble, made.w, c)
    assert not [name for name in found if name.startswith("meta")]


class Still:
    """Weights that stay, so that the point of the first outer step is known."""

    def init(self, w):
        return {}

    def update(self, w, state, gradient, rate):
        return w, state, gradient(w)


def watch(made):
    return replace(made, weight_rule=Still())


def test_direct_meta_gradient_is_autograds(small, variant) -> None:
    """The upper level of `batch: meta` is the cross-entropy of the first meta batch alone."""
    rule = {"rule": "hsac", "objective": "loss", "batch": "meta", "solver": {"name": "none"}}
    keys = keys_with(small, meta_direct=rule | {"period": 1, "warm_up": 0.0})
    study, cell = cell_of(keys, "digits", "sgd+meta_direct@0.3")
    (record, _), _ = train_seeds(study, cell, [0, 1], variant, small.data, watch)
    made = made_of(small, variant)
    theta = made.theta.clone().requires_grad_()
    x, y, _ = made.task.meta()
    c = made.transform(theta).expand(-1, len(made.model.curvature_names))
    logits = made.ensemble.call("forward", made.w, c, x)
    loss = torch.stack([torch.nn.functional.cross_entropy(logits[i], y[i]) for i in range(2)])
    want = torch.autograd.grad(loss.sum(), theta)[0]
    np.testing.assert_allclose(
        record["outer"]["hypergradient"][0], want[0].numpy(), rtol=1e-5, atol=1e-9
    )
    assert record["meta_batches"] == record["steps"]
    assert record["held_out_batches"] == 0


def test_meta_adversary_has_own_batch(small, variant) -> None:
    """A scope objective draws two meta batches an outer step, which are independent."""
    rule = {"rule": "hsac", "batch": "meta", "period": 10, "warm_up": 0.0}
    keys = keys_with(small, hsac_meta=rule)
    study, cell = cell_of(keys, "digits", "sgd+hsac_meta@0.3")
    drawn = []

    def seen(made):
        inner = made.task.meta
        made.task.meta = lambda stream="meta": drawn.append(stream) or inner(stream)
        return made

    ((record, _),) = train_seeds(study, cell, [0], variant, small.data, seen)
    assert record["meta_batches"] == len(drawn) == 2 * len(record["outer"]["step"])
    assert set(drawn) == {"meta", "meta adversary"}
    assert record["status"] == "ok"


@pytest.mark.parametrize("name", ["digits", "disease", "glyphs_few_shot"])
def test_no_meta_set_is_refused(small, doubled, name) -> None:
    """A rule that asks for one meets a line, whatever the data."""
    study, cell = cell_of(small.keys, name, "sgd+fixed@0.3")
    task = prepare(load_inputs(study.device, cell, small.variants[name], small.data), [0]).task
    with pytest.raises(InputError, match=r"^variant.meta: found nothing.*allowed is a number"):
        task.meta()
