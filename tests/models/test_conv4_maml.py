"""MAML: its inner loop written out by hand, symmetries, derivatives, evaluation; that it learns."""

import pytest
import torch
from studies import cell_of, keys_of, recipe_of
from torch import nn
from torch.nn import functional

from hsac.errors import InputError
from hsac.models.conv4_maml import Conv4Maml
from hsac.ops.runner import train_seeds
from hsac.parts import build
from hsac.train.ensemble import Ensemble
from hsac.train.inputs import load_inputs
from hsac.train.setup import prepare
from hsac.train.tasks import episodes as episodes_module
from hsac.train.tasks.episodes import EpisodeTask
from hsac.train.tasks.metrics import answers, mean

F64 = torch.float64
WAY, SHOT, QUERY = 3, 2, 4
NO_C = torch.zeros(0, dtype=F64)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def made(inputs=(16, 16), **parameters):
    """A small model, start parameters with every zero moved off it, and two episodes."""
    model = Conv4Maml(
        inputs, WAY, SHOT, "euclidean", width=4, groups=2, **({"inner_lr": 0.5} | parameters)
    )
    params = model.init(torch.Generator().manual_seed(1))
    params = {k: p + 0.1 * noise(*p.shape, seed=i) for i, (k, p) in enumerate(params.items())}
    return model, params, noise(2, WAY, SHOT + QUERY, *inputs, seed=9).sigmoid()


def plain_network(channels):
    """The same network of torch's own layers, its parameters in the order of Conv4Maml's."""
    layers = []
    for width in (channels, 4, 4, 4):
        conv = nn.Conv2d(width, 4, 3, padding=1, bias=False)
        layers += [conv, nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, WAY)).double()


def by_hand(params, episode, steps, rate, first_order):
    """Finn et al. (ICML 2017), algorithm 1, for one episode: logits of the queries."""
    x = episode if episode.dim() == 5 else episode[:, :, None]
    net = plain_network(x.shape[2])
    at = dict(zip(dict(net.named_parameters()), params.values(), strict=True))
    labels = torch.arange(WAY).repeat_interleave(SHOT)
    for _ in range(steps):
        loss = functional.cross_entropy(
            torch.func.functional_call(net, at, x[:, :SHOT].flatten(0, 1)), labels
        )
        slopes = torch.autograd.grad(loss, list(at.values()), create_graph=not first_order)
        at = {name: p - rate * g for (name, p), g in zip(at.items(), slopes, strict=True)}
    return torch.func.functional_call(net, at, x[:, SHOT:].flatten(0, 1))


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("inputs", [(16, 16), (3, 16, 16)])
def test_equals_the_inner_loop_written_out(inputs, first_order):
    """Is the inner loop written out."""
    model, params, x = made(inputs, steps=3, first_order=first_order)
    params = {k: p.requires_grad_() for k, p in params.items()}
    found = model.forward(params, NO_C, x)
    want = torch.stack([by_hand(params, episode, 3, 0.5, first_order) for episode in x])
    assert found.shape == (2, WAY * QUERY, WAY)
    torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-12)
    slopes = [
        torch.autograd.grad(logits.square().sum(), list(params.values()))
        for logits in (found, want)
    ]
    torch.testing.assert_close(*slopes, rtol=1e-8, atol=1e-10)


def test_orders_give_same_logits():
    """Both orders, and no autograd, give the same logits and leave the weights alone."""
    (model, params, x), first = made(), made(first_order=True)[0]
    before = {k: p.clone() for k, p in params.items()}
    given = {k: p.requires_grad_() for k, p in params.items()}
    found = [m.forward(given, NO_C, x) for m in (model, first)]
    with torch.no_grad():
        found.append(model.forward(given, NO_C, x))
    torch.testing.assert_close(found[1:], [found[0]] * 2, rtol=1e-12, atol=1e-14)
    assert not found[2].requires_grad
    assert all(torch.equal(params[k], before[k]) and params[k].grad is None for k in params)
    slopes = [torch.autograd.grad(logits.square().sum(), given["w0"])[0] for logits in found[:2]]
    assert not torch.allclose(*slopes, rtol=1e-3)


def test_order_of_support_queries_and_episodes():
    model, params, x = made()
    logits = model.forward(params, NO_C, x).unflatten(1, (WAY, QUERY))
    # the support among itself, the queries among themselves
    images = torch.tensor([1, 0, 4, 2, 5, 3])
    moved = model.forward(params, NO_C, x[:, :, images]).unflatten(1, (WAY, QUERY))
    torch.testing.assert_close(moved, logits[:, :, images[SHOT:] - SHOT], rtol=1e-8, atol=1e-10)
    swapped = model.forward(params, NO_C, x.flip(0)).unflatten(1, (WAY, QUERY))
    torch.testing.assert_close(swapped, logits.flip(0), rtol=1e-10, atol=1e-12)
    order = torch.tensor([2, 0, 1])  # classes with the classifier's rows
    rows = params | {"z": params["z"][order], "r": params["r"][order]}
    by_class = model.forward(rows, NO_C, x[:, order]).unflatten(1, (WAY, QUERY))
    torch.testing.assert_close(by_class, logits[:, order][..., order], rtol=1e-8, atol=1e-10)


def test_gradient_is_that_of_finite_differences():
    model, params, x = made(steps=1)
    sizes = {k: p.shape for k, p in params.items()}
    w = torch.cat([p.flatten() for p in params.values()])
    labels = torch.arange(WAY).repeat_interleave(QUERY).repeat(2)

    def loss(w):
        parts = w.split([shape.numel() for shape in sizes.values()])
        views = {k: part.view(shape) for (k, shape), part in zip(sizes.items(), parts, strict=True)}
        return functional.cross_entropy(model.forward(views, NO_C, x).flatten(0, 1), labels)

    at = w.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(at), at)
    for seed in range(3):
        d = 1e-6 * noise(*w.shape, seed=seed)
        with torch.no_grad():
            want = (loss(w + d) - loss(w - d)) / 2
        assert (slope @ d).item() == pytest.approx(want.item(), rel=1e-4)


def test_repeated_support_is_recognised():
    """A query that repeats its support is recognised."""
    model, params, x = made(steps=150)
    x = x[:, :, :1].expand(-1, -1, SHOT + QUERY, -1, -1)
    found = model.forward(params, NO_C, x).argmax(-1)
    assert torch.equal(found, torch.arange(WAY).repeat_interleave(QUERY).expand(2, -1))


@pytest.mark.parametrize(
    ("parameters", "key"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 1.5}, "steps"),
        ({"inner_lr": 0}, "inner_lr"),
        ({"groups": 3}, "groups"),
    ],
)
def test_bad_parameters(parameters, key):
    filled = {"inputs": (16, 16), "way": 2, "shot": 1, "space": "euclidean"}
    with pytest.raises(InputError, match=f"^model.{key}: found"):
        build("model", "conv4_maml", parameters, "model", **filled)


@pytest.fixture
def episodes():
    """Seven episodes a part of 60 images of side 16."""
    g = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (60, 16, 16), generator=g, dtype=torch.uint8).numpy()
    parts = ("train", "validation", "test")
    drawn = {
        part: torch.randint(0, 60, (7, WAY, SHOT + QUERY), generator=g).tolist() for part in parts
    }
    variant = {"episodes": drawn, "shot": SHOT, "query": QUERY}
    return EpisodeTask({"image": image}, variant, (0, 1), 2, torch.zeros(()))


def test_evaluation_adapts_to_each_episode(episodes, monkeypatch):
    """Evaluation adapts to each episode some at a time."""
    model = made()[0]
    ensemble, w = Ensemble.start(model, (0, 1), torch.device("cpu"))
    c = torch.zeros(2, 0)
    with torch.no_grad():
        whole = episodes.evaluate(ensemble, w, c)
        logits = ensemble.call(
            "forward", w, c, episodes.pixels(episodes.episodes["test"]), shared=True
        )
        right, nll, _ = answers(logits, episodes.answers)
        torch.testing.assert_close(whole["test_nll"], mean(nll.flatten(1)))
        assert torch.equal(whole["test_right"], right.sum(-1))
        held_out = episodes.held_out_logits(ensemble, w, c)[0]
        asked: list[int] = []
        pixels = episodes.pixels
        monkeypatch.setattr(
            episodes, "pixels", lambda rows: asked.append(rows.numel()) or pixels(rows)
        )
        monkeypatch.setattr(episodes_module, "CHUNK", 40)
        torch.testing.assert_close(episodes.evaluate(ensemble, w, c), whole)
        torch.testing.assert_close(episodes.held_out_logits(ensemble, w, c)[0], held_out)
    assert max(asked) == 36
    assert episodes.features(ensemble, w, c).shape == (2, 2 * WAY * (SHOT + QUERY), 4)


@pytest.fixture(scope="session")
def glyphs(request, tmp_path_factory):
    """The few-shot experiment of the default scale for MAML, with fewer episodes."""
    from hsac.data import build_variant, fetch

    root = tmp_path_factory.mktemp("glyphs")
    fetch("glyphs", root)
    keys = keys_of("default") | {"device": "cpu"}
    experiment = keys["experiments"]["glyphs_few_shot"]
    experiment["model"] = {"name": "conv4_maml", "width": 8}
    experiment["training"] = experiment["training"] | {"evaluations": 1}
    experiment["variant"] = experiment["variant"] | {"train": 150, "validation": 20, "test": 60}
    recipe = recipe_of(experiment)
    return keys, build_variant("glyphs", "w", recipe, root), root


@pytest.mark.slow
def test_learns_on_glyphs(glyphs):
    keys, variant, root = glyphs
    study, cell = cell_of(keys, "glyphs_few_shot", "adam+euclidean")
    ((record, _),) = train_seeds(study, cell, [0], variant, root)
    assert record["status"] == "ok"
    assert record["curvature"] == {"names": [], "final": []}
    assert record["metrics"]["selected"]["test_accuracy"] > 0.3  # chance is 0.2


@pytest.mark.slow
def test_takes_no_rule_of_curvature(glyphs):
    keys, variant, root = glyphs
    study, cell = cell_of(keys, "glyphs_few_shot", "adam+hsac")
    said = r"adam\+hsac'; conv4_maml has no curvature, allowed is .* euclidean"
    with pytest.raises(InputError, match=said):
        prepare(load_inputs(study.device, cell, variant, root), [0])
