"""Every solver obeys its error bound on quadratics with a chosen spectrum, several runs at once."""

import pytest
import torch
from torch import Tensor

from hsac.errors import InputError
from hsac.hypergradient import HessianOperator
from hsac.hypergradient.operator import POWER_STEPS
from hsac.hypergradient.solvers.amortised import Amortised
from hsac.hypergradient.solvers.cg import Cg
from hsac.hypergradient.solvers.exact import Exact
from hsac.hypergradient.solvers.identity import Identity
from hsac.hypergradient.solvers.neumann import Neumann
from hsac.hypergradient.solvers.nystrom import Nystrom, sketch
from hsac.hypergradient.solvers.unrolled import Unrolled

F64 = torch.float64
RUNS, SIZE = 3, 12
MU, ELL = torch.tensor([0.01, 0.5, 2.0], dtype=F64), torch.tensor([1.0, 8.0, 300.0], dtype=F64)


def matrices(spectra: Tensor) -> Tensor:
    """Symmetric matrices (R, P, P) with the given eigenvalues (R, P) in random bases."""
    g = torch.Generator().manual_seed(1)
    drawn = torch.randn(*spectra.shape, spectra.shape[1], generator=g, dtype=F64)
    bases, _ = torch.linalg.qr(drawn)
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
    w, theta = (
        torch.ones(2, 3, dtype=F64, requires_grad=True),
        torch.ones(2, 1, dtype=F64, requires_grad=True),
    )
    found = HessianOperator(lambda w, theta: (w**2).sum(-1), w, theta)
    assert torch.equal(found.mixed(torch.ones(2, 3, dtype=F64)), torch.zeros(2, 1, dtype=F64))


@pytest.mark.parametrize("terms", [0, 1, 2, 5, 10, 20, 50])
def test_neumann_bound(terms: int) -> None:
    h, v = matrices(spectra()), right_hand_side()
    # one step size for all runs is the rule's choice, so each run gets its own here
    for run in range(RUNS):
        a = 1 / ELL[run].item()
        solution = Neumann(terms=terms, step=a).solve(
            operator(h[run : run + 1]), v[run : run + 1], {}
        )
        bound = (1 - a * MU[run]) ** (terms + 1) * v[run].norm() / MU[run]
        assert error(solution.x, h[run], v[run]) <= bound * (1 + 1e-10)
        true = (torch.einsum("pq,q->p", h[run], solution.x[0]) - v[run]).norm() / v[run].norm()
        assert true <= solution.residual * (1 + 1e-10)
        assert solution.products == terms


@pytest.mark.parametrize("terms", [0, 1, 2, 5, 10, 20, 50])
def test_neumann_with_an_adaptive_step(terms: int) -> None:
    """Runs have steps of their own, by the power vector that is carried.

    After a few calls the carried power vector knows |H|, and each run has its own step.
    """
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
    series = sum(
        torch.linalg.matrix_power(identity - a[:, None, None] * h, j) for j in range(terms + 1)
    )
    torch.testing.assert_close(
        solution.x, torch.einsum("rpq,rq->rp", a[:, None, None] * series, v), rtol=1e-4, atol=1e-6
    )


def test_neumann_converges_to_the_solution() -> None:
    h, v = matrices(torch.linspace(0.5, 1.0, SIZE, dtype=F64).expand(RUNS, -1)), right_hand_side()
    assert (error(Neumann(terms=60, step=1.0).solve(operator(h), v, {}).x, h, v) < 1e-10).all()


def test_neumann_flags_growth_at_negative_curvature() -> None:
    """Neumann grows on negative curvature and says so."""
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


def test_cg_exact_after_all_eigenvalues() -> None:
    """CG is exact after as many steps as eigenvalues."""
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


def test_cg_stops_at_negative_curvature() -> None:
    """CG keeps what it has on negative curvature."""
    h = torch.diag_embed(torch.tensor([[1.0, 2.0, -1.0], [1.0, 2.0, 3.0]], dtype=F64))
    v = torch.tensor([[1.0, 1.0, 0.1], [1.0, 1.0, 0.1]], dtype=F64)
    solution = Cg(terms=10, damping=0.0).solve(operator(h), v, {})
    assert solution.x.isfinite().all()
    assert solution.x[0].norm() < 10
    torch.testing.assert_close(solution.x[1], v[1] / h[1].diagonal())


def test_cg_with_zero_right_hand_side() -> None:
    """CG with a zero right-hand side and many steps."""
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


def test_exact_solves_square_systems() -> None:
    """As many runs as weights: the right-hand side is still read as one vector a run."""
    h, v = matrices(torch.rand(4, 4, dtype=F64) + 0.5), right_hand_side(4, 4)
    assert (error(Exact().solve(operator(h), v, {}).x, h, v) <= 1e-10).all()


def test_exact_marks_singular_run_only() -> None:
    """Exact marks a singular system without touching the other run."""
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


def test_cg_marks_a_long_step() -> None:
    """CG marks a long step along almost no curvature."""
    # vᵀHv is barely positive in the first run: one long step, whose residual gives it away
    h = torch.diag_embed(torch.tensor([[2.0, -1.999], [2.0, 1.0]], dtype=F64))
    solution = Cg(terms=1, damping=0.0).solve(operator(h), torch.ones(2, 2, dtype=F64), {})
    assert solution.x[0].norm() > 1000
    assert solution.failed is not None
    assert solution.failed.tolist() == [True, False]


def test_neumann_marks_growing_runs() -> None:
    """Neumann marks runs whose series grows."""
    # One run is convex; in the other the curvature is negative as strongly as positive, so terms
    # grow like 1.9^j.
    w = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    spectrum = torch.tensor([[1.0, 0.5], [1.0, -1.0]], dtype=torch.float64)
    theta = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
    v = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    found = Neumann(terms=3).solve(
        HessianOperator(lambda w, theta: (spectrum * w * w).sum(-1) / 2, w, theta), v, {}
    )
    assert found.failed is not None
    assert found.failed.tolist() == [False, True]


def run_of(h: Tensor, run: int) -> HessianOperator:
    return operator(h[run : run + 1])


@pytest.mark.parametrize("scale", [0.05, 0.5, 2.0])
def test_identity_bound(scale: float) -> None:
    h, v = matrices(spectra()), right_hand_side()
    found = error(Identity(scale=scale).solve(operator(h), v, {}).x, h, v)
    bound = torch.maximum((scale - 1 / MU).abs(), (scale - 1 / ELL).abs()) * v.norm(dim=-1)
    assert (found <= bound * (1 + 1e-12)).all()


@pytest.mark.parametrize("terms", [1, 2, 5, 10, 20, 50])
@pytest.mark.parametrize("damping", [0.01, 0.1, 1.0])
def test_damped_cg_bound(terms: int, damping: float) -> None:
    """The error is bounded by Krylov's and the damping's.

    Krylov's error for the damped spectrum and the damping's own, in the Euclidean norm.
    """
    h, v = matrices(spectra()), right_hand_side()
    found = error(Cg(terms=terms, damping=damping).solve(operator(h), v, {}).x, h, v)
    low, high = MU + damping, ELL + damping
    root = (high / low).sqrt()
    krylov = 2 * ((root - 1) / (root + 1)) ** terms * v.norm(dim=-1) / low
    assert (found <= krylov + damping / (MU * low) * v.norm(dim=-1) + 1e-10).all()


@pytest.mark.parametrize("terms", [1, 2, 3, 6, 11, 21, 51])
def test_unrolled_is_a_shorter_neumann_series(terms: int) -> None:
    """Unrolling is a shorter Neumann series.

    On a quadratic at any point: x is Neumann's, so is its bound; the implicit term is the mixed
    product with it.
    """
    h, v = matrices(spectra()), right_hand_side()
    for run in range(RUNS):
        a = 1 / ELL[run].item()
        hessian = run_of(h, run)
        found = Unrolled(terms=terms, step=a).solve(hessian, v[run : run + 1], {})
        assert found.products == hessian.products == terms + 1
        series = Neumann(terms=terms - 1, step=a).solve(run_of(h, run), v[run : run + 1], {})
        torch.testing.assert_close(found.x, series.x, rtol=1e-9, atol=1e-12)
        assert found.implicit is not None
        torch.testing.assert_close(found.implicit, hessian.mixed(found.x), rtol=1e-9, atol=1e-12)
        bound = (1 - a * MU[run]) ** terms * v[run].norm() / MU[run]
        assert error(found.x, h[run], v[run]) <= bound * (1 + 1e-10)
        true = (torch.einsum("pq,q->p", h[run], found.x[0]) - v[run]).norm() / v[run].norm()
        torch.testing.assert_close(found.residual[0], true)


def bent(w: Tensor, theta: Tensor) -> Tensor:
    """A lower level whose Hessian and mixed derivative change along a descent."""
    return (w.exp() + 0.5 * w**2 + (w * theta[:, :1]).sin() + theta[:, 1:] * w**3 / 10).sum(-1)


@pytest.mark.parametrize("terms", [1, 4, 15])
def test_unrolled_is_autograd_through_steps(terms: int) -> None:
    """Unrolling off the minimiser is autograd through the steps."""
    step, v = 0.1, right_hand_side(2, 3)
    w = torch.tensor([[0.3, -1.0, 0.7], [1.0, 0.2, -0.4]], dtype=F64, requires_grad=True)
    theta = torch.tensor([[0.5, 1.0], [-0.3, 0.2]], dtype=F64, requires_grad=True)
    found = Unrolled(terms=terms, step=step).solve(HessianOperator(bent, w, theta), v, {})
    at = w.detach().requires_grad_()
    for _ in range(terms):
        (g,) = torch.autograd.grad(bent(at, theta).sum(), at, create_graph=True)
        at = at - step * g
    (truth,) = torch.autograd.grad((at * v).sum(), theta)
    torch.testing.assert_close(found.implicit, -truth, rtol=1e-12, atol=1e-14)
    series = Neumann(terms=terms - 1, step=step).solve(HessianOperator(bent, w, theta), v, {})
    assert torch.allclose(found.x, series.x) == (terms == 1)  # the Hessian moves with the steps


def test_unrolled_where_theta_does_not_enter() -> None:
    w, theta = (
        torch.ones(2, 3, dtype=F64, requires_grad=True),
        torch.ones(2, 1, dtype=F64, requires_grad=True),
    )
    found = Unrolled(terms=3, step=0.1).solve(
        HessianOperator(lambda w, theta: (w**2).sum(-1), w, theta), w.detach(), {}
    )
    assert torch.equal(found.implicit, torch.zeros(2, 1, dtype=F64))


def test_unrolled_carries_its_power_vector() -> None:
    """Unrolled with an adaptive step uses the carried power vector."""
    h, v = matrices(spectra()), right_hand_side()
    state: dict[str, Tensor] = {}
    for _ in range(60):
        solution = Unrolled(terms=3).solve(operator(h), v, state)
        state = solution.state
    assert solution.products == 3 + 1 + POWER_STEPS
    a = (0.9 / ELL).clamp(max=1.0)
    for run in range(RUNS):
        series = Neumann(terms=2, step=a[run].item()).solve(run_of(h, run), v[run : run + 1], {})
        torch.testing.assert_close(solution.x[run : run + 1], series.x, rtol=1e-4, atol=1e-6)


def low_rank_part(h: Tensor, rank: int) -> Tensor:
    """H_k = (HΩ)(ΩᵀHΩ)⁺(HΩ)ᵀ, densely, of the solver's sketch."""
    omega = sketch(h.shape[-1], rank)
    image = h @ omega
    return image @ torch.linalg.pinv(omega.mT @ image, hermitian=True) @ image.mT


@pytest.mark.parametrize("rank", [1, 2, 5, 10])
@pytest.mark.parametrize("damping", [0.01, 0.1, 1.0])
def test_nystrom_bound(rank: int, damping: float) -> None:
    h, v = matrices(spectra()), right_hand_side()
    solution = Nystrom(rank=rank, damping=damping).solve(operator(h), v, {})
    damped = torch.linalg.solve(h + damping * torch.eye(SIZE, dtype=F64), v)
    rest = h - low_rank_part(h, rank)
    size = torch.linalg.matrix_norm(rest, 2)
    assert (torch.linalg.eigvalsh(rest) >= -1e-9 * ELL[:, None]).all()
    gap = (solution.x - damped).norm(dim=-1)
    assert (gap <= size / (damping * (damping + size)) * v.norm(dim=-1) * (1 + 1e-6)).all()
    assert (error(solution.x, h, v) <= gap + damping / (MU * (MU + damping)) * v.norm(dim=-1)).all()
    residual = torch.einsum("rpq,rq->rp", h, solution.x) + damping * solution.x - v
    torch.testing.assert_close(solution.residual, residual.norm(dim=-1) / v.norm(dim=-1))
    assert solution.products == rank + 1
    assert solution.failed is not None
    assert torch.equal(solution.failed, solution.residual > 2)


@pytest.mark.parametrize("rank", [SIZE, SIZE + 30])
def test_nystrom_of_full_rank_is_exact(rank: int) -> None:
    h, v = matrices(spectra()), right_hand_side()
    solution = Nystrom(rank=rank, damping=0.1).solve(operator(h), v, {})
    damped = torch.linalg.solve(h + 0.1 * torch.eye(SIZE, dtype=F64), v)
    torch.testing.assert_close(solution.x, damped, rtol=1e-6, atol=1e-8)
    assert solution.products == SIZE + 1
    assert not solution.failed.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("true_rank", [1, 3])
def test_nystrom_sketches_more_than_there_is(dtype: torch.dtype, true_rank: int) -> None:
    """A sketch of higher rank than the Hessian still gives the damped solution.

    A Hessian of lower rank than the sketch leaves the core singular: the answer is still the damped
    solution.
    """
    spectrum = torch.zeros(RUNS, SIZE, dtype=F64)
    spectrum[:, :true_rank] = torch.tensor([30.0, 4.0, 1.0], dtype=F64)[:true_rank]
    h, v = matrices(spectrum).to(dtype), right_hand_side().to(dtype)
    solution = Nystrom(rank=8, damping=0.1).solve(operator(h), v, {})
    damped = torch.linalg.solve(h.double() + 0.1 * torch.eye(SIZE, dtype=F64), v.double())
    tolerance = 1e-3 if dtype == torch.float32 else 1e-9
    assert not solution.failed.any()
    assert ((solution.x.double() - damped).norm(dim=-1) <= tolerance * damped.norm(dim=-1)).all()


def test_nystrom_without_curvature_is_damping() -> None:
    """Nyström without any curvature leaves all to the damping."""
    h = matrices(
        torch.stack([torch.zeros(SIZE, dtype=F64), torch.logspace(1, -4, SIZE, dtype=F64)])
    )
    v = right_hand_side(2)
    solution = Nystrom(rank=6, damping=0.1).solve(operator(h), v, {})
    assert solution.failed.tolist() == [False, False]
    torch.testing.assert_close(solution.x[0], v[0] / 0.1)


def test_nystrom_marks_infinite_run_only() -> None:
    """Nyström fails where the Hessian is not finite, and there only."""
    h = matrices(torch.logspace(1, -4, SIZE, dtype=F64).repeat(2, 1))
    alone = Nystrom(rank=6, damping=0.1).solve(operator(h[1:]), right_hand_side(2)[1:], {})
    h[0, 0, 0] = torch.nan
    solution = Nystrom(rank=6, damping=0.1).solve(operator(h), right_hand_side(2), {})
    assert solution.failed.tolist() == [True, False]
    torch.testing.assert_close(solution.x[1:], alone.x)


@pytest.mark.parametrize(("top", "damping", "tolerance"), [(1e3, 0.1, 0.02), (1e4, 0.1, 0.06)])
def test_nystrom_float32_is_near_float64(top: float, damping: float, tolerance: float) -> None:
    """Nyström in float32 is about as good as in float64."""
    h = matrices((top * 2.0 ** -torch.arange(60, dtype=F64))[None])
    v = right_hand_side(1, 60)
    want = torch.linalg.solve(h + damping * torch.eye(60, dtype=F64), v)
    errors = []
    for d in (F64, torch.float32):
        found = Nystrom(rank=20, damping=damping).solve(operator(h.to(d)), v.to(d), {}).x
        errors.append(float((found - want).norm() / want.norm()))
    assert errors[1] < errors[0] + tolerance


def test_cg_marks_a_missing_step() -> None:
    """CG that cannot take a step is marked."""
    h = torch.diag_embed(torch.tensor([[-1.0, -1.0], [1.0, 2.0], [-1.0, -1.0]], dtype=F64))
    v = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]], dtype=F64)
    solution = Cg(terms=5, damping=0.0).solve(operator(h), v, {})
    assert solution.failed is not None
    assert solution.failed.tolist() == [True, False, False]  # nothing to solve for is no failure


def test_power_vector_is_never_lost() -> None:
    """A power vector is never lost.

    On a batch without curvature the iteration finds nothing, and the next one starts from
    something.
    """
    zero = torch.zeros(2, 3, 3, dtype=F64)
    h = torch.diag_embed(torch.tensor([[1.0, 5.0, 2.0]] * 2, dtype=F64))
    _, u = operator(zero).power(torch.randn(2, 3, dtype=F64))
    for _ in range(20):
        largest, u = operator(h).power(u)
    torch.testing.assert_close(largest.squeeze(-1), torch.full((2,), 5.0, dtype=F64))


def test_nystrom_marks_flat_spectrum_only() -> None:
    """Nyström fails on a flat large spectrum, in that run only."""
    flat = torch.stack(
        [torch.full((SIZE,), 50.0, dtype=F64), torch.logspace(1, -4, SIZE, dtype=F64)]
    )
    h, v = matrices(flat), right_hand_side(2)
    solution = Nystrom(rank=6, damping=0.1).solve(operator(h), v, {})
    assert solution.failed.tolist() == [True, False]


def test_nystrom_residual_of_indefinite_matrix() -> None:
    """Nyström on an indefinite matrix says what it left over."""
    spectrum = torch.tensor([[-3.0, -1.0, *[0.0] * 8, 2.0, 9.0]], dtype=F64)
    h, v = matrices(spectrum), right_hand_side(1)
    full = Nystrom(rank=SIZE, damping=0.1).solve(operator(h), v, {})
    damped = torch.linalg.solve(h + 0.1 * torch.eye(SIZE, dtype=F64), v)
    torch.testing.assert_close(full.x, damped, rtol=1e-6, atol=1e-8)
    for rank in (1, 2, 3):
        part = Nystrom(rank=rank, damping=0.1).solve(operator(h), v, {})
        assert part.x.isfinite().all()
        true = (torch.einsum("rpq,rq->rp", h, part.x) + 0.1 * part.x - v).norm() / v.norm()
        torch.testing.assert_close(part.residual[0], true)
        assert part.failed.item() == (true > 2).item()


def test_amortised_converges_at_its_rate() -> None:
    """The amortised solver converges at its rate.

    Each product shrinks the error by the step it took: max |1 - aλ| over the spectrum, 1 - aμ once
    a ≤ 1/ℓ.
    """
    h, v = matrices(spectra()), right_hand_side()
    state: dict[str, Tensor] = {}
    truth = torch.linalg.solve(h, v)
    before = bound = torch.full((RUNS,), torch.inf, dtype=F64)
    for _ in range(400):
        solution = Amortised().solve(operator(h), v, state)
        assert solution.products == 1 + POWER_STEPS
        a = solution.state["step"].squeeze(-1)
        after = (solution.x - truth).norm(dim=-1)
        factor = torch.maximum((1 - a * MU).abs(), (1 - a * ELL).abs())
        assert (after <= factor * before * (1 + 1e-9) + 1e-9).all()
        # from the first call on whose step is short enough, the rate that the solver states
        bound = torch.where(a * ELL <= 1, torch.minimum(bound * (1 - a * MU), after), torch.inf)
        assert (after <= bound * (1 + 1e-9) + 1e-9).all()
        before, state = after, solution.state
    torch.testing.assert_close(a, (0.9 / ELL).clamp(max=1.0), rtol=1e-3, atol=0)
    assert after[1] < 1e-6 * truth[1].norm()


def test_amortised_residual_and_products() -> None:
    """The residual is that of the start, and `track` spends one product."""
    h, v = matrices(spectra()), right_hand_side()
    first = Amortised().solve(operator(h), v, {})
    again = Amortised().solve(operator(h), v, first.state)
    true = (torch.einsum("rpq,rq->rp", h, first.x) - v).norm(dim=-1) / v.norm(dim=-1)
    torch.testing.assert_close(again.residual, true)
    hessian = operator(h)
    tracked = Amortised().track(hessian, first.state)
    assert hessian.products == 1
    torch.testing.assert_close(
        tracked["x"], first.x - first.state["step"] * (operator(h)(first.x) - v)
    )
    assert all(torch.equal(tracked[k], first.state[k]) for k in ("v", "step", "power"))


def test_amortised_tracks_to_the_solution() -> None:
    """Amortised tracks to the solution between outer steps."""
    h = matrices(torch.linspace(0.5, 1.0, SIZE, dtype=F64).expand(RUNS, -1))
    v = right_hand_side()
    solution = Amortised().solve(operator(h), v, {})
    state, first = solution.state, error(solution.x, h, v)
    a = state["step"].squeeze(-1)
    for n in range(1, 41):
        state = Amortised().track(operator(h), state)
        assert (error(state["x"], h, v) <= (1 - 0.5 * a) ** n * first * (1 + 1e-9) + 1e-12).all()


def test_amortised_restarts_failed_runs() -> None:
    """Amortised starts afresh where it went wrong."""
    h, v = matrices(spectra()), right_hand_side()
    state = Amortised().solve(operator(h), v, {}).state
    state["x"] = state["x"].clone()
    state["x"][1] = 1e6
    solution = Amortised().solve(operator(h), v, state)
    assert solution.failed.tolist()[1]
    torch.testing.assert_close(solution.state["x"][1], solution.state["step"][1] * v[1])
    for _ in range(200):
        solution = Amortised().solve(operator(h), v, solution.state)
    assert not solution.failed.any()
    assert error(solution.x, h, v)[1] < 1e-4 * v[1].norm() / MU[1]


def test_amortised_finite_at_negative_curvature() -> None:
    """Amortised on negative curvature stays finite.

    Where no step converges it keeps restarting and says so; the convex run does not notice.
    """
    h = torch.diag_embed(torch.tensor([[1.0, -1.0], [1.0, 0.5]], dtype=F64))
    v = torch.ones(2, 2, dtype=F64)
    state: dict[str, Tensor] = {}
    failures = torch.zeros(2, dtype=torch.long)
    for _ in range(300):
        solution = Amortised().solve(operator(h), v, state)
        state = solution.state
        failures += solution.failed
        assert solution.x.abs().max() < 20
    assert failures[0] > 30
    assert failures[1] == 0
    torch.testing.assert_close(solution.x[1], torch.tensor([1.0, 2.0], dtype=F64))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Nystrom(rank=0), "rank"),
        (lambda: Nystrom(damping=0.0), "damping"),
        (lambda: Amortised(safety=0.0), "safety"),
        (lambda: Unrolled(terms=0), "terms"),
        (lambda: Unrolled(step=-1.0), "step"),
        (lambda: Unrolled(safety=1.1), "safety"),
    ],
)
def test_bad_parameters_of_the_others(make, name: str) -> None:
    """Bad parameters of the others."""
    with pytest.raises(InputError, match=f"^{name}: found"):
        make()


@pytest.mark.parametrize(
    "solver",
    [Identity(), Neumann(), Cg(), Exact(), Nystrom(rank=2), Amortised(), Unrolled()],
    ids=lambda solver: type(solver).__name__,
)
def test_solvers_report_what_they_did(solver) -> None:
    """What a solver says of itself is so.

    Products are those the operator counted, residuals and shapes a number a run, v and the point
    untouched.
    """
    h, v = matrices(spectra()), right_hand_side()
    hessian, before = operator(h), v.clone()
    point = hessian.w.detach().clone()
    state: dict[str, Tensor] = {}
    for _ in range(2):
        counted = hessian.products
        solution = solver.solve(hessian, v, state)
        state = solution.state
        assert solution.products == hessian.products - counted
        assert solution.x.shape == v.shape
        assert solution.residual.shape == (RUNS,)
        assert not solution.x.requires_grad
        assert solution.failed is None or solution.failed.shape == (RUNS,)
        assert all(len(kept) == RUNS and not kept.requires_grad for kept in solution.state.values())
    assert torch.equal(v, before)
    assert torch.equal(hessian.w, point)
