"""Inexactness: the hypergradient at an unfinished lower level."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hsac.hypergradient import Solver, implicit_hypergradient
from hsac.hypergradient.solvers.cg import Cg
from hsac.hypergradient.solvers.exact import Exact
from hsac.hypergradient.solvers.neumann import Neumann
from hsac.hypergradient.solvers.unrolled import Unrolled
from hsac.parts import build, check_name, require
from hsac.theory.ground_truth import Problem, extremes, gradients, linearised, reference

Row = dict[str, float | int | str]


@dataclass(frozen=True)
class Inexactness:
    """Errors of the hypergradient at an unfinished lower level.

    From each problem's start a gradient descent with step 2/(μ + ℓ) is stopped now and then, and
    the hypergradient taken there: by exact solve, by cg and neumann (step 1/ℓ) with `terms`
    products, and by unrolling terms + 1 steps on. With an exact solve the error is O(|w - w*|)
    (Pedregosa, ICML 2016). A truncated one keeps its own.

    Attributes:
        problems: Names of bi-level problems.
        steps: Steps of the descent.
        checks: Stops, evenly in the logarithm of the step.
        terms: Products of cg and neumann.
        seed: Seed that the problems are drawn from.
    """

    problems: tuple[str, ...] = ("quadratic", "ridge", "logistic", "hyperbolic")
    steps: int = 1500
    checks: int = 16
    terms: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse unknown problems and parameters that are out of range."""
        for name in self.problems:
            check_name("problem", name, "problems")
        for name in ("steps", "checks", "terms"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "an integer from 1")

    def rows(self, progress: Callable[[str], None]) -> list[Row]:
        """Descend on every problem and take hypergradients on the way.

        Args:
            progress: Called with a line of text as the work goes on.

        Returns:
            Rows by problem, then step, then solver. `distance` is |w - w*| and `gradient` |∇L|.
            `relative` is |g - g*|/|g*|, with g* by finite differences of the re-solved problem.
        """
        found: list[Row] = []
        for name in self.problems:
            progress(name)
            problem = build("problem", name, {"seed": self.seed})
            found.extend({"problem": name, **row} for row in self._problem(problem))
        return found

    def _stops(self) -> list[int]:
        last = max(self.checks - 1, 1)
        # Shifted by 1, so that the start is a stop, too.
        spread = (round((self.steps + 1) ** (k / last)) - 1 for k in range(self.checks))
        # Early stops can round to the same step.
        return sorted(set(spread))

    def _problem(self, problem: Problem) -> Iterator[Row]:
        theta, w = problem.start, problem.initial
        solution, truth = problem.solve(theta), reference(problem, theta)
        mu, ell = (float(value) for value in extremes(problem, theta))
        solvers: dict[str, Solver] = {
            "exact": Exact(),
            "cg": Cg(terms=self.terms, damping=0.0),
            "neumann": Neumann(terms=self.terms, step=1 / ell),
            # one step more, because its first term takes one
            "unrolled": Unrolled(terms=self.terms + 1, step=1 / ell),
        }
        done = 0
        for stop in self._stops():
            for _ in range(stop - done):
                # the best fixed step on a quadratic with this spectrum
                w = w - 2 / (mu + ell) * gradients(problem.lower, w, theta)[0]
            done = stop
            at = {
                "step": stop,
                "distance": float((w - solution).norm()),
                "gradient": float(gradients(problem.lower, w, theta)[0].norm()),
            }
            # an adversary, if there is one, is found once for all solvers
            upper = linearised(problem.upper, w, theta)
            for label, solver in solvers.items():
                found = implicit_hypergradient(upper, problem.lower, w, theta, solver, {})
                error = float((found.total - truth).norm() / truth.norm())
                yield {"solver": label, **at, "relative": error}
