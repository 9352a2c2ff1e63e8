"""Ground-truth problems: solved to machine precision, strongly convex, with an exact reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hsac.errors import InputError
from hsac.parts import build, names
from hsac.theory.ground_truth import extremes, gradients, newton, operator, reference
from hsac.theory.problems.hyperbolic import Hyperbolic
from hsac.theory.problems.logistic import Logistic
from hsac.theory.problems.quadratic import Quadratic
from hsac.theory.problems.ridge import Ridge

PROBLEMS = [
    Quadratic(),
    Ridge(),
    Ridge(groups=3),
    Logistic(),
    Hyperbolic(),
    Hyperbolic(objective="gap"),
]


def ids(problem) -> str:
    detail = f"{getattr(problem, 'objective', '')}{getattr(problem, 'groups', '')}"
    return f"{type(problem).__name__}-{detail}"


def test_every_problem_is_tested() -> None:
    """Every problem of the family is here."""
    assert {type(problem).__name__.lower() for problem in PROBLEMS} == set(names("problem"))


@pytest.mark.parametrize("problem", PROBLEMS, ids=ids)
def test_the_solution_is_a_strict_minimum(problem) -> None:
    w = problem.solve(problem.start)
    mu, ell = extremes(problem, problem.start)
    assert (mu > 0).all()
    assert (ell >= mu).all()
    slope = gradients(problem.lower, w, problem.start)[0].norm(dim=-1)
    assert (slope <= 1e-13 * ell * (1 + w.norm(dim=-1))).all()
    assert problem.initial.shape == w.shape


@pytest.mark.parametrize("name", names("problem"))
def test_runs_are_independent_problems(name: str) -> None:
    """Runs are the problems they say and independent."""
    problem = build("problem", name, {"runs": 2})
    w, theta = problem.solve(problem.start), problem.start.clone()
    theta[1] += 0.1
    moved = problem.solve(theta)
    torch.testing.assert_close(moved[0], w[0], rtol=0, atol=1e-12)
    assert (moved[1] - w[1]).norm() > 1e-4
    assert problem.upper(w, theta).shape == problem.lower(w, theta).shape == (2,)
    assert (w[0] - w[1]).norm() > 1e-3  # another draw


def test_quadratic_has_the_spectrum() -> None:
    """The quadratic has the spectrum asked for."""
    problem = Quadratic(mu=0.02, ell=7.0, size=9)
    hessian = operator(problem.lower, problem.initial, problem.start).whole()
    want = torch.logspace(*torch.tensor([0.02, 7.0]).double().log10(), 9).double()
    torch.testing.assert_close(torch.linalg.eigvalsh(hessian)[0], want)


def test_quadratic_reference_is_closed_form() -> None:
    """Reference on the quadratic is its closed form.

    dF/dθ = BᵀH⁻¹G(H⁻¹Bθ - t) + direct·θ.
    """
    problem = Quadratic(runs=3)
    hessian, metric, coupling, target = problem._drawn
    answer = torch.linalg.solve(hessian, coupling)
    v = metric @ (answer @ problem.start[..., None] - target[..., None])
    closed = (answer.mT @ v).squeeze(-1) + problem.direct * problem.start
    torch.testing.assert_close(reference(problem, problem.start), closed, rtol=1e-10, atol=0)


@pytest.mark.parametrize("problem", PROBLEMS, ids=ids)
def test_reference_ignores_its_step(problem) -> None:
    """Reference does not depend on its step."""
    first, second = (reference(problem, problem.start, step) for step in (4e-3, 1e-3))
    assert ((first - second).norm(dim=-1) <= 1e-8 * second.norm(dim=-1)).all()


def test_adversary_maximises_on_its_sphere() -> None:
    """The adversary is the maximiser on its sphere.

    At a maximum the gradient is along e, and no other point of the scope found at random is higher.
    """
    problem = Hyperbolic()
    w = problem.solve(problem.start)
    e = problem.adversary(w, problem.start)
    torch.testing.assert_close(
        e.norm(dim=-1), torch.full((1,), problem.radius, dtype=torch.float64)
    )
    g = gradients(problem.cross_entropy, w + e, problem.start)[0]
    torch.testing.assert_close(
        torch.nn.functional.normalize(g), e / problem.radius, rtol=0, atol=1e-10
    )
    others = torch.randn(
        300, w.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    others = problem.radius * torch.nn.functional.normalize(others)
    worst = problem.cross_entropy(w + e, problem.start)
    assert all((problem.cross_entropy(w + other, problem.start) < worst).all() for other in others)


def test_moving_adversary_is_an_error() -> None:
    """An adversary that does not stand still is an error."""
    problem = Hyperbolic(radius=20.0)
    with pytest.raises(ArithmeticError, match="adversary"):
        problem.adversary(problem.initial, problem.start)


def test_unanchored_rotation_leaves_the_loss() -> None:
    """Without the anchor a rotation leaves the loss unchanged.

    Why the regulariser is centred at w₀: the cross-entropy alone is flat along rotations of the
    ball.
    """
    problem = Hyperbolic()
    w = problem.solve(problem.start)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    weight, bias, normals, offsets = w[0].split(problem._sizes)
    weight = (turn @ weight.view(2, -1)).flatten()
    normals = (normals.view(-1, 2) @ turn.mT).flatten()
    turned = torch.cat([weight, turn @ bias, normals, offsets])
    torch.testing.assert_close(
        problem.cross_entropy(turned[None], problem.start), problem.cross_entropy(w, problem.start)
    )
    before, after = (problem.lower(at, problem.start) for at in (w, turned[None]))
    assert (after > before + 1e-3).all()


def test_newton_refuses_saddle_and_slope() -> None:
    """Newton refuses a saddle and a slope."""
    w, theta = torch.zeros(1, 2, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)

    def saddle(w: Tensor, theta: Tensor) -> Tensor:
        return w[:, 0] ** 2 - w[:, 1] ** 2 + 0 * theta[:, 0]

    def slope(w: Tensor, theta: Tensor) -> Tensor:
        return w[:, 0] + 1e-3 * (w**2).sum(-1).cos() + 0 * theta[:, 0]

    with pytest.raises(ArithmeticError, match="no minimum: smallest eigenvalue -2"):
        newton(saddle, w, theta)
    with pytest.raises(ArithmeticError, match="within 20 Newton steps"):
        newton(slope, w, theta, steps=20)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(-6, 2), st.floats(0.0, 4.0))
def test_newton_solves_any_logistic_regression(seed: int, log_decay: float, signal: float) -> None:
    """Newton solves logistic regression whatever its data."""
    problem = Logistic(rows=12, size=3, signal=signal, seed=seed)
    theta = torch.full((1, 1), log_decay, dtype=torch.float64)
    w = problem.solve(theta)
    assert gradients(problem.lower, w, theta)[0].norm() <= 1e-13 * (1 + w.norm())


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Quadratic(mu=0.0), "mu"),
        (lambda: Quadratic(mu=6.0), "mu"),
        (lambda: Quadratic(hyper=0), "hyper"),
        (lambda: Ridge(groups=11), "groups"),
        (lambda: Ridge(narrowest=0.0), "narrowest"),
        (lambda: Logistic(rows=0), "rows"),
        (lambda: Hyperbolic(decay=0.0), "decay"),
        (lambda: Hyperbolic(objective="best"), "objective"),
    ],
)
def test_bad_parameters(make, name: str) -> None:
    with pytest.raises(InputError, match=f"^{name}: found"):
        make()
