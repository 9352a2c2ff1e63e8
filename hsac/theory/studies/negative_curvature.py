"""Negative curvature: how Neumann's series grows, and how its safeguards stop it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import inf, nan

import torch
from torch import Tensor

from hsac.hypergradient import HessianOperator, Solution, implicit_hypergradient
from hsac.hypergradient.solvers.cg import Cg
from hsac.hypergradient.solvers.exact import Exact
from hsac.hypergradient.solvers.neumann import Neumann
from hsac.parts import require
from hsac.theory.ground_truth import gradients, operator
from hsac.theory.problems.quadratic import Quadratic

Row = dict[str, float | int | str]
# Makes the direct term, all that the fall-back leaves, a tenth to a fifth of the implicit one.
DIRECT = 20.0


@dataclass(frozen=True)
class NegativeCurvature:
    """How Neumann's series grows at negative curvature, guarded or not.

    It is the quadratic problem with its smallest eigenvalue μ turned into -m, at its stationary
    point. Its own hypergradient there (dense solve) is the reference. The solvers are neumann with
    step 1/ℓ, and cg with `damping`. The latter stops at negative curvature but does not notice when
    damping and m all but cancel. Each runs with guard 0 and 1. With the guard, runs marked as
    failed keep the direct term alone, and the implicit term is bounded by `ratio`.

    Attributes:
        curvatures: Values of m. 0 leaves the problem as it is.
        terms: Terms of the series, and steps of cg.
        ratio: Largest length of the implicit term under guard, in units of the direct one.
        damping: Damping of cg.
        seed: Seed that the problem is drawn from.
    """

    # 0.09 all but cancels the damping of 0.1, which cg does not notice.
    curvatures: tuple[float, ...] = (0.0, 0.09, 0.5, 2.0)
    terms: tuple[int, ...] = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50)
    ratio: float = 100.0
    damping: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        ok = bool(self.curvatures) and min(self.curvatures) >= 0
        require(ok, "curvatures", self.curvatures, "numbers from 0")
        require(bool(self.terms) and min(self.terms) >= 0, "terms", self.terms, "integers from 0")
        require(self.ratio > 0, "ratio", self.ratio, "a number above 0")
        require(self.damping >= 0, "damping", self.damping, "a number from 0")

    def rows(self, progress: Callable[[str], None]) -> list[Row]:
        """Run both solvers at each curvature with each number of terms.

        Args:
            progress: Called with a line of text as the work goes on.

        Returns:
            Rows by curvature (m), then terms (J), solver, guard. `length` is |x|. `theory` is
            ((1 + m/ℓ)^(J + 1) - 1)/m·|v_m|, at most neumann's |x|, with v_m the part of v along
            that direction (NaN for m = 0 and cg). `implicit` is |implicit|/|direct|, and `relative`
            |g - g*|/|g*|.
        """
        found: list[Row] = []
        for m in self.curvatures:
            progress(f"curvature -{m:g}")
            found.extend(self._curvature(m))
        return found

    def _curvature(self, m: float) -> Iterator[Row]:
        problem = Quadratic(direct=DIRECT, seed=self.seed)
        theta = problem.start
        h = operator(problem.lower, problem.initial, theta).whole()[0]
        values, basis = torch.linalg.eigh(h)
        along, turn = basis[:, 0], (float(values[0]) + m) if m else 0.0

        def lower(w: Tensor, hyper: Tensor) -> Tensor:
            # It takes `turn` off the eigenvalue μ and leaves -m.
            return problem.lower(w, hyper) - 0.5 * turn * (w @ along).square()

        # the stationary point: Newton's step from anywhere, the level being quadratic
        turned = h - turn * torch.outer(along, along)
        slope = gradients(lower, problem.initial, theta)[0][0]
        w = problem.initial - torch.linalg.solve(turned, slope)
        truth = implicit_hypergradient(problem.upper, lower, w, theta, Exact(), {})
        v = gradients(problem.upper, w, theta)[0]
        # ℓ as without the turn: the direction of μ does not count in it.
        part, ell = abs(float(v[0] @ along)), float(values[-1])
        for terms in self.terms:
            series = Neumann(terms=terms, step=1 / ell).solve(operator(lower, w, theta), v, {})
            solutions = {"neumann": series}
            if terms:
                cg = Cg(terms=terms, damping=self.damping)
                solutions["cg"] = cg.solve(operator(lower, w, theta), v, {})
            for solver, solution in solutions.items():
                for guarded in (0, 1):
                    # Without guard nothing is marked as failed. Both share one solve.
                    given = _Given(solution if guarded else replace(solution, failed=None))
                    ratio = self.ratio if guarded else inf
                    found = implicit_hypergradient(problem.upper, lower, w, theta, given, {}, ratio)
                    grown = ((1 + m / ell) ** (terms + 1) - 1) / m * part if m else nan
                    yield {
                        "curvature": m,
                        "solver": solver,
                        "terms": terms,
                        "guarded": guarded,
                        # with the mixed product
                        "products": solution.products + 1,
                        "length": float(solution.x.norm()),
                        "theory": grown if solver == "neumann" else nan,
                        "failed": int(found.fallback.item()),
                        "implicit": float(found.implicit.norm() / found.direct.norm()),
                        "relative": float((found.total - truth.total).norm() / truth.total.norm()),
                    }


@dataclass(frozen=True)
class _Given:
    """A solver that has its solution already."""

    solution: Solution

    def solve(self, hessian: HessianOperator, v: Tensor, state: dict[str, Tensor]) -> Solution:
        """Return the solution given.

        Args:
            hessian: The operator H at the point of the solve.
            v: Right-hand side (R, P).
            state: `Solution.state` of the previous call, {} at first.

        Returns:
            The solution.
        """
        return self.solution
