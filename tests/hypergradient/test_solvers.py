"""Every solver obeys its error bound on quadratics with a chosen spectrum, several runs at once."""

import pytest
import torch
from torch import Tensor

from hsac.errors import InputError
from hsac.hypergradient import HessianOperator
from hsac.hypergradient.operator import POWER_STEPS
from hsac.hypergradient.solvers.cg import Cg
from hsac.hypergradient.solvers.exact import Exact
from hsac.hypergradient.solvers.identity import Identity
from hsac.hypergradient.solvers.neumann import Neumann

F64 = torch.float64
RUNS, SIZE = 3, 12
MU, ELL = torch.tensor([0.01, 0.5, 2.0], dtype=F64), torch.tensor([1.0, 8.0, 300.0], dtype=F64)


def matrices(spectra: Tensor) -> Tensor:
    """Symmetric matrices (R, P, P) with the given eigenvalues (R, P) in random bases."""
    g = torch.Generator().manual_seed(1)
    bases = torch.linalg.qr(torch.randn(*spectra.shape, spectra.shape[1], generator=g, dtype=F64))[0]
    return bases @ torch.diag_embed(spectra) @ bases.mT


def spectra() -> Tensor:
    """Eigenvalues from μ to ℓ of each run, evenly in the logarithm."""
    share = torch.linspace(0, 1, SIZE, dtype=F64)
    return MU[:, None] * (ELL / MU)[:, None] ** share


def operator(h: Tensor) -> HessianOperator:
    """The Hessian operator of ½ wᵀHw + θ·w_1, at a random point."""
    g = torch.Generator().manual_seed(2)
    w = torch.randn(h.shape[:2], generator=g, dtype=h.dtype).requires_grad_()
    theta = torch.ones(len(h), 1, dtype=h.dtype, requires_grad=True)

    def loss(w: Tensor, theta: Tensor) -> Tensor:
        return 0.5 * torch.einsum("rp,rpq,rq->r", w, h, w) + (theta * w[:, :1]).sum(-1)

    return HessianOperator(loss, w, theta)


def right_hand_side(runs: int = RUNS, size: int = SIZE) -> Tensor:
    return torch.randn(runs, size, generator=torch.Generator().manual_seed(3), dtype=F64)


def error(x: Tensor, h: Tensor, v: Tensor) -> Tensor:
    return (x - torch.linalg.solve(h, v)).norm(dim=-1)


def test_operator() -> None:
    h, v = matrices(spectra()), right_hand_side()
    found = operator(h)
    torch.testing.assert_close(found(v), torch.einsum("rpq,rq->rp", h, v))
    torch.testing.assert_close(found.mixed(v), v[:, :1])
    assert found.products == 2
    torch.testing.assert_close(found.dense(), h)


def test_operator_without_a_mixed_term() -> None:
    w, theta = torch.ones(2, 3, dtype=F64, requires_grad=True), torch.ones(2, 1, dtype=F64, requires_grad=True)
    found = HessianOperator(lambda w, theta: (w**2).sum(-1), w, theta)
    assert torch.equal(found.mixed(torch.ones(2, 3, dtype=F64)), torch.zeros(2, 1, dtype=F64))


@pytest.mark.parametrize("terms", [0, 1, 2, 5, 10, 20, 50])
def test_neumann_bound(terms: int) -> None:
    h, v = matrices(spectra()), right_hand_side()
    for run in range(RUNS):  # one step size for all runs is the rule's choice, so each run gets its own here
        a = 1 / ELL[run].item()
        solution = Neumann(terms=terms, step=a).solve(operator(h[run : run + 1]), v[run : run + 1], {})
        bound = (1 - a * MU[run]) ** (terms + 1) * v[run].norm() / MU[run]
        assert error(solution.x, h[run], v[run]) <= bound * (1 + 1e-10)
        true = (torch.einsum("pq,q->p", h[run], solution.x[0]) - v[run]).norm() / v[run].norm()
        assert true <= solution.residual * (1 + 1e-10)
        assert solution.products == terms


@pytest.mark.parametrize("terms", [0, 1, 2, 5, 10, 20, 50])
def test_neumann_with_an_adaptive_step(terms: int) -> None:
    """After a few calls the carried power vector knows |H|, and each run has its own step."""
    h, v = matrices(spectra()), right_hand_side()
    state: dict[str, Tensor] = {}
    for _ in range(60):
        state = Neumann(terms=0).solve(operator(h), v, state).state
    solution = Neumann(terms=terms).solve(operator(h), v, state)
    a = (0.9 / ELL).clamp(max=1.0)
    bound = (1 - a * MU) ** (terms + 1) * v.norm(dim=-1) / MU
    assert (error(solution.x, h, v) <= bound * (1 + 1e-3)).all()
    assert solution.products == terms + POWER_STEPS
    identity = torch.eye(SIZE, dtype=F64)
    series = sum(torch.linalg.matrix_power(identity - a[:, None, None] * h, j) for j in range(terms + 1))
    torch.testing.assert_close(
        solution.x, torch.einsum("rpq,rq->rp", a[:, None, None] * series, v), rtol=1e-4, atol=1e-6
    )


def test_neumann_converges_to_the_solution() -> None:
    h, v = matrices(torch.linspace(0.5, 1.0, SIZE, dtype=F64).expand(RUNS, -1)), right_hand_side()
    assert (error(Neumann(terms=60, step=1.0).solve(operator(h), v, {}).x, h, v) < 1e-10).all()


def test_neumann_grows_on_negative_curvature_and_says_so() -> None:
    spectrum = torch.linspace(-1.0, 1.0, SIZE, dtype=F64).expand(1, -1)
    h, v = matrices(spectrum), right_hand_side(1)
    found = [Neumann(terms=terms, step=1.0).solve(operator(h), v, {}) for terms in (5, 10, 20)]
    lengths = [solution.x.norm().item() for solution in found]
    assert lengths[1] > 10 * lengths[0]
    assert lengths[2] > 100 * lengths[1]
    assert found[0].residual.item() > 1


@pytest.mark.parametrize("terms", [1, 2, 5, 10, 20])
def test_cg_bound(terms: int) -> None:
    h, v = matrices(spectra()), right_hand_side()
    solution = Cg(terms=terms, damping=0.0).solve(operator(h), v, {})
    gap = solution.x - torch.linalg.solve(h, v)
    energy = torch.einsum("rp,rpq,rq->r", gap, h, gap).clamp(min=0).sqrt()
    exact = torch.linalg.solve(h, v)
    root = (ELL / MU).sqrt()
    bound = 2 * ((root - 1) / (root + 1)) ** terms * torch.einsum("rp,rp->r", exact, v).sqrt()
    assert (energy <= bound + 1e-7 * exact.norm(dim=-1)).all()
    true = (torch.einsum("rpq,rq->rp", h, solution.x) - v).norm(dim=-1) / v.norm(dim=-1)
    torch.testing.assert_close(solution.residual, true, rtol=1e-4, atol=1e-7)
    assert solution.products == terms


def test_cg_is_exact_after_as_many_steps_as_eigenvalues() -> None:
    spectrum = torch.tensor([1.0, 4.0, 9.0], dtype=F64).repeat(SIZE // 3).expand(RUNS, -1)
    h, v = matrices(spectrum), right_hand_side()
    assert (error(Cg(terms=3, damping=0.0).solve(operator(h), v, {}).x, h, v) < 1e-10).all()
    assert (error(Cg(terms=2, damping=0.0).solve(operator(h), v, {}).x, h, v) > 1e-4).all()


@pytest.mark.parametrize("damping", [0.01, 0.1, 1.0])
def test_damping_bound(damping: float) -> None:
    h, v = matrices(spectra()), right_hand_side()
    bound = damping / (MU * (MU + damping)) * v.norm(dim=-1)
    for solver in (Cg(terms=60, damping=damping), Exact(damping=damping)):
        found = error(solver.solve(operator(h), v, {}).x, h, v)
        assert (found <= bound * (1 + 1e-6)).all()
        assert (found > 0).all()


def test_cg_keeps_what_it_has_on_negative_curvature() -> None:
    h = torch.diag_embed(torch.tensor([[1.0, 2.0, -1.0], [1.0, 2.0, 3.0]], dtype=F64))
    v = torch.tensor([[1.0, 1.0, 0.1], [1.0, 1.0, 0.1]], dtype=F64)
    solution = Cg(terms=10, damping=0.0).solve(operator(h), v, {})
    assert solution.x.isfinite().all()
    assert solution.x[0].norm() < 10
    torch.testing.assert_close(solution.x[1], v[1] / h[1].diagonal())


def test_cg_with_a_zero_right_hand_side_and_many_steps() -> None:
    h = matrices(spectra())
    v = right_hand_side()
    v[1] = 0
    solution = Cg(terms=60, damping=0.0).solve(operator(h), v, {})
    assert torch.equal(solution.x[1], torch.zeros(SIZE, dtype=F64))
    assert (error(solution.x, h, v) < 1e-6 * v.norm() / MU).all()


def test_exact() -> None:
    h, v = matrices(spectra()), right_hand_side()
    solution = Exact().solve(operator(h), v, {})
    assert (error(solution.x, h, v) <= 1e-10).all()
    assert (solution.residual <= 1e-10).all()
    assert solution.products == SIZE


def test_exact_solves_square_bundles() -> None:
    """As many runs as weights: the right-hand side must still be read as one vector a run."""
    h, v = matrices(torch.rand(4, 4, dtype=F64) + 0.5), right_hand_side(4, 4)
    assert (error(Exact().solve(operator(h), v, {}).x, h, v) <= 1e-10).all()


def test_exact_marks_a_singular_system_without_touching_the_other_run() -> None:
    h = torch.diag_embed(torch.tensor([[1.0, 0.0], [1.0, 2.0]], dtype=F64))
    solution = Exact().solve(operator(h), torch.ones(2, 2, dtype=F64), {})
    assert solution.x[0].isnan().all()
    torch.testing.assert_close(solution.x[1], torch.tensor([1.0, 0.5], dtype=F64))


def test_identity() -> None:
    h, v = matrices(spectra()), right_hand_side()
    solution = Identity(scale=0.5).solve(operator(h), v, {})
    assert torch.equal(solution.x, 0.5 * v)
    true = (torch.einsum("rpq,rq->rp", h, 0.5 * v) - v).norm(dim=-1) / v.norm(dim=-1)
    torch.testing.assert_close(solution.residual, true)
    scaled = matrices(torch.full((1, SIZE), 2.0, dtype=F64))
    assert error(Identity(scale=0.5).solve(operator(scaled), v[:1], {}).x, scaled, v[:1]) < 1e-12


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Neumann(terms=-1), "terms"),
        (lambda: Neumann(step=-0.1), "step"),
        (lambda: Neumann(safety=1.5), "safety"),
        (lambda: Cg(terms=0), "terms"),
        (lambda: Cg(damping=-1.0), "damping"),
        (lambda: Exact(damping=float("nan")), "damping"),
        (lambda: Identity(scale=0.0), "scale"),
    ],
)
def test_bad_parameters(make, name: str) -> None:
    with pytest.raises(InputError, match=f"^{name}: found"):
        make()


def test_neumann_marks_runs_whose_series_grows() -> None:
    # One run is convex; in the other the curvature is negative as strongly as positive, so terms grow like 1.9^j.
    w = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    spectrum = torch.tensor([[1.0, 0.5], [1.0, -1.0]], dtype=torch.float64)
    theta = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
    v = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    found = Neumann(terms=3).solve(HessianOperator(lambda w, theta: (spectrum * w * w).sum(-1) / 2, w, theta), v, {})
    assert found.failed is not None
    assert found.failed.tolist() == [False, True]
