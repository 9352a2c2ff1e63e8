"""Heads: limits, agreement of two implementations, invariances, scales; models that take them."""

import re

import geoopt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from hsac.errors import InputError
from hsac.models.heads import Product, make_head
from hsac.models.mlp import Mlp
from hsac.parts import names

F64 = torch.float64
DIM, CLASSES = 5, 4
HEADS = names("head")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def head_of(rule, **parameters):
    return make_head({"rule": rule, "parameters": parameters}, DIM, CLASSES)


def moved(head, seed=1):
    """Start parameters with every zero moved off it."""
    params = head.init(generator(seed))
    noise = generator(seed + 1)
    return {
        k: p + 0.1 * torch.randn(p.shape, generator=noise, dtype=F64) for k, p in params.items()
    }


def features(seed=3, rows=5):
    return torch.randn((rows, DIM), generator=generator(seed), dtype=F64)


def c_of(value, head=None):
    """A head's curvature, or one for each factor of a product."""
    c = torch.tensor(value, dtype=F64)
    return c.repeat(len(head.curvature_names)) if isinstance(head, Product) else c


def test_all_heads_are_here():
    known = {"geoopt_mlr", "linear", "lorentz_mlr", "poincare_mlr", "product_mlr", "prototypes"}
    assert set(HEADS) >= known


@pytest.mark.parametrize("scale", ["fixed", "learned"])
@pytest.mark.parametrize("rule", HEADS)
def test_shapes_and_twice_differentiable(rule, scale):
    head = head_of(rule, scale=scale, start=2.0)
    params = moved(head)
    keys = list(params)

    def logits(c, u, *values):
        return head.forward(dict(zip(keys, values, strict=True)), c, u)

    inputs = [c_of(0.7, head), features(rows=2), *params.values()]
    inputs = [value.clone().requires_grad_() for value in inputs]
    assert logits(*inputs).shape == (2, CLASSES)
    if not head.curved:
        inputs = inputs[1:]
    call = logits if head.curved else lambda *rest: logits(None, *rest)
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


def test_flat_poincare_mlr_is_linear():
    """Poincare mlr is linear at zero curvature."""
    head = head_of("poincare_mlr")
    params = moved(head)
    z, r, u = params["z"], params["r"], features()
    want = 4 * (u @ z.mT - z.norm(dim=1) * r)
    torch.testing.assert_close(head.forward(params, c_of(0.0), u), want)
    line = head_of("linear")
    as_linear = {"z": 4 * z, "r": -4 * z.norm(dim=1) * r}
    torch.testing.assert_close(line.forward(as_linear, None, u), want)


@pytest.mark.parametrize("c", [1e-6, 0.1, 1.0, 3.0])
def test_geoopt_computes_the_same_hyperplanes(c):
    """Ganea's point and normal give the hyperplane of Shimizu's direction z and offset r.

    They are p = expmap0(r z/|z|) and a = z / cosh²(√c r).
    """
    ours, theirs = head_of("poincare_mlr"), head_of("geoopt_mlr")
    params = moved(ours)
    z, r, u = params["z"], params["r"], features()
    unit = z / z.norm(dim=1, keepdim=True)
    root = c**0.5
    p = torch.tanh(root * r)[:, None] / root * unit
    a = z / torch.cosh(root * r)[:, None] ** 2
    found = theirs.forward({"p": p, "a": a}, c_of(c), u)
    torch.testing.assert_close(found, ours.forward(params, c_of(c), u), rtol=1e-6, atol=1e-7)


def test_heads_start_alike():
    u = features()
    logits = {
        rule: head_of(rule).forward(head_of(rule).init(generator()), c_of(0.5), u)
        for rule in ("poincare_mlr", "geoopt_mlr")
    }
    torch.testing.assert_close(*logits.values(), rtol=1e-6, atol=1e-7)
    flat = [
        head_of(rule).forward(head_of(rule).init(generator()), c_of(0.0), u)
        for rule in ("poincare_mlr", "linear")
    ]
    torch.testing.assert_close(*flat)


@given(order=st.permutations(range(CLASSES)), c=st.floats(0, 3))
@pytest.mark.parametrize("rule", HEADS)
def test_permuting_the_classes_permutes_the_logits(rule, order, c):
    head = head_of(rule)
    params = moved(head)
    permuted = {k: p[list(order)] if p.dim() else p for k, p in params.items()}
    want = head.forward(params, c_of(c, head), features())[:, list(order)]
    torch.testing.assert_close(head.forward(permuted, c_of(c, head), features()), want)


@pytest.mark.parametrize("rule", HEADS)
def test_common_rotation_changes_nothing(rule):
    """Rotating features and weights together changes nothing, in a product within each factor."""
    head = head_of(rule)
    params = moved(head)
    factors = len(head.curvature_names) if isinstance(head, Product) else 1
    noise = torch.randn((DIM, DIM), generator=generator(7), dtype=F64)
    sizes = [len(part) for part in torch.arange(DIM).tensor_split(factors)]
    rotation = torch.block_diag(*(torch.linalg.qr(noise[:size, :size])[0] for size in sizes))
    turned = {k: p @ rotation if p.shape[1:] == (DIM,) else p for k, p in params.items()}
    u = features()
    want = head.forward(params, c_of(0.8, head), u)
    torch.testing.assert_close(head.forward(turned, c_of(0.8, head), u @ rotation), want)


@pytest.mark.parametrize("power", [1, 2])
def test_prototypes_at_zero_curvature_are_euclidean(power):
    head = head_of("prototypes", scale="fixed", power=power)
    params, u = moved(head), features()
    want = -((2 * torch.cdist(u, params["z"])) ** power)
    torch.testing.assert_close(head.forward(params, c_of(0.0), u), want)


def test_prototypes_take_the_distance_itself():
    """Logits of power 1 are geoopt's distances, and finite with derivatives at a prototype."""
    head = head_of("prototypes", scale="fixed", power=1)
    params, c = moved(head), c_of(0.7)
    u = torch.cat((features(), params["z"][:1])).requires_grad_()
    found = head.forward(params, c, u)
    ball = geoopt.PoincareBall(c=c_of(0.7))
    want = -ball.dist(ball.expmap0(u)[:, None], ball.expmap0(params["z"]))
    torch.testing.assert_close(found[:-1], want[:-1], rtol=1e-9, atol=1e-9)
    assert abs(found[-1, 0].item()) < 1e-9
    (first,) = torch.autograd.grad(found.sum(), u, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), u)
    assert first.isfinite().all()
    assert second.isfinite().all()


@pytest.mark.parametrize("rule", HEADS)
def test_the_scale_multiplies_the_logits(rule):
    plain = head_of(rule, scale="fixed", start=1.0)
    fixed = head_of(rule, scale="fixed", start=0.25)
    learned = head_of(rule, scale="learned", start=0.25)
    params, u, c = plain.init(generator()), features(), c_of(0.5, plain)
    want = 0.25 * plain.forward(params, c, u)
    torch.testing.assert_close(fixed.forward(params, c, u), want)
    start = learned.init(generator())
    torch.testing.assert_close(learned.forward(start, c, u), want)
    u = u.clone()
    start["s"].requires_grad_()
    learned.forward(start, c, u).logsumexp(-1).sum().backward()
    assert start["s"].grad.abs() > 0


@pytest.mark.parametrize(
    ("parameters", "words"),
    [({"scale": "free"}, "fixed or learned"), ({"start": 0.0}, "a number above 0")],
)
@pytest.mark.parametrize("rule", HEADS)
def test_bad_parameters_are_named(rule, parameters, words):
    with pytest.raises(InputError, match=words):
        head_of(rule, **parameters)


@pytest.mark.parametrize(
    ("rule", "parameters", "line"),
    [
        ("prototypes", {"power": 3}, "power: found 3; allowed is 1 or 2"),
        ("product_mlr", {"signs": []}, "signs: found []; allowed is a list of -1 and 1"),
        ("product_mlr", {"signs": [-1, 0]}, "signs: found [-1, 0]; allowed is a list of"),
        ("product_mlr", {"signs": [1, 1, 1]}, "signs: found [1, 1, 1]; allowed is a list"),
        ("product_mlr", {"signs": [1.5]}, "signs: found [1.5]; allowed is tuple[int, ...]"),
    ],
)
def test_own_parameters_are_checked(rule, parameters, line):
    """Parameters that only one head has are refused by a line that names them."""
    with pytest.raises(InputError, match=re.escape(f"head.{line}")):
        head_of(rule, **parameters)


def test_unknown_head_is_refused():
    """A head that is not there."""
    with pytest.raises(InputError, match="did you mean 'linear'"):
        head_of("liner")


@pytest.mark.parametrize("rule", [rule for rule in HEADS if head_of(rule).vmapped])
def test_vmap_equals_run_by_run(rule):
    """Many weights and curvatures as one program give what each gives alone, derivatives too."""
    head, u = head_of(rule), features()
    runs = [moved(head, seed) for seed in (1, 2, 3)]
    stacked = {k: torch.stack([p[k] for p in runs]) for k in runs[0]}
    c = torch.stack([c_of(value, head) for value in (0.0, 0.3, 2.0)])

    def gradients(params, c):
        return torch.func.grad(lambda p, c: head.forward(p, c, u).logsumexp(-1).sum())(params, c)

    for call in (lambda p, c: {"logits": head.forward(p, c, u)}, gradients):
        found = torch.func.vmap(call)(stacked, c)
        alone = [call(p, k) for p, k in zip(runs, c, strict=True)]
        want = {k: torch.stack([one[k] for one in alone]) for k in found}
        torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", HEADS)
def test_a_model_takes_every_head(rule):
    model = Mlp(
        (4, 4), CLASSES, "hyperbolic", hidden=5, dim=DIM, head={"rule": rule, "parameters": {}}
    )
    names = ("head",) if model.classifier.curved else ()
    if isinstance(model.classifier, Product):
        names = ("head.0.hyperbolic", "head.1.spherical")
    assert model.curvature_names == names
    params = model.init(generator())
    c = torch.full((len(model.curvature_names),), 0.5, dtype=F64)
    logits = model.forward(params, c, torch.rand((6, 4, 4), dtype=F64, generator=generator()))
    assert logits.shape == (6, CLASSES)
    functional.cross_entropy(logits, torch.arange(6) % CLASSES)
