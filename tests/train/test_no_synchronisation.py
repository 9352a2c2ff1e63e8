"""No step of training waits for a GPU: nothing in it asks for a number on the host."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from studies import cell_of
from torch.utils._python_dispatch import TorchDispatchMode

from hsac.ball import inputs
from hsac.train.inputs import load_inputs
from hsac.train.loop import train
from hsac.train.seeds import normals
from hsac.train.setup import prepare

# What .item(), .tolist(), bool() and float() of a tensor come to, and operations whose result's
# size depends on data.
WAITS = {
    "_local_scalar_dense",
    "equal",
    "nonzero",
    "masked_select",
    "unique_dim",
    "_unique2",
    "unique_consecutive",
    "bincount",
}


class Waits(TorchDispatchMode):
    """Counts the operations for which a GPU's host waits."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        selects = name in ("index", "index_put", "index_put_", "_index_put_impl_")
        masked = selects and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in WAITS or masked:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def waits(small, name, method, steps, changes, seeds):
    """Those of a training of so many steps, its one evaluation included."""
    keys = small.keys
    study, cell = cell_of(keys, name, method)
    made = prepare(load_inputs(study.device, cell, small.variants[name], small.data), seeds)
    made.task.steps_per_epoch = steps
    made = replace(
        made,
        curvature_rule=replace(made.curvature_rule, **changes),
        schedule=replace(made.schedule, epochs=1, evaluations=1),
    )
    with Waits() as seen:
        train(made, normals(seeds, made.w))
    return seen.found


def test_what_waits_is_seen():
    x = torch.ones(3)
    with Waits() as seen:
        x.sum().item(), x.tolist(), bool(x[0] > 0), x[x > 0], x.nonzero()
    assert seen.found["_local_scalar_dense"] >= 2
    assert seen.found["index"] == 1
    assert seen.found["nonzero"] == 1


ALWAYS = {"period": 1, "warm_up": 0.0}


@pytest.mark.parametrize(
    ("name", "method", "changes"),
    [
        ("digits", "sgd+fixed@0.3", {}),
        ("digits", "sgd+learned", {}),
        ("digits", "sam+hsac", ALWAYS),
        ("disease", "adam+hsac", ALWAYS),
        ("resnet", "sgd+hsac", ALWAYS),
    ],
)
def test_more_steps_wait_no_more_often(small, monkeypatch, name, method, changes):
    # so that the maps do here what they do on an accelerator
    monkeypatch.setattr(inputs, "_is_waited_for", lambda x: True)
    seeds = [0, 1]
    if name == "resnet":
        seeds = [0]
        name, experiments = "digits", small.keys["experiments"]
        network = experiments["digits"] | {"model": {"name": "resnet", "depth": 20}}
        network["training"] = network["training"] | {"batch": 4}
        monkeypatch.setitem(experiments, "digits", network)
    assert waits(small, name, method, 1, changes, seeds) == waits(
        small, name, method, 2, changes, seeds
    )
