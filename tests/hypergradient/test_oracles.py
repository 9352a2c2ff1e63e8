"""The hypergradient against oracles: re-solved problems, torchopt, unrolled descents."""

import warnings
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor

from hsac.hypergradient import HessianOperator, Solution, implicit_hypergradient
from hsac.hypergradient.solvers.amortised import Amortised
from hsac.hypergradient.solvers.cg import Cg
from hsac.hypergradient.solvers.exact import Exact
from hsac.hypergradient.solvers.identity import Identity
from hsac.hypergradient.solvers.neumann import Neumann
from hsac.hypergradient.solvers.nystrom import Nystrom
from hsac.hypergradient.solvers.unrolled import Unrolled
from hsac.theory.ground_truth import extremes, gradients, operator, reference
from hsac.theory.problems.hyperbolic import Hyperbolic
from hsac.theory.problems.logistic import Logistic
from hsac.theory.problems.quadratic import Quadratic
from hsac.theory.problems.ridge import Ridge

PROBLEMS = {
    "quadratic": Quadratic(runs=2),
    "quadratic_stiff": Quadratic(mu=1e-3, ell=50.0),
    "ridge": Ridge(runs=2),
    "logistic": Logistic(runs=2),
    "hyperbolic_worst": Hyperbolic(),
    "hyperbolic_gap": Hyperbolic(objective="gap"),
    "hyperbolic_mean": Hyperbolic(objective="mean"),
}
problems = pytest.mark.parametrize("name", PROBLEMS)


def relative(found: Tensor, truth: Tensor) -> Tensor:
    return (found - truth).norm(dim=-1) / truth.norm(dim=-1)


@cache
def solved(problem) -> Tensor:
    return problem.solve(problem.start)


@cache
def truth(problem) -> Tensor:
    return reference(problem, problem.start)


def hypergradient(problem, solver):
    return implicit_hypergradient(
        problem.upper, problem.lower, solved(problem), problem.start, solver, {}
    )


@problems
@pytest.mark.parametrize("solver", [Exact(), Cg(terms=100, damping=0.0)], ids=["exact", "cg"])
def test_equals_finite_differences(name: str, solver) -> None:
    """Equals finite differences of the resolved problem.

    Both levels are solved again at each θ, the adversary included (Danskin).
    """
    problem = PROBLEMS[name]
    found = hypergradient(problem, solver)
    assert (relative(found.total, truth(problem)) <= 1e-6).all()
    # the direct term alone would fail
    assert (found.implicit.norm(dim=-1) > 1e-3 * found.total.norm(dim=-1)).all()
    assert not found.fallback.any()


@pytest.mark.parametrize(
    "problem",
    [Quadratic(), Ridge(), Logistic(), Hyperbolic(decay=1.0)],
    ids=lambda problem: type(problem).__name__,
)
def test_long_series_equals_long_unrolling(problem) -> None:
    """Long series and long unrolling go to the same."""
    mu, ell = extremes(problem, problem.start)
    a, terms = 0.99 / ell.item(), int(15 * (ell / mu).item())
    assert terms < 1500
    for solver in (Neumann(terms=terms, step=a), Unrolled(terms=terms, step=a)):
        assert (relative(hypergradient(problem, solver).total, truth(problem)) <= 1e-6).all()


@dataclass(frozen=True)
class Settled:
    """The amortised solver after as many calls on one problem as it needs."""

    calls: int

    def solve(self, hessian: HessianOperator, v: Tensor, state: dict[str, Tensor]) -> Solution:
        for _ in range(self.calls):
            solution = Amortised().solve(hessian, v, state)
            state = solution.state
        return solution


@pytest.mark.parametrize("name", ["quadratic", "ridge", "logistic", "hyperbolic_worst"])
@pytest.mark.parametrize(
    "solver",
    [
        Identity(scale=0.3),
        Neumann(terms=7, step=0.02),
        Nystrom(rank=3, damping=0.5),
        Exact(),
        Exact(damping=0.1),
        Cg(terms=40, damping=0.0),
        Cg(terms=40, damping=0.1),
        Unrolled(terms=8, step=0.02),
    ],
    ids=repr,
)
def test_adjoint_equals_forward_form(name: str, solver) -> None:
    same_in_both_forms(PROBLEMS[name], solver)


def test_settled_amortised_adjoint_equals_forward() -> None:
    """Adjoint equals forward form once the amortised solver has settled."""
    same_in_both_forms(PROBLEMS["ridge"], Settled(calls=300))


def same_in_both_forms(problem, solver) -> None:
    """(L_θw)ᵀ S v, one solve, against vᵀ S L_wθ, one solve a hyperparameter."""
    w, theta = solved(problem), problem.start
    v, _ = gradients(problem.upper, w, theta)
    hessian = operator(problem.lower, w, theta)
    solution = solver.solve(hessian, v, {})
    adjoint = hessian.mixed(solution.x) if solution.implicit is None else solution.implicit
    rows = [
        torch.autograd.grad(hessian.gradient[:, p].sum(), hessian.theta, retain_graph=True)[0]
        for p in range(w.shape[1])
    ]
    mixed = torch.stack(rows, 1)  # (R, P, C)
    forward = torch.stack(
        [(v * solver.solve(hessian, mixed[..., j], {}).x).sum(-1) for j in range(theta.shape[1])],
        -1,
    )
    assert ((adjoint - forward).norm(dim=-1) <= 1e-9 * forward.norm(dim=-1)).all()


@pytest.mark.parametrize(
    "problem", [Ridge(), Logistic(), Hyperbolic()], ids=["ridge", "logistic", "hyperbolic"]
)
@pytest.mark.parametrize("solve", ["normal_cg", "inv"])
def test_equals_torchopt(problem, solve: str) -> None:
    """Our hypergradient equals torchopt's.

    torchopt's implicit differentiation of the stationarity condition, with its own linear solvers.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchopt import linear_solve
        from torchopt.diff.implicit import custom_root
    solvers = {
        "normal_cg": linear_solve.solve_normal_cg(maxiter=1000, rtol=1e-13, atol=1e-13),
        "inv": linear_solve.solve_inv(ns=False),
    }

    def stationarity(w: Tensor, theta: Tensor) -> Tensor:
        return torch.func.grad(lambda w: problem.lower(w[None], theta[None])[0])(w)

    @custom_root(stationarity, argnums=1, solve=solvers[solve])
    def solution(w: Tensor, theta: Tensor) -> Tensor:
        with torch.enable_grad():  # torchopt calls it without
            return problem.solve(theta[None])[0]

    theta = problem.start[0].clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        w = solution(problem.initial[0], theta)
        (oracle,) = torch.autograd.grad(problem.upper(w[None], theta[None]).sum(), theta)
    assert (relative(hypergradient(problem, Exact()).total, oracle[None]) <= 1e-6).all()


@pytest.mark.parametrize(
    ("problem", "steps"),
    [(Ridge(), 200), (Logistic(), 200), (Hyperbolic(decay=1.0), 1000)],
    ids=["ridge", "logistic", "hyperbolic"],
)
def test_equals_long_unrolled_descent(problem, steps: int) -> None:
    """Equals a long unrolled descent.

    Plain automatic differentiation through the whole training, from a start far from the solution.
    """
    _, ell = extremes(problem, problem.start)
    theta, w = problem.start.clone().requires_grad_(), problem.initial
    w = w.detach().requires_grad_()
    for _ in range(steps):
        (g,) = torch.autograd.grad(problem.lower(w, theta).sum(), w, create_graph=True)
        w = w - g / ell[:, None]
    assert (w - problem.initial).norm() > 0.3
    (oracle,) = torch.autograd.grad(problem.upper(w, theta).sum(), theta)
    assert (relative(hypergradient(problem, Exact()).total, oracle) <= 1e-6).all()
