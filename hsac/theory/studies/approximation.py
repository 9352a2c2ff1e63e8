"""Approximation: how the hypergradient's error falls with Hessian products."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor

from hsac.hypergradient import HessianOperator, Solution, Solver
from hsac.hypergradient.solvers.amortised import Amortised
from hsac.hypergradient.solvers.cg import Cg
from hsac.hypergradient.solvers.exact import Exact
from hsac.hypergradient.solvers.identity import Identity
from hsac.hypergradient.solvers.neumann import Neumann
from hsac.hypergradient.solvers.nystrom import Nystrom, sketch
from hsac.hypergradient.solvers.unrolled import Unrolled
from hsac.parts import build, check_name, require
from hsac.theory import bounds
from hsac.theory.ground_truth import Problem, gradients, operator, reference

Row = dict[str, float | int | str]


@dataclass(frozen=True)
class Approximation:
    """How the hypergradient's error falls with Hessian products.

    Every solver runs at the lower level's solution. neumann and unrolled have step 1/ℓ, nystrom and
    cg_damped have `damping`.

    Attributes:
        problems: Names of bi-level problems.
        terms: Values of J: terms of neumann and cg, steps of unrolled, nystrom's rank up to P,
            amortised's calls so far.
        damping: Damping of nystrom and cg_damped, above 0.
        seed: Seed that the problems are drawn from.
    """

    problems: tuple[str, ...] = ("quadratic", "ridge", "logistic", "hyperbolic")
    terms: tuple[int, ...] = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100)
    damping: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse unknown problems and parameters that are out of range."""
        for name in self.problems:
            check_name("problem", name, "problems")
        require(bool(self.terms) and min(self.terms) >= 0, "terms", self.terms, "integers from 0")
        require(self.damping > 0, "damping", self.damping, "a number above 0")

    def rows(self, progress: Callable[[str], None]) -> list[Row]:
        """Run every solver on every problem.

        Args:
            progress: Called with a line of text as the work goes on.

        Returns:
            Rows by problem, then solver, then terms. `products` has the mixed one included. `error`
            is |x - H⁻¹v| and `bound` bounds it (NaN where there is none). `relative` is
            |g - g*|/|g*| of the hypergradient g, with g* by finite differences of the re-solved
            problem. `failed` is 1 where the solver does not trust its x, which is used here all the
            same.
        """
        found: list[Row] = []
        for name in self.problems:
            progress(name)
            problem = build("problem", name, {"seed": self.seed})
            found.extend({"problem": name, **row} for row in self._problem(problem))
        return found

    def _problem(self, problem: Problem) -> Iterator[Row]:
        case = _Case.of(problem)
        # 1/ℓ is the longest step for which Neumann's bound holds.
        mu, ell, size, a, d = case.mu, case.ell, case.size, 1 / case.ell, self.damping
        some = [j for j in self.terms if j > 0]
        yield case.row("identity", 0, Identity(), bounds.identity(1.0, mu, ell, size))
        for j in self.terms:
            yield case.row("neumann", j, Neumann(terms=j, step=a), bounds.neumann(j, a, mu, size))
        for j in some:
            # At a minimiser j unrolled steps are Neumann's first j terms.
            bound = bounds.neumann(j - 1, a, mu, size)
            yield case.row("unrolled", j, Unrolled(terms=j, step=a), bound)
        for label, damping in (("cg", 0.0), ("cg_damped", d)):
            for j in some:
                bound = bounds.cg(j, damping, mu, ell, size)
                yield case.row(label, j, Cg(terms=j, damping=damping), bound)
        # There are no more than P directions to sketch.
        for k in (k for k in some if k <= len(case.h)):
            bound = bounds.nystrom(left_over(case.h, k), d, mu, size)
            yield case.row("nystrom", k, Nystrom(rank=k, damping=d), bound)
        yield from case.amortised(some)
        # Its only error is rounding, which no bound here is of.
        yield case.row("exact", len(case.h), Exact(), nan)


def left_over(h: Tensor, rank: int) -> float:
    """Compute |E|, the spectral norm of the rest of H beside nystrom's sketch.

    Args:
        h: H (P, P).
        rank: Columns of the sketch.

    Returns:
        The norm.
    """
    omega = sketch(len(h), rank).to(h)
    image = h @ omega
    left = h - image @ torch.linalg.solve(omega.mT @ image, image.mT)
    return float(torch.linalg.matrix_norm(left, 2))


@dataclass(frozen=True)
class _Case:
    """A problem at its lower level's solution.

    Attributes:
        hessian: The operator H.
        h: H (P, P).
        v: U_w (1, P).
        x: H⁻¹v (1, P).
        direct: U_θ (1, C).
        truth: dF/dθ (1, C).
        mu: Smallest eigenvalue of H.
        ell: Largest eigenvalue of H.
        size: |v|.
    """

    hessian: HessianOperator
    h: Tensor
    v: Tensor
    x: Tensor
    direct: Tensor
    truth: Tensor
    mu: float
    ell: float
    size: float

    @classmethod
    def of(cls, problem: Problem) -> "_Case":
        theta = problem.start
        w = problem.solve(theta)
        v, direct = gradients(problem.upper, w, theta)
        hessian = operator(problem.lower, w, theta)
        h = hessian.whole()
        values = torch.linalg.eigvalsh(h)[0]
        return cls(
            hessian=hessian,
            h=h[0],
            v=v,
            x=torch.linalg.solve(h, v),
            direct=direct,
            # By finite differences: a wrong implicit formula would not be its own reference.
            truth=reference(problem, theta),
            mu=float(values[0]),
            ell=float(values[-1]),
            size=float(v.norm()),
        )

    def row(self, label: str, terms: int, solver: Solver, bound: float) -> Row:
        before = self.hessian.products
        solution = solver.solve(self.hessian, self.v, {})
        return self._row(label, terms, solution, bound, before)

    def _row(self, label: str, terms: int, solution: Solution, bound: float, before: int) -> Row:
        implicit = solution.implicit
        if implicit is None:
            implicit = self.hessian.mixed(solution.x)
        return {
            "solver": label,
            "terms": terms,
            "products": self.hessian.products - before,
            "error": float((solution.x - self.x).norm()),
            "bound": bound,
            "relative": float((self.direct - implicit - self.truth).norm() / self.truth.norm()),
            "failed": 0 if solution.failed is None else int(solution.failed.item()),
        }

    def amortised(self, calls: list[int]) -> Iterator[Row]:
        """Call the solver again and again with its state kept.

        A row's products include those of the calls before.
        """
        state: dict[str, Tensor] = {}
        bound, spent = nan, 0
        for call in range(1, max(calls, default=0) + 1):
            before = self.hessian.products
            solution = Amortised().solve(self.hessian, self.v, state)
            # The first call sets the error. Each later one contracts it by the step it took, unless
            # it starts afresh.
            fresh = not state or bool(state["failed"])
            factor = bounds.contraction(float(solution.state["step"]), self.mu, self.ell)
            bound = float((solution.x - self.x).norm()) if fresh else bound * factor
            failed = torch.zeros(1) if solution.failed is None else solution.failed
            state = solution.state | {"failed": failed}
            if call in calls:
                yield self._row("amortised", call, solution, bound, before - spent)
            spent += solution.products
