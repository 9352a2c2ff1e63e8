"""Lanczos and Hutchinson against dense Hessians.

On quadratics with chosen spectra, and on a model of the suite.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from hsac.errors import InputError
from hsac.hypergradient import HessianOperator
from hsac.models.mlp import Mlp
from hsac.theory.spectrum import DENSE, extreme_eigenvalues, trace

F64 = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def quadratic(h: Tensor) -> HessianOperator:
    """The Hessian operator of ½ wᵀHw (R, P, P)."""
    w = torch.randn(h.shape[:2], generator=generator(2), dtype=h.dtype).requires_grad_()
    theta = torch.ones(len(h), 1, dtype=h.dtype, requires_grad=True)
    return HessianOperator(lambda w, theta: 0.5 * torch.einsum("rp,rpq,rq->r", w, h, w), w, theta)


def symmetric(runs: int, size: int, seed: int = 1) -> Tensor:
    a = torch.randn(runs, size, size, generator=generator(seed), dtype=F64)
    return (a + a.mT) / 2


def network() -> HessianOperator:
    """Two runs of a small MLP with a hyperbolic head on random labels: indefinite Hessians."""
    model, runs = Mlp((3, 3), 3, "hyperbolic", hidden=5, dim=2), 2
    x = torch.rand(12, 3, 3, generator=generator(3), dtype=F64)
    y = torch.randint(0, 3, (12,), generator=generator(4))
    params = [model.init(generator(seed)) for seed in range(runs)]
    shapes = {name: value.shape for name, value in params[0].items()}
    w = torch.stack([torch.cat([value.flatten() for value in p.values()]) for p in params])
    w = (w + 0.1 * torch.randn(w.shape, generator=generator(5), dtype=F64)).requires_grad_()
    theta = torch.tensor([[-1.0], [0.5]], dtype=F64, requires_grad=True)

    def loss(w: Tensor, theta: Tensor) -> Tensor:
        losses = []
        for run in range(runs):
            parts = w[run].split([shape.numel() for shape in shapes.values()])
            named = {
                name: part.view(shape)
                for (name, shape), part in zip(shapes.items(), parts, strict=True)
            }
            losses.append(cross_entropy(model.forward(named, theta[run].exp(), x), y))
        return torch.stack(losses)

    return HessianOperator(loss, w, theta)


def check_ends(hessian: HessianOperator, tolerance: float) -> None:
    dense = torch.linalg.eigvalsh(hessian.dense().detach())
    largest, smallest = extreme_eigenvalues(hessian, tolerance=tolerance)
    torch.testing.assert_close(largest, dense[:, -1], rtol=tolerance, atol=0)
    torch.testing.assert_close(smallest, dense[:, 0], rtol=tolerance, atol=0)


@settings(max_examples=15, deadline=None)
@given(runs=st.integers(1, 3), size=st.integers(1, 60), seed=st.integers(0, 2**31))
def test_ends_of_quadratics(runs: int, size: int, seed: int) -> None:
    check_ends(quadratic(symmetric(runs, size, seed)), 1e-6)


def test_ends_of_a_network() -> None:
    hessian = network()
    assert hessian.w.shape[1] > DENSE
    check_ends(hessian, 1e-6)
    assert (extreme_eigenvalues(hessian)[1] < 0).all()


def test_answer_is_reproducible() -> None:
    """Products are counted."""
    hessian = quadratic(symmetric(2, 50))
    first = extreme_eigenvalues(hessian)
    assert 4 * DENSE <= hessian.products <= 2000
    assert all(torch.equal(a, b) for a, b in zip(first, extreme_eigenvalues(hessian), strict=True))


def test_float32() -> None:
    h = symmetric(1, 40)
    largest, smallest = extreme_eigenvalues(quadratic(h.float()))
    assert largest.dtype == torch.float32
    dense = torch.linalg.eigvalsh(h)[0]
    assert [largest.item(), smallest.item()] == pytest.approx(
        [dense[-1].item(), dense[0].item()], rel=1e-3
    )


@pytest.mark.parametrize("size", [5, 30])
def test_failed_run_alone_is_nan(size: int) -> None:
    """What cannot be found is NaN for that run alone."""
    h = symmetric(3, size)
    h[1] = torch.nan
    h[2] = 0
    for values, column in zip(extreme_eigenvalues(quadratic(h)), (-1, 0), strict=True):
        assert values[0].item() == pytest.approx(
            torch.linalg.eigvalsh(h[0])[column].item(), rel=1e-3
        )
        assert values[1].isnan()
        assert values[2] == 0


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("zeros", [1, 10, 370])
def test_singular_hessian_has_eigenvalue_zero(sign: float, zeros: int) -> None:
    """As with dead units: Lanczos alone starts in the range of H and does not see its kernel."""
    spectrum = sign * torch.cat(
        (torch.linspace(0.5, 1.5, 400 - zeros, dtype=F64), torch.zeros(zeros, dtype=F64))
    )
    largest, smallest = extreme_eigenvalues(quadratic(torch.diag(spectrum)[None]))
    ends = (smallest.item(), largest.item()) if sign > 0 else (largest.item(), smallest.item())
    assert ends == (pytest.approx(0.0, abs=2e-4), pytest.approx(1.5 * sign, rel=1e-3))


def test_unconverged_end_is_nan() -> None:
    # the upper end stands alone, the lower one is crowded to a part in 10¹⁰
    spectrum = torch.cat(
        (torch.linspace(1, 1 + 1e-7, 999, dtype=F64), torch.tensor([50.0], dtype=F64))
    )
    largest, smallest = extreme_eigenvalues(
        quadratic(torch.diag(spectrum)[None]), tolerance=1e-14, restarts=3
    )
    assert largest.item() == pytest.approx(50)
    assert smallest.isnan()


def test_trace_of_diagonal_is_exact() -> None:
    diagonal = torch.randn(3, 7, generator=generator(), dtype=F64)
    estimate, error = trace(quadratic(torch.diag_embed(diagonal)), 2, generator())
    torch.testing.assert_close(estimate, diagonal.sum(-1))
    torch.testing.assert_close(error, torch.zeros(3, dtype=F64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("make", [lambda: quadratic(symmetric(4, 30)), network])
def test_trace_lies_within_its_standard_errors(make) -> None:
    hessian, probes = make(), 400
    dense = hessian.dense().detach()
    before = hessian.products
    estimate, error = trace(hessian, probes, generator())
    assert hessian.products - before == probes
    exact = dense.diagonal(dim1=1, dim2=2).sum(-1)
    assert ((estimate - exact).abs() < 4 * error).all()
    off = dense - torch.diag_embed(dense.diagonal(dim1=1, dim2=2))
    torch.testing.assert_close(
        error, (2 * off.square().sum((1, 2)) / probes).sqrt(), rtol=0.3, atol=0
    )


def test_wrong_parameters_are_named() -> None:
    hessian = quadratic(symmetric(1, 3))
    with pytest.raises(InputError, match="probes"):
        trace(hessian, 1, generator())
    with pytest.raises(InputError, match="tolerance"):
        extreme_eigenvalues(hessian, tolerance=0)
    with pytest.raises(InputError, match="restarts"):
        extreme_eigenvalues(hessian, restarts=0)
