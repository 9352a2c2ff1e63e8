"""Features without their zeros: what models do to dense ones, to the same numbers."""

import pytest
import torch

from hsac.models.gcn import Gcn
from hsac.models.graphs import SparseFeatures, row_shares
from hsac.models.hgcn import Hgcn
from hsac.train.ensemble import Bundle

F64 = torch.float64
NODES, WIDTH = 7, 6


def features():
    """A matrix with a row and a column of zeros, and the same one without zeros."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn((NODES, WIDTH), generator=g, dtype=F64) * (
        torch.rand((NODES, WIDTH), generator=g) < 0.4
    )
    x[2], x[:, 3] = 0, 0
    return x, SparseFeatures.of(x)


def weights(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_products_equal_the_dense_ones():
    """Products and shares are those of the dense matrix."""
    x, sparse = features()
    w = weights(WIDTH, 3)
    torch.testing.assert_close(sparse @ w, x @ w)
    torch.testing.assert_close(row_shares(sparse) @ w, row_shares(x) @ w)
    assert (row_shares(sparse) @ torch.ones(WIDTH, 1, dtype=F64))[2] == 0


def test_derivatives_of_every_order():
    _, sparse = features()
    w = weights(WIDTH, 2).requires_grad_()
    assert torch.autograd.gradcheck(sparse.__matmul__, [w])
    assert torch.autograd.gradgradcheck(lambda w: (sparse @ w).tanh(), [w])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "model", [Gcn(WIDTH, 3, "euclidean"), Hgcn(WIDTH, 3, "hyperbolic", dropout=0.5)]
)
def test_models_take_either(model, masked):
    """Models take dense and sparse features alike.

    Logits, gradients and a Hessian product of three vmapped runs, with dropout masks of their own
    or without.
    """
    x, sparse = features()
    edges = (torch.arange(NODES), torch.arange(NODES).roll(2), weights(NODES).abs())
    bundle, w = Bundle.start(model, (0, 1, 2), torch.device("cpu"))
    w, c = w.double(), torch.full((3, len(model.curvature_names)), 0.5, dtype=F64)
    g = torch.Generator().manual_seed(4)
    shapes = (int(x.count_nonzero()),), (NODES, model.hidden)
    state = {
        f"layer{i}": torch.rand((3, *shape), generator=g) < 0.5 for i, shape in enumerate(shapes)
    }
    found = []
    for given in (x, sparse):
        at = w.detach().requires_grad_()
        logits = bundle.call(
            "forward", at, c, (given, *edges), shared=True, state=state if masked else None
        )
        (slope,) = torch.autograd.grad(logits.log_softmax(-1)[..., 0].sum(), at, create_graph=True)
        (product,) = torch.autograd.grad(slope, at, slope.detach())
        found.append((logits, slope, product))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-10)
    assert found[0][2].abs().max() > 1e-6
