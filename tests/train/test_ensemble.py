"""A ensemble of seeds as one program equals one seed at a time."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from hsac.models.conv4_protonet import Conv4Protonet
from hsac.models.hgcn import Hgcn
from hsac.models.mlp import Mlp
from hsac.train.ensemble import Ensemble
from hsac.train.seeds import generator

F64 = torch.float64
SEEDS = (0, 3, 7)
CPU = torch.device("cpu")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def case(name):
    """A model, inputs with a leading run axis, and the number of rows and classes of its logits."""
    runs = len(SEEDS)
    if name == "mlp":
        return Mlp((4, 4), 3, "hyperbolic", hidden=6, dim=2), noise(runs, 5, 4, 4)
    if name == "hgcn":
        source, target = (
            torch.randint(0, 6, (runs, 15), generator=torch.Generator().manual_seed(s))
            for s in (1, 2)
        )
        weight = noise(runs, 15).abs()
        return Hgcn(4, 3, "hyperbolic", hidden=5, dim=3), (
            noise(runs, 6, 4, seed=3),
            source,
            target,
            weight,
        )
    return Conv4Protonet((16, 16), 1, "hyperbolic", width=4, groups=2), noise(runs, 2, 3, 2, 16, 16)


def one_of(x, i):
    return tuple(t[i : i + 1] for t in x) if isinstance(x, tuple) else x[i : i + 1]


def loss_and_gradients(ensemble, w, c, x):
    w, c = w.clone().requires_grad_(), c.clone().requires_grad_()
    logits = ensemble.call("forward", w, c, x)
    labels = torch.arange(logits.flatten(1, -2).shape[1]) % logits.shape[-1]
    loss = torch.stack([cross_entropy(run.flatten(0, -2), labels) for run in logits])
    gw, gc = torch.autograd.grad(loss.sum(), (w, c), create_graph=True)
    hw = torch.autograd.grad(gw.square().sum(), w)[0]
    return loss, gw, gc, hw


@pytest.mark.parametrize("name", ["mlp", "hgcn", "conv4_protonet"])
def test_ensemble_agrees_with_single_seeds(name):
    model, x = case(name)
    ensemble, w = Ensemble.start(model, SEEDS, CPU)
    w = w.double()
    c = torch.tensor([[0.01], [0.3], [2.0]], dtype=F64).expand(-1, len(model.curvature_names))
    together = loss_and_gradients(ensemble, w, c, x)
    for i in range(len(SEEDS)):
        alone = loss_and_gradients(ensemble, w[i : i + 1], c[i : i + 1], one_of(x, i))
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[i : i + 1], b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["mlp", "hgcn", "conv4_protonet"])
def test_shared_input_equals_a_repeated_one(name):
    model, x = case(name)
    ensemble, w = Ensemble.start(model, SEEDS, CPU)
    c = torch.full((len(SEEDS), len(model.curvature_names)), 0.4, dtype=F64)
    single = tuple(t[0] for t in x) if isinstance(x, tuple) else x[0]
    repeated = tuple(t[:1].expand_as(t) for t in x) if isinstance(x, tuple) else x[:1].expand_as(x)
    found = ensemble.call("forward", w.double(), c, single, shared=True)
    torch.testing.assert_close(
        found, ensemble.call("forward", w.double(), c, repeated), rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("name", ["mlp", "hgcn", "conv4_protonet"])
def test_unflatten_round_trip(name):
    model, _ = case(name)
    ensemble, w = Ensemble.start(model, SEEDS, CPU)
    assert w.dtype == model.dtype
    for row, seed in zip(w, SEEDS, strict=True):
        drawn = model.init(generator(seed, "weights"))
        found = ensemble.unflatten(row)
        assert list(found) == list(drawn)
        for k in drawn:
            assert torch.equal(found[k], drawn[k].to(model.dtype))
        assert torch.equal(torch.cat([p.flatten() for p in found.values()]), row)


def test_start_ignores_company():
    model, _ = case("mlp")
    _, together = Ensemble.start(model, SEEDS, CPU)
    _, alone = Ensemble.start(model, [SEEDS[1]], CPU)
    assert torch.equal(together[1:2], alone)
    assert not torch.equal(together[0], together[1])


def test_generators_are_apart():
    """Each purpose and each seed has its own stream, the same on every call."""
    draws = {
        (s, p): torch.rand(3, generator=generator(s, p))
        for s in (0, 1, 10)
        for p in ("weights", "batches")
    }
    values = [tuple(v.tolist()) for v in draws.values()]
    assert len(set(values)) == len(values)
    assert torch.equal(draws[(1, "weights")], torch.rand(3, generator=generator(1, "weights")))


def test_nan_run_leaves_others_alone():
    model, x = case("mlp")
    ensemble, w = Ensemble.start(model, SEEDS, CPU)
    c = torch.full((len(SEEDS), 1), 0.4, dtype=F64)
    clean = loss_and_gradients(ensemble, w, c, x)
    w = w.clone()
    w[1, 0] = float("nan")
    for a, b in zip(loss_and_gradients(ensemble, w, c, x), clean, strict=True):
        assert torch.equal(a[[0, 2]], b[[0, 2]])
        assert a[1].isnan().any()
