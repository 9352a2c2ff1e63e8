"""The Lorentz MLR against the Poincaré MLR, and against geoopt's hyperboloid."""

import geoopt
import pytest
import torch

from hsac.models.heads.linear import Linear
from hsac.models.heads.lorentz_mlr import LorentzMlr
from hsac.models.heads.poincare_mlr import PoincareMlr

F64 = torch.float64
DIM, CLASSES, ROWS = 3, 4, 6
CURVATURES = [1e-4, 0.1, 1.0, 3.0]


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def drawn():
    """Weights off their start, and features."""
    return {"z": normal(0, CLASSES, DIM), "r": 0.5 * normal(1, CLASSES)}, normal(2, ROWS, DIM)


def hyperboloid(u, c):
    """Return geoopt's manifold and the points of u on it, time first.

    A tangent vector at the ball's origin is twice as long on the hyperboloid.
    """
    manifold = geoopt.Lorentz(k=1 / c)
    return manifold, manifold.expmap0(torch.nn.functional.pad(2 * u, (1, 0)))


def minkowski(x, y):
    """The inner product of all pairs."""
    return x[:, 1:] @ y[:, 1:].mT - x[:, :1] @ y[:, :1].mT


def normals(params, c):
    """Unit normals of the hyperplanes, time first (Bdeir et al. 2024, section 4.3)."""
    z = torch.nn.functional.normalize(params["z"], dim=-1)
    turned = c.sqrt() * params["r"][:, None]
    return torch.cat((turned.sinh(), turned.cosh() * z), -1)


@pytest.mark.parametrize("c", CURVATURES)
def test_equals_the_formula_on_the_hyperboloid(c):
    """Logits are |z|/√c arsinh(√c ⟨x, w⟩) of geoopt's points x and unit normals w."""
    (params, u), c = drawn(), torch.tensor(c, dtype=F64)
    _, x = hyperboloid(u, c)
    product = minkowski(x, normals(params, c))
    want = params["z"].norm(dim=-1) / c.sqrt() * (c.sqrt() * product).asinh()
    found = LorentzMlr(DIM, CLASSES).forward(params, c, u)
    torch.testing.assert_close(found, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("c", CURVATURES[1:])
def test_logits_are_geoopts_distances(c):
    """A logit over |z| is the signed distance from the hyperplane.

    No point of the hyperplane is nearer, and its foot is as near. The foot is x less its component
    along the normal, scaled onto the hyperboloid again.
    """
    (params, u), c = drawn(), torch.tensor(c, dtype=F64)
    manifold, x = hyperboloid(u, c)
    w = normals(params, c)
    product = minkowski(x, w)[..., None]
    foot = (x[:, None] - product * w) / (1 + c * product**2).sqrt()
    found = LorentzMlr(DIM, CLASSES).forward(params, c, u) / params["z"].norm(dim=-1)
    nearest = manifold.dist(x[:, None].expand_as(foot), foot)
    torch.testing.assert_close(found.abs(), nearest, rtol=1e-7, atol=1e-7)
    assert torch.equal(found.sign(), product.squeeze(-1).sign())
    aside = 1.1 * foot + normal(3, *foot.shape)
    aside = aside - (aside * w * torch.tensor([-1.0, 1, 1, 1])).sum(-1, keepdim=True) * w
    square = aside[..., :1] ** 2 - (aside[..., 1:] ** 2).sum(-1, keepdim=True)
    on = square.squeeze(-1) > 0.01
    assert on.sum() > 5
    other = (aside * aside[..., :1].sign() / (c * square).clamp(min=1e-9).sqrt())[on]
    further = manifold.dist(x[:, None].expand_as(foot)[on], other)
    assert (further >= nearest[on] - 1e-7).all()


@pytest.mark.parametrize("c", [0.0, *CURVATURES])
def test_equals_the_poincare_mlr(c):
    """Corresponding hyperplanes have the Poincaré MLR's logits, bit for bit."""
    (params, u), c = drawn(), torch.tensor(c, dtype=F64)
    halved = {name: value / 2 for name, value in params.items()}
    want = PoincareMlr(DIM, CLASSES).forward(halved, c, u)
    assert torch.equal(LorentzMlr(DIM, CLASSES).forward(params, c, u), want)


def test_starts_as_the_poincare_mlr():
    heads = LorentzMlr(DIM, CLASSES), PoincareMlr(DIM, CLASSES)
    u, c = normal(2, ROWS, DIM), torch.tensor(0.3, dtype=F64)
    found = [head.forward(head.init(torch.Generator().manual_seed(5)), c, u) for head in heads]
    torch.testing.assert_close(*found)


def test_is_linear_at_zero_curvature():
    params, u = drawn()
    z, r = params["z"], params["r"]
    found = LorentzMlr(DIM, CLASSES).forward(params, torch.tensor(0.0, dtype=F64), u)
    as_linear = {"z": 2 * z, "r": -z.norm(dim=-1) * r}
    torch.testing.assert_close(found, Linear(DIM, CLASSES).forward(as_linear, None, u))


@pytest.mark.parametrize("c", [0.0, 1e-12, 1e-3, 1.0])
def test_twice_differentiable_down_to_zero(c):
    params, u = drawn()
    leaves = (torch.tensor(c + 1e-5, dtype=F64), u[:2], params["z"][:2], params["r"][:2])

    def logits(c, u, z, r):
        return LorentzMlr(DIM, 2).forward({"z": z, "r": r}, c, u)

    inputs = [x.clone().requires_grad_() for x in leaves]
    assert torch.autograd.gradcheck(logits, inputs)
    assert torch.autograd.gradgradcheck(logits, inputs)
    at_zero = torch.tensor(c, dtype=F64, requires_grad=True)
    (first,) = torch.autograd.grad(logits(at_zero, *leaves[1:]).sum(), at_zero, create_graph=True)
    assert first.isfinite()
    assert torch.autograd.grad(first, at_zero)[0].isfinite()
