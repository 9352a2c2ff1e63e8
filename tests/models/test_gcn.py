"""GCN against torch_geometric's; dropout by masks; HGCN with dropout; fully hyperbolic layers."""

import pytest
import torch
from torch_geometric.nn import GCNConv

from hsac.ball import expmap0, logmap0
from hsac.errors import InputError
from hsac.models.gcn import Gcn
from hsac.models.hgcn import Hgcn
from hsac.models.hnn import Hnn, poincare_linear

F64 = torch.float64
NODES = 9
NONE = torch.zeros(0, dtype=F64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def graph():
    """A connected undirected graph: features, edges without loops, and what a model is given."""
    from torch_geometric.nn.conv.gcn_conv import gcn_norm
    from torch_geometric.utils import to_undirected

    edges = torch.stack((torch.arange(NODES - 1), torch.arange(1, NODES)))
    edges = to_undirected(torch.cat((edges, torch.tensor([[0, 2], [4, 7]])), 1))
    x = torch.rand((NODES, 5), generator=generator(), dtype=F64)
    index, weight = gcn_norm(edges, num_nodes=NODES, dtype=F64)
    return x, edges, (x, index[0], index[1], weight)


def test_gcn_is_torch_geometrics():
    """It is torch geometrics gcn."""
    x, edges, given = graph()
    model = Gcn(5, 3, "euclidean", hidden=4)
    params = {k: p + 0.1 for k, p in model.init(generator()).items()}
    layers = [GCNConv(5, 4).double(), GCNConv(4, 3).double()]
    with torch.no_grad():
        for i, layer in enumerate(layers):
            layer.lin.weight.copy_(params[f"w{i}"])
            layer.bias.copy_(params[f"b{i}"])
        want = layers[1](layers[0](x / x.sum(1, keepdim=True), edges).relu(), edges)
    torch.testing.assert_close(model.forward(params, NONE, given), want)


@pytest.mark.parametrize(
    "model", [Gcn(5, 3, "euclidean", hidden=4), Hgcn(5, 3, "hyperbolic", hidden=4, dropout=0.5)]
)
def test_masks_drop_and_scale(model):
    *_, given = graph()
    given = (given[0] * (given[0] > 0.3), *given[1:])  # zeros, as in bags of words
    params, c = model.init(generator()), torch.full((len(model.curvature_names),), 0.5, dtype=F64)
    node, feature = given[0].nonzero(as_tuple=True)
    kept = torch.rand(len(node), generator=generator(3)) >= 0.5
    hidden = torch.rand((NODES, model.hidden), generator=generator(4)) >= 0.5
    masks = {"layer0": kept, "layer1": hidden}
    dense = torch.zeros((NODES, 5), dtype=torch.bool)
    dense[node[kept], feature[kept]] = True
    found = model.forward(params, c, given, masks)
    assert not torch.allclose(found, model.forward(params, c, given))
    # dropping a feature is having it 0, and what stays is twice as large at rate 1/2
    if isinstance(model, Hgcn):
        zeroed = (2 * given[0] * dense, *given[1:])
        whole = {"layer0": torch.tensor([True]), "layer1": hidden}
        whole["layer0"] = torch.ones(int(zeroed[0].count_nonzero()), dtype=torch.bool)
        halved = {**params, "w0": params["w0"] / 2}
        torch.testing.assert_close(found, model.forward(halved, c, zeroed, whole))


def test_a_bad_rate_is_named():
    with pytest.raises(InputError, match=r"dropout: found 1.0; allowed is a number in \[0, 1\)"):
        Gcn(5, 3, "euclidean", dropout=1.0)


@pytest.mark.parametrize("c", [0.0, 1e-8, 0.3, 2.0])
def test_poincare_linear_is_twice_differentiable(c):
    u, z = (
        torch.randn(shape, generator=generator(i), dtype=F64)
        for i, shape in enumerate(((3, 4), (2, 4)))
    )
    r = torch.tensor([0.2, -0.4], dtype=F64)
    inputs = [value.clone().requires_grad_() for value in (u, z, r, torch.tensor(c, dtype=F64))]
    if c == 0:  # one-sided: c stays out
        flat = torch.zeros((), dtype=F64)
        call, inputs = (lambda u, z, r: poincare_linear(u, z, r, flat)), inputs[:3]
    else:
        call = poincare_linear
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


def test_flat_poincare_linear_is_linear():
    """Poincare linear at zero curvature is linear."""
    u, z = (
        torch.randn(shape, generator=generator(i), dtype=F64)
        for i, shape in enumerate(((3, 4), (2, 4)))
    )
    r = torch.tensor([0.2, -0.4], dtype=F64)
    want = 2 * (u @ z.mT - z.norm(dim=1) * r)
    torch.testing.assert_close(poincare_linear(u, z, r, torch.zeros((), dtype=F64)), want)


def test_poincare_linear_moves_along_the_hyperplanes():
    """The output's k-th coordinate hyperplane is at signed distance v_k.

    Shimizu et al., section 3.2.
    """
    import geoopt

    c = torch.tensor(0.7, dtype=F64)
    u, z = (
        0.3 * torch.randn(shape, generator=generator(i), dtype=F64)
        for i, shape in enumerate(((3, 4), (2, 4)))
    )
    r = torch.tensor([0.2, -0.4], dtype=F64)
    y = poincare_linear(u, z, r, c)
    from hsac.ball import mlr_logits

    distance = geoopt.manifolds.stereographic.math.dist2plane(
        y[:, None], torch.zeros(2, 2, dtype=F64), torch.eye(2, dtype=F64), k=-c, signed=True
    )
    torch.testing.assert_close(distance, mlr_logits(expmap0(u, c), z, r, c))


@pytest.mark.parametrize("space", ["euclidean", "hyperbolic"])
def test_hnn_has_a_curvature_a_layer(space):
    model = Hnn((6, 6), 3, space, hidden=5, dim=4, pool=2)
    assert model.curvature_names == ("layer0", "layer1", "head")
    params = model.init(generator())
    x = torch.rand((4, 6, 6), generator=generator(), dtype=F64)
    c = torch.full((3,), 0.5 if space == "hyperbolic" else 0.0, dtype=F64).requires_grad_()
    logits = model.forward(params, c, x)
    assert logits.shape == (4, 3)
    (slope,) = torch.autograd.grad(logits.square().sum(), c)
    assert (slope != 0).all()


def test_flat_hnn_is_a_perceptron():
    """HNN at zero curvature is a perceptron."""
    model = Hnn((4, 4), 3, "euclidean", hidden=5, dim=4)
    params = {k: p + 0.05 for k, p in model.init(generator()).items()}
    u = torch.rand((2, 4, 4), generator=generator(), dtype=F64)
    h = u.flatten(1)
    for i in range(2):
        z, r = params[f"z{i}"], params[f"r{i}"]
        h = 2 * ((h if i == 0 else h.relu()) @ z.mT - z.norm(dim=1) * r)
    zero = torch.zeros(3, dtype=F64)
    torch.testing.assert_close(model.embed(params, zero, u), h)
    torch.testing.assert_close(logmap0(expmap0(h, zero[0]), zero[0]), h)
