"""Models: their flat limits written out by hand, symmetries, derivatives, vmap."""

import pytest
import torch
from torch.nn import functional

from hsac.errors import InputError
from hsac.models.cnn import Cnn
from hsac.models.conv4_maml import Conv4Maml
from hsac.models.conv4_protonet import Conv4Protonet
from hsac.models.gcn import Gcn
from hsac.models.heads.poincare_mlr import PoincareMlr
from hsac.models.hgcn import Hgcn
from hsac.models.mlp import Mlp
from hsac.models.resnet import Resnet
from hsac.models.resnet12 import Resnet12
from hsac.models.types import Adapting, BatchNormalised, Episodic, WithDropout, WithHead
from hsac.models.wide_resnet import WideResnet
from hsac.parts import build

F64 = torch.float64
NODES, SHOT, QUERY, WAY = 9, 2, 3, 4


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def perturbed(model, seed=1):
    """The model's start parameters with every zero (biases, offsets) moved off it."""
    params = model.init(torch.Generator().manual_seed(seed))
    return {k: p + 0.1 * noise(*p.shape, seed=seed + i) for i, (k, p) in enumerate(params.items())}


def graph(seed=0):
    """A random graph with self-loops: x, source, target, weight."""
    g = torch.Generator().manual_seed(seed)
    source, target = (torch.randint(0, NODES, (30,), generator=g) for _ in range(2))
    loops = torch.arange(NODES)
    weight = torch.rand(30 + NODES, generator=g, dtype=F64)
    source, target = torch.cat((source, loops)), torch.cat((target, loops))
    return noise(NODES, 5, seed=seed), source, target, weight


def make(name, space="hyperbolic"):
    """A small model, its input and its number of curvatures."""
    if name == "mlp":
        x = torch.rand(5, 4, 4, dtype=F64, generator=torch.Generator())
        return Mlp((4, 4), 3, space, hidden=7, dim=2), x
    if name == "mlp_pooled":
        model = Mlp((5, 6), 3, space, hidden=7, layers=2, dim=3, pool=2, clip=0.5)
        return model, torch.rand(5, 5, 6, dtype=F64, generator=torch.Generator())
    if name == "mlp_colour":
        return Mlp((3, 4, 6), 3, space, hidden=7, dim=2, pool=2), noise(5, 3, 4, 6).sigmoid()
    if name == "cnn":
        return Cnn((8, 9), 3, space, width=4, blocks=2, groups=2, dim=3), noise(5, 8, 9).sigmoid()
    if name == "cnn_colour":
        return Cnn((3, 8, 8), 3, space, width=4, groups=2, dim=3), noise(5, 3, 8, 8).sigmoid()
    if name == "resnet":
        return Resnet((3, 8, 8), 3, space, depth=20), noise(5, 3, 8, 8).sigmoid()
    if name == "wide_resnet":
        return WideResnet((3, 8, 8), 3, space, depth=10, width=1), noise(5, 3, 8, 8).sigmoid()
    if name == "hgcn":
        return Hgcn(5, 3, space, hidden=6, dim=4), graph()
    if name == "resnet12":
        x = noise(2, WAY, SHOT + QUERY, 3, 8, 8, seed=4)
        return Resnet12((3, 8, 8), SHOT, space, widths=(4, 6), groups=2), x
    inputs = (3, 16, 16) if name == "conv4_protonet_colour" else (16, 16)
    x = noise(2, WAY, SHOT + QUERY, *inputs, seed=4)
    power = 1 if name == "conv4_protonet_distance" else 2
    return Conv4Protonet(inputs, SHOT, space, width=4, groups=2, power=power), x


CLASSIFIERS = ("mlp", "mlp_pooled", "mlp_colour", "cnn", "cnn_colour", "resnet", "wide_resnet")
PROTONETS = ("conv4_protonet", "conv4_protonet_colour", "conv4_protonet_distance", "resnet12")
NAMES = (*CLASSIFIERS, "hgcn", *PROTONETS)
SHAPES = (
    dict.fromkeys(CLASSIFIERS, (5, 3))
    | {"hgcn": (NODES, 3)}
    | dict.fromkeys(PROTONETS, (2, WAY * QUERY, WAY))
)


def curvatures(model, c):
    return torch.full((len(model.curvature_names),), c, dtype=F64)


@pytest.mark.parametrize("space", ["euclidean", "hyperbolic"])
@pytest.mark.parametrize("name", NAMES)
def test_shapes(name, space):
    model, x = make(name, space)
    c = curvatures(model, 0.0 if space == "euclidean" else 0.7)
    logits = model.forward(perturbed(model), c, x)
    assert logits.shape == SHAPES[name]
    assert logits.isfinite().all()


def test_protocols_tell_models_apart():
    """Each protocol holds for the models that have its feature, and for no other."""
    names = ("mlp", "resnet", "wide_resnet", "hgcn", "conv4_protonet", "resnet12")
    models = {name: make(name)[0] for name in names}
    models["gcn"] = Gcn(5, 3, "euclidean")
    models["conv4_maml"] = Conv4Maml((16, 16), WAY, SHOT, "euclidean")
    holds = {
        WithHead: {"mlp", "resnet", "wide_resnet", "hgcn"},
        BatchNormalised: {"resnet", "wide_resnet"},
        WithDropout: {"hgcn", "gcn"},
        Adapting: {"conv4_maml"},
        Episodic: {"conv4_protonet", "resnet12"},
    }
    for protocol, names in holds.items():
        assert {name for name, model in models.items() if isinstance(model, protocol)} == names


@pytest.mark.parametrize("name", NAMES)
def test_init_repeats_in_float64(name):
    """Init draws the same from the same seed in float64."""
    model, _ = make(name)
    a, b, other = (model.init(torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert all(torch.equal(a[k], b[k]) and a[k].dtype == F64 for k in a)
    assert any(not torch.equal(a[k], other[k]) for k in a)


def linear_head(u, params):
    return 4 * (u @ params["z"].mT - params["r"] * params["z"].norm(dim=-1))


def test_flat_hgcn_is_a_gcn():
    model, (x, source, target, weight) = make("hgcn", "euclidean")
    p = perturbed(model)
    adjacency = torch.zeros(NODES, NODES, dtype=F64).index_put(
        (target, source), weight, accumulate=True
    )
    hidden = (adjacency @ (x @ p["w0"].mT + p["b0"])).relu()
    want = linear_head(adjacency @ (hidden @ p["w1"].mT + p["b1"]), p)
    found = model.forward(p, curvatures(model, 0.0), (x, source, target, weight))
    torch.testing.assert_close(found, want, rtol=1e-12, atol=1e-12)


def test_flat_mlp_is_a_perceptron():
    model, x = make("mlp_pooled", "euclidean")
    p = perturbed(model)
    corners = [(i, j) for i in (0, 2) for j in (0, 2, 4)]
    pooled = torch.stack([x[:, i : i + 2, j : j + 2].mean((1, 2)) for i, j in corners], 1)
    hidden = ((pooled @ p["w0"].mT + p["b0"]).relu() @ p["w1"].mT + p["b1"]).relu()
    want = linear_head(hidden @ p["w2"].mT + p["b2"], p)
    torch.testing.assert_close(
        model.forward(p, curvatures(model, 0.0), x), want, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("name", PROTONETS)
def test_flat_protonet_is_snells(name):
    model, x = make(name, "euclidean")
    p = perturbed(model)
    u = model.embed(p, curvatures(model, 0.0), x.flatten(0, 2)).unflatten(0, x.shape[:3])
    prototypes, queries = u[:, :, :SHOT].mean(2), u[:, :, SHOT:].flatten(1, 2)
    distance = 2 * torch.cdist(queries, prototypes)
    want = -(distance**model.power) / (10 * p["t"]).exp()
    torch.testing.assert_close(
        model.forward(p, curvatures(model, 0.0), x), want, rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("clip", [0.5, 40.0])
def test_logits_take_the_distance_itself(clip):
    """With power 1 a logit is the root of that with power 2, for far features too."""
    logits = []
    for power in (1, 2):
        model = Conv4Protonet((16, 16), SHOT, "hyperbolic", clip=clip, power=power)
        u = functional.normalize(noise(2, WAY, SHOT + QUERY, 6), dim=-1) * clip
        params = {"t": torch.tensor(0.0, dtype=F64)}
        logits.append(model.classify(params, torch.tensor([0.8], dtype=F64), u))
    assert logits[0].max() < -0.1
    torch.testing.assert_close(logits[0].square(), -logits[1])


def test_start_temperature():
    model = Conv4Protonet((16, 16), 1, "euclidean", temperature=2.5)
    assert (10 * model.init(torch.Generator())["t"]).exp() == 2.5


@pytest.mark.parametrize("name", NAMES)
def test_continuous_at_zero_curvature(name):
    model, x = make(name)
    p = perturbed(model)
    flat, near = (model.forward(p, curvatures(model, c), x) for c in (0.0, 1e-9))
    torch.testing.assert_close(near, flat, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(model.forward(p, curvatures(model, 1.0), x), flat, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_every_curvature_matters(name):
    model, x = make(name)
    p, c = perturbed(model), curvatures(model, 0.5).requires_grad_()
    (g,) = torch.autograd.grad(model.forward(p, c, x).square().sum(), c)
    assert (g.abs() > 1e-6).all()


@pytest.mark.parametrize("name", NAMES)
def test_features_clipped_in_hyperbolic_space(name):
    """Features are clipped in hyperbolic space only."""
    for space in ("euclidean", "hyperbolic"):
        model, x = make(name, space)
        p = {k: v * 10 if k.split(".")[-1][0] in "wg" else v for k, v in perturbed(model).items()}
        given = x.flatten(0, 2) if name in PROTONETS else x
        longest = model.embed(p, curvatures(model, 0.0), given).norm(dim=-1).max()
        assert (longest <= model.clip * (1 + 1e-12)) == (space == "hyperbolic")


def test_hgcn_permutes_with_its_nodes():
    model, (x, source, target, weight) = make("hgcn")
    p, c = perturbed(model), torch.tensor([0.3, 1.0, 2.0], dtype=F64)
    order = torch.randperm(NODES, generator=torch.Generator().manual_seed(2))
    place = torch.argsort(order)
    want = model.forward(p, c, (x, source, target, weight))[order]
    found = model.forward(p, c, (x[order], place[source], place[target], weight))
    torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", PROTONETS)
def test_protonet_permutes_with_classes_and_queries(name):
    model, x = make(name)
    p, c = perturbed(model), curvatures(model, 0.8)
    logits = model.forward(p, c, x).unflatten(1, (WAY, QUERY))
    order = torch.tensor([2, 0, 3, 1])
    by_class = model.forward(p, c, x[:, order]).unflatten(1, (WAY, QUERY))
    torch.testing.assert_close(by_class, logits[:, order][..., order], rtol=1e-8, atol=1e-10)
    images = torch.tensor([1, 0, 4, 2, 3])  # the support among itself, the queries among themselves
    by_query = model.forward(p, c, x[:, :, images]).unflatten(1, (WAY, QUERY))
    torch.testing.assert_close(by_query, logits[:, :, images[SHOT:] - SHOT], rtol=1e-8, atol=1e-10)
    swapped = model.forward(p, c, x.flip(0)).unflatten(1, (WAY, QUERY))
    torch.testing.assert_close(swapped, logits.flip(0), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", PROTONETS)
def test_protonet_finds_the_repeated_class(name):
    """Protonet finds the class its query repeats."""
    model, x = make(name)
    x = x[:, :, [0] * (SHOT + QUERY)]
    logits = model.forward(perturbed(model), curvatures(model, 1.0), x)
    assert torch.equal(logits.argmax(-1), torch.arange(WAY).repeat_interleave(QUERY).expand(2, -1))


@pytest.mark.parametrize("c", [0.0, 1e-3, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_mixed_second_derivatives_match_finite_differences(name, c):
    """∂/∂c of v·∂L/∂w, what the implicit hypergradient needs, by double backward."""
    model, x = make(name)
    start = perturbed(model)

    def directional(c):
        p = {k: v.clone().requires_grad_() for k, v in start.items()}
        loss = functional.softplus(model.forward(p, c, x)).mean()
        grads = torch.autograd.grad(loss, list(p.values()), create_graph=True)
        return sum((g * noise(*g.shape, seed=i)).sum() for i, g in enumerate(grads))

    at = curvatures(model, c).requires_grad_()
    (found,) = torch.autograd.grad(directional(at), at)
    h = 1e-5
    for j, basis in enumerate(torch.eye(len(at), dtype=F64)):
        want = (directional(at.detach() + h * basis) - directional(at.detach() - h * basis)) / (
            2 * h
        )
        assert found[j].item() == pytest.approx(want.item(), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_hessian_products_are_finite_and_symmetric(name):
    model, x = make(name)
    p = {k: v.requires_grad_() for k, v in perturbed(model).items()}
    values = list(p.values())
    loss = functional.softplus(model.forward(p, curvatures(model, 0.6), x)).mean()
    grads = torch.autograd.grad(loss, values, create_graph=True)
    a, b = ([noise(*v.shape, seed=s + i) for i, v in enumerate(values)] for s in (10, 50))
    ha, hb = (torch.autograd.grad(grads, values, v, retain_graph=True) for v in (a, b))
    assert all(h.isfinite().all() for h in ha)
    left, right = (
        sum((u * v).sum() for u, v in zip(s, t, strict=True)) for s, t in ((b, ha), (a, hb))
    )
    assert left.item() == pytest.approx(right.item(), rel=1e-8)
    assert abs(left.item()) > 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_vmap_over_parameters_and_curvature(name):
    model, x = make(name)
    runs = [perturbed(model, seed) for seed in (1, 2, 3)]
    stacked = {k: torch.stack([p[k] for p in runs]) for k in runs[0]}
    c = torch.stack([curvatures(model, v) for v in (0.0, 0.3, 2.0)])
    found = torch.func.vmap(model.forward, (0, 0, None))(stacked, c, x)
    want = torch.stack([model.forward(p, k, x) for p, k in zip(runs, c, strict=True)])
    torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("c", [1e-3, 0.3, 5.0, 10.0])
def test_float32_protonet_right_at_every_c(c):
    """Protonet in float32 is finite and right over the whole range of c.

    Features at the default clip come as near the boundary as the default bounds of c allow.
    """
    model = Conv4Protonet((16, 16), SHOT, "hyperbolic", width=4, groups=2)
    u = functional.normalize(noise(2, WAY, SHOT + QUERY, 6), dim=-1) * model.clip
    found = []
    for dtype in (torch.float32, F64):
        at = (u.to(dtype).requires_grad_(), torch.tensor([c], dtype=dtype, requires_grad=True))
        logits = model.classify({"t": torch.tensor(0.0, dtype=dtype)}, at[1], at[0]).flatten(0, 1)
        value = functional.cross_entropy(logits, torch.arange(24) % WAY)
        found.append([t.double() for t in (logits, value, *torch.autograd.grad(value, at))])
    for single, double in zip(*found, strict=True):
        assert (single - double).norm() <= 0.05 * double.norm()


def test_flat_head_is_a_linear_layer():
    """Head is a linear layer at zero curvature."""
    head = PoincareMlr(3, 4)
    params = {k: v + 0.2 for k, v in head.init(torch.Generator()).items()}
    u = noise(5, 3)
    found = head.forward(params, torch.tensor(0.0, dtype=F64), u)
    torch.testing.assert_close(found, linear_head(u, params))
    assert params["z"].shape == (4, 3)


@pytest.mark.parametrize(
    ("name", "parameters", "key"),
    [
        ("mlp", {"hidden": 0}, "hidden"),
        ("mlp", {"clip": 0.0}, "clip"),
        ("mlp", {"pool": 0}, "pool"),
        ("mlp", {"pool": 9}, "pool"),
        ("mlp", {"layers": 1.5}, "layers"),
        ("hgcn", {"dim": 0}, "dim"),
        ("hgcn", {"clip": -1}, "clip"),
        ("conv4_protonet", {"groups": 3}, "groups"),
        ("conv4_protonet", {"groups": 0}, "groups"),
        ("conv4_protonet", {"groups": -4}, "groups"),
        ("conv4_protonet", {"temperature": 0}, "temperature"),
        ("conv4_protonet", {"width": 0}, "width"),
        ("cnn", {"blocks": 0}, "blocks"),
        ("cnn", {"blocks": 4}, "inputs"),
        ("cnn", {"dim": 0}, "dim"),
        ("cnn", {"clip": 0}, "clip"),
        ("resnet", {"depth": 50}, "depth"),
        ("conv4_protonet", {"power": 0}, "power"),
        ("resnet", {"clip": 0}, "clip"),
        ("wide_resnet", {"depth": 27}, "depth"),
        ("wide_resnet", {"depth": 4}, "depth"),
        ("wide_resnet", {"width": 0}, "width"),
        ("wide_resnet", {"clip": 0}, "clip"),
        ("resnet12", {"widths": []}, "widths"),
        ("resnet12", {"widths": [4, 0]}, "widths"),
        ("resnet12", {"groups": 3}, "groups"),
        ("resnet12", {"groups": 0}, "groups"),
        ("resnet12", {"widths": [32] * 5}, "inputs"),
        ("resnet12", {"temperature": 0}, "temperature"),
    ],
)
def test_bad_parameters(name, parameters, key):
    images = {"inputs": (3, 9, 8), "classes": 3}
    filled = {
        "hgcn": {"inputs": 4, "classes": 3},
        "conv4_protonet": {"inputs": (16, 16), "shot": 1},
        "resnet12": {"inputs": (16, 16), "shot": 1},
    }
    given = filled.get(name, images)
    with pytest.raises(InputError, match=f"^model.{key}: found"):
        build("model", name, parameters, "model", space="hyperbolic", **given)
