"""The implicit hypergradient against re-solved lower levels, and where a solve goes wrong."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from hsac.hypergradient import HessianOperator, Solution, implicit_hypergradient
from hsac.hypergradient.operator import POWER_STEPS
from hsac.hypergradient.solvers.cg import Cg
from hsac.hypergradient.solvers.exact import Exact
from hsac.hypergradient.solvers.neumann import Neumann

F64 = torch.float64
RUNS, ROWS, SIZE = 3, 20, 5
G = torch.Generator().manual_seed(0)
A, HELD = (torch.randn(RUNS, ROWS, SIZE, generator=G, dtype=F64) for _ in range(2))
Y, HELD_Y = (torch.randn(RUNS, ROWS, generator=G, dtype=F64) for _ in range(2))
THETA = torch.tensor([[-1.0, 0.3], [0.5, -0.2], [1.5, 0.0]], dtype=F64)


def error(a: Tensor, y: Tensor, w: Tensor) -> Tensor:
    return 0.5 * (torch.einsum("rnp,rp->rn", a, w) - y).square().mean(-1)


def ridge(w: Tensor, theta: Tensor) -> Tensor:
    """Ridge regression with two log-decays: on the first two coordinates and on the others."""
    decay = theta.exp()[:, [0, 0, 1, 1, 1]]
    return error(A, Y, w) + 0.5 * (decay * w * w).sum(-1)


def solve(theta: Tensor) -> Tensor:
    """The lower level's minimiser (R, P), in closed form."""
    gram = A.mT @ A / ROWS + torch.diag_embed(theta.exp()[:, [0, 0, 1, 1, 1]])
    return torch.linalg.solve(gram, torch.einsum("rnp,rn->rp", A, Y) / ROWS)


def held_out(w: Tensor, theta: Tensor) -> Tensor:
    """An upper level that depends on θ directly, too."""
    return error(HELD, HELD_Y, w) + 0.1 * theta.sin().sum(-1)


def finite_differences(step: float = 1e-5) -> Tensor:
    columns = []
    for j in range(THETA.shape[1]):
        h = torch.zeros_like(THETA)
        h[:, j] = step
        up, down = (held_out(solve(t), t) for t in (THETA + h, THETA - h))
        columns.append((up - down) / (2 * step))
    return torch.stack(columns, -1)


@pytest.mark.parametrize(
    "solver", [Exact(), Cg(terms=SIZE + 3, damping=0.0), Neumann(terms=3000, step=0.15)]
)
def test_equals_finite_differences(solver) -> None:
    """Equals finite differences of the solved problem."""
    found = implicit_hypergradient(held_out, ridge, solve(THETA), THETA, solver, {})
    torch.testing.assert_close(found.total, finite_differences(), rtol=1e-6, atol=1e-9)
    assert not found.fallback.any()
    assert (found.implicit.norm(dim=-1) > 1e-3).all()  # the direct term alone would fail
    torch.testing.assert_close(found.value, held_out(solve(THETA), THETA))


def test_adjoint_equals_forward_form() -> None:
    """The adjoint form (L_θw)ᵀ (H⁻¹ v) equals v·(H⁻¹ L_wθ), one solve a hyperparameter."""
    w = solve(THETA)
    adjoint = implicit_hypergradient(held_out, ridge, w, THETA, Exact(), {}).implicit
    w, theta = w.requires_grad_(), THETA.clone().requires_grad_()
    v = torch.autograd.grad(held_out(w, theta).sum(), w)[0]
    hessian = HessianOperator(ridge, w, theta)
    columns = []
    for j in range(THETA.shape[1]):
        rows = [
            torch.autograd.grad(hessian.gradient[:, p].sum(), theta, retain_graph=True)[0][:, j]
            for p in range(SIZE)
        ]
        columns.append((v * Exact().solve(hessian, torch.stack(rows, -1), {}).x).sum(-1))
    torch.testing.assert_close(adjoint, torch.stack(columns, -1), rtol=1e-10, atol=1e-14)


def test_runs_are_independent() -> None:
    whole = implicit_hypergradient(held_out, ridge, solve(THETA), THETA, Cg(terms=3), {})
    other = THETA.clone()
    other[0] += 0.7
    changed = implicit_hypergradient(held_out, ridge, solve(other), other, Cg(terms=3), {})
    torch.testing.assert_close(changed.total[1:], whole.total[1:], rtol=1e-12, atol=0)
    assert not torch.allclose(changed.total[0], whole.total[0])


def test_no_solver_leaves_direct_term() -> None:
    """Without a solver only the direct term."""
    state = {"power": torch.ones(RUNS, SIZE)}
    found = implicit_hypergradient(held_out, ridge, solve(THETA), THETA, None, state)
    torch.testing.assert_close(found.total, 0.1 * THETA.cos())
    assert found.products == 0
    assert found.state is state
    assert torch.equal(found.implicit, torch.zeros_like(THETA))


def test_products_are_counted() -> None:
    found = implicit_hypergradient(held_out, ridge, solve(THETA), THETA, Neumann(terms=3), {})
    # the terms, the power iteration, the mixed product
    assert found.products == 3 + POWER_STEPS + 1


@dataclass(frozen=True)
class Broken:
    """A solver that fails in the second run only."""

    value: float

    def solve(self, hessian: HessianOperator, v: Tensor, state: dict[str, Tensor]) -> Solution:
        good = Exact().solve(hessian, v, state)
        x = good.x.clone()
        x[1] = self.value
        power = v.clone()
        power[1] = self.value
        return Solution(x, good.products, good.residual, {"power": power})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_falls_back_in_failed_run_only(value: float) -> None:
    """Falls back in the run whose solve failed."""
    good = implicit_hypergradient(held_out, ridge, solve(THETA), THETA, Exact(), {})
    found = implicit_hypergradient(held_out, ridge, solve(THETA), THETA, Broken(value), {})
    assert found.fallback.tolist() == [False, True, False]
    assert torch.equal(found.total[[0, 2]], good.total[[0, 2]])
    assert torch.equal(found.total[1], good.direct[1])
    assert found.state["power"].isfinite().all()  # the next call starts afresh


def test_negative_curvature_falls_back_alone() -> None:
    """Negative curvature makes Neumann fall back in its run only."""

    def lower(w: Tensor, theta: Tensor) -> Tensor:
        sign = torch.tensor([[1.0], [-1.0], [1.0]], dtype=F64)
        return (0.5 * sign * w * w + theta[:, :1] * w).sum(-1)

    w = torch.ones(RUNS, 2, dtype=F64)
    found = implicit_hypergradient(
        held_out_plain, lower, w, THETA, Neumann(terms=2000, step=1.0), {}
    )
    assert found.fallback.tolist() == [False, True, False]
    torch.testing.assert_close(found.implicit[0], torch.tensor([2.0, 0.0], dtype=F64))
    assert found.total.isfinite().all()


def held_out_plain(w: Tensor, theta: Tensor) -> Tensor:
    return w.sum(-1) + theta.sum(-1)


@pytest.mark.parametrize("ratio", [0.01, 0.5, 3.0])
def test_ratio_bounds_the_implicit_term(ratio: float) -> None:
    free = implicit_hypergradient(held_out, ridge, solve(THETA), THETA, Exact(), {})
    found = implicit_hypergradient(held_out, ridge, solve(THETA), THETA, Exact(), {}, ratio)
    lengths = found.implicit.norm(dim=-1)
    limit = ratio * found.direct.norm(dim=-1)
    assert (lengths <= limit * (1 + 1e-12)).all()
    torch.testing.assert_close(lengths, torch.minimum(limit, free.implicit.norm(dim=-1)))
    cosine = torch.nn.functional.cosine_similarity(found.implicit, free.implicit)
    torch.testing.assert_close(cosine, torch.ones_like(cosine))


def test_no_theta_leaves_implicit_term() -> None:
    """An upper level without theta has only the implicit term."""
    found = implicit_hypergradient(
        lambda w, theta: error(HELD, HELD_Y, w), ridge, solve(THETA), THETA, Exact(), {}, 3.0
    )
    want = finite_differences() - 0.1 * THETA.cos()
    torch.testing.assert_close(found.total, want, rtol=1e-6, atol=1e-9)
    assert torch.equal(found.direct, torch.zeros_like(THETA))


def test_arguments_stay_untouched() -> None:
    """Leaves what it is given untouched."""
    w, theta = solve(THETA), THETA.clone()
    before = w.clone()
    found = implicit_hypergradient(held_out, ridge, w, theta, Neumann(), {})
    assert torch.equal(w, before)
    assert not w.requires_grad
    assert not theta.requires_grad
    assert not any(
        t.requires_grad for t in (found.total, found.value, found.residual, *found.state.values())
    )
