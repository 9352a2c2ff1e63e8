"""The product MLR against geoopt's stereographic model, and its curvatures' hypergradients."""

import geoopt
import pytest
import torch
from torch.nn.functional import cross_entropy

from hsac.hypergradient import implicit_hypergradient
from hsac.hypergradient.solvers.exact import Exact
from hsac.models.heads.poincare_mlr import PoincareMlr
from hsac.models.heads.product_mlr import ProductMlr
from hsac.models.hgcn import Hgcn
from hsac.theory.ground_truth import newton

F64 = torch.float64
DIM, CLASSES, ROWS = 7, 4, 6


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def drawn(factors):
    """Weights off their start, and features."""
    params = {"z": normal(0, CLASSES, DIM), "r": 0.4 * normal(1, CLASSES, factors)}
    return params, 0.5 * normal(2, ROWS, DIM)


def cs(*values):
    return torch.tensor(values, dtype=F64)


@pytest.mark.parametrize("c", [0.0, 1e-4, 0.3, 5.0])
def test_one_ball_is_poincare(c):
    """With one factor, a ball, the head is the Poincaré MLR bit for bit, its start too."""
    product, ball = ProductMlr(DIM, CLASSES, (-1,)), PoincareMlr(DIM, CLASSES)
    params, u = drawn(1)
    want = ball.forward(params | {"r": params["r"][:, 0]}, torch.tensor(c, dtype=F64), u)
    assert torch.equal(product.forward(params, cs(c), u), want)
    starts = [head.init(torch.Generator().manual_seed(3)) for head in (product, ball)]
    assert torch.equal(starts[0]["z"], starts[1]["z"])


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("c", [1e-3, 0.2, 0.7])
def test_factor_logits_are_geoopts_distances(sign, c):
    """A factor's logit is 2|z| times geoopt's signed distance from the hyperplane.

    It goes through expmap0(r z/|z|) at right angles to z, and the point is geoopt's expmap0(u).
    """
    params, u = drawn(1)
    manifold = geoopt.Stereographic(k=torch.tensor(sign * c, dtype=F64))
    z, r = params["z"], params["r"]
    p = manifold.expmap0(r * torch.nn.functional.normalize(z, dim=-1))
    distance = manifold.dist2plane(manifold.expmap0(u)[:, None], p, z, signed=True)
    found = ProductMlr(DIM, CLASSES, (sign,)).forward(params, cs(c), u)
    torch.testing.assert_close(found, 2 * z.norm(dim=-1) * distance, rtol=1e-9, atol=1e-9)


def test_sphere_distance_is_least_distance():
    """On the sphere no sampled point of the hyperplane is nearer, and some are nearly as near."""
    c, u = torch.tensor(0.8, dtype=F64), torch.tensor([[0.4, 0.3]], dtype=F64)
    params = {"z": torch.tensor([[0.6, -0.8]], dtype=F64), "r": torch.tensor([[0.35]], dtype=F64)}
    manifold = geoopt.Stereographic(k=c.clone())
    p = manifold.expmap0(params["r"] * params["z"])
    along = torch.linspace(-2, 2, 4001, dtype=F64)[:, None] * torch.tensor([[0.8, 0.6]], dtype=F64)
    plane = manifold.expmap(p, along)
    nearest = manifold.dist(manifold.expmap0(u), plane).min()
    found = ProductMlr(2, 1, (1,)).forward(params, c[None], u).abs() / 2
    assert found.item() == pytest.approx(nearest.item(), rel=1e-5)


def test_logits_add_up():
    """Logits of a product are the sum of those of its factors, each with its own c."""
    signs, c = (-1, 1, -1), cs(0.4, 0.9, 2.0)
    params, u = drawn(3)
    want, places = 0, [slice(0, 3), slice(3, 5), slice(5, 7)]
    for i, place in enumerate(places):
        own = {"z": params["z"][:, place], "r": params["r"][:, i : i + 1]}
        alone = ProductMlr(place.stop - place.start, CLASSES, signs[i : i + 1])
        want = want + alone.forward(own, c[i : i + 1], u[:, place])
    found = ProductMlr(DIM, CLASSES, signs).forward(params, c, u)
    torch.testing.assert_close(found, want, rtol=1e-13, atol=1e-13)


def test_is_linear_at_zero_curvature():
    params, u = drawn(2)
    found = ProductMlr(DIM, CLASSES).forward(params, cs(0.0, 0.0), u)
    lengths = torch.stack((params["z"][:, :4].norm(dim=-1), params["z"][:, 4:].norm(dim=-1)), -1)
    want = 4 * (u @ params["z"].mT - (lengths * params["r"]).sum(-1))
    torch.testing.assert_close(found, want)


def test_smooth_from_ball_to_sphere():
    """Over signed curvature κ the logits are smooth at 0: slopes from both sides are opposite."""
    params, u = drawn(1)
    slopes = []
    for sign in (-1, 1):
        c = cs(0.0).requires_grad_()
        total = ProductMlr(DIM, CLASSES, (sign,)).forward(params, c, u).square().sum()
        slopes.append(torch.autograd.grad(total, c)[0])
    assert slopes[0].abs() > 1
    torch.testing.assert_close(slopes[0], -slopes[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("c", [1e-3, 0.3, 1.5])
@pytest.mark.parametrize("signs", [(1,), (-1, 1), (1, -1, 1)])
def test_twice_differentiable(signs, c):
    params, u = drawn(len(signs))
    inputs = [cs(*[c] * len(signs)), u[:2], params["z"][:2], params["r"][:2]]

    def logits(c, u, z, r):
        return ProductMlr(DIM, 2, signs).forward({"z": z, "r": r}, c, u)

    inputs = [x.clone().requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(logits, inputs)
    assert torch.autograd.gradgradcheck(logits, inputs)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("c", [0.0, 1e-3, 1.0, 10.0])
def test_finite_at_the_poles(dtype, c):
    """Values and two derivatives are finite on the whole sphere, poles and antipode included."""
    angle = torch.linspace(0, 2 * torch.pi, 41, dtype=F64)
    direction = torch.tensor([[1.0, 0.0]], dtype=F64)
    u = (angle[:, None] / (2 * max(c, 1.0) ** 0.5) * direction).to(dtype).requires_grad_()
    given = torch.tensor([c], dtype=dtype, requires_grad=True)
    params = {"z": direction.to(dtype), "r": torch.zeros(1, 1, dtype=dtype)}
    found = ProductMlr(2, 1, (1,)).forward(params, given, u)
    first = torch.autograd.grad(found.sum(), (u, given), create_graph=True)
    second = torch.autograd.grad(sum(g.sum() for g in first), (u, given))
    assert all(x.isfinite().all() for x in (found, *first, *second))
    if c >= 1:  # a triangle wave in the angle: the distance from a great circle
        want = angle.sin().asin() * 2 / c**0.5
        slack = 2e-3 if dtype == torch.float32 else 1e-7
        torch.testing.assert_close(found[:, 0].double(), want, rtol=0, atol=slack)
        assert (first[0].norm(dim=-1) <= 4 * (1 + slack)).all()


def test_hypergradient_of_every_factors_curvature():
    """Implicit hypergradients in log c are finite differences of re-solved training."""
    signs, dim = (-1, 1, -1), 6
    head = ProductMlr(dim, 3, signs)
    x, held = (normal(s, 30, dim) for s in (5, 6))
    teacher = normal(8, dim, 3)
    labels, held_labels = ((a.square() @ teacher).argmax(-1) for a in (x, held))
    sizes = [3 * dim, 3 * len(signs)]
    # The logits have a kink at normals of length 0. These start at length 1 and stay away from it.
    z = torch.nn.functional.normalize(normal(7, 3, len(signs), 2), dim=-1)
    anchor = torch.cat((z.flatten(), torch.zeros(sizes[1], dtype=F64)))[None]

    def loss(w, theta, u, y):
        z, r = w[0].split(sizes)
        params = {"z": z.view(3, dim), "r": r.view(3, len(signs))}
        return cross_entropy(head.forward(params, theta[0].exp(), u), y)[None]

    def lower(w, theta):
        return loss(w, theta, x, labels) + 0.2 * (w - anchor).square().sum(-1)

    def upper(w, theta):
        return loss(w, theta, held, held_labels)

    theta = torch.tensor([[-1.0, -0.7, 0.2]], dtype=F64)
    solved = newton(lower, anchor, theta)
    found = implicit_hypergradient(upper, lower, solved, theta, Exact(), {})
    h = 1e-5
    for j in range(len(signs)):
        step = torch.zeros_like(theta)
        step[0, j] = h
        up, down = (upper(newton(lower, solved, t), t) for t in (theta + step, theta - step))
        want = ((up - down) / (2 * h)).item()
        assert abs(want) > 1e-3
        assert found.total[0, j].item() == pytest.approx(want, rel=1e-6)
    assert (found.implicit.abs() > 1e-4).all()


def test_model_gives_each_factor_its_curvature():
    """The factors' curvatures come after those of the model's own layers, in order."""
    given = {"rule": "product_mlr", "parameters": {"signs": [1, -1, -1]}}
    model = Hgcn(3, 2, "hyperbolic", hidden=4, dim=6, head=given)
    own = ("head.0.spherical", "head.1.hyperbolic", "head.2.hyperbolic")
    assert model.curvature_names == ("layer0", "layer1", *own)
    params, u = model.init(torch.Generator().manual_seed(0)), normal(4, 5, 6)
    c = cs(0.1, 0.2, 0.3, 0.4, 0.5)
    assert torch.equal(model.logits(params, c, u), model.classifier.forward(params, c[2:], u))
