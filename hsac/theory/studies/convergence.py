"""Convergence: the outer descent by an inexact hypergradient."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean

import torch
from torch import Tensor

from hsac.hypergradient import implicit_hypergradient
from hsac.hypergradient.solvers.neumann import Neumann
from hsac.parts import build, check_name, require
from hsac.theory import bounds
from hsac.theory.ground_truth import Problem, gradients, operator

Row = dict[str, float | int | str]
# F'' only sets the length of the steps, so it need not be exact.
NUDGE = 1e-4  # of θ, for the curvature of F at the start


@dataclass(frozen=True)
class Convergence:
    """Outer descents by Neumann's hypergradient, and their floor.

    θ ← θ - rate/|F''|·g, with F'' at the start. Before each step the lower level, carried over,
    takes gradient steps of 1/ℓ. g is the hypergradient at that w by Neumann with step 1/ℓ.

    Attributes:
        problems: Names of bi-level problems.
        terms: Terms of Neumann's series. Each has a descent of its own.
        outer: Outer steps.
        inner: Steps of the lower level before each of them.
        rate: Length of an outer step, in units of 1/|F''|.
        tail: Share of the steps, at the end, that the floor is taken of.
        seed: Seed that the problems are drawn from.
    """

    problems: tuple[str, ...] = ("quadratic", "ridge", "logistic")
    terms: tuple[int, ...] = (0, 1, 3, 10, 30)
    outer: int = 100
    inner: int = 10
    rate: float = 1.0
    tail: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse unknown problems and parameters that are out of range."""
        for name in self.problems:
            check_name("problem", name, "problems")
        require(bool(self.terms) and min(self.terms) >= 0, "terms", self.terms, "integers from 0")
        for name in ("outer", "inner"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "an integer from 1")
        require(self.rate > 0, "rate", self.rate, "a number above 0")
        require(0 < self.tail <= 1, "tail", self.tail, "a share in (0, 1]")

    def rows(self, progress: Callable[[str], None]) -> list[Row]:
        """Descend on every problem with each number of terms.

        Args:
            progress: Called with a line of text as the work goes on.

        Returns:
            Rows by problem, then terms, then outer step (from 1). `squared` is |dF/dθ|², the true
            one at θ from a solved lower level and a dense solve. `running` is its mean so far,
            `floor` its mean over the last `tail` share of the steps. `bound` is for where the
            descent stands still: g = 0 gives |dF/dθ| ≤ |L_θw|(1 - μ/ℓ)^(terms + 1)|U_w|/μ, here
            squared and at the last θ.
        """
        found: list[Row] = []
        for name in self.problems:
            problem = build("problem", name, {"seed": self.seed})
            step = self.rate / curvature(problem)
            for terms in self.terms:
                progress(f"{name}, {terms} terms")
                squared, bound = self._descend(problem, terms, step)
                floor = fmean(squared[-max(round(self.tail * self.outer), 1) :])
                for k, running in enumerate(accumulate(squared), 1):
                    row: Row = {"problem": name, "terms": terms, "outer": k}
                    row |= {"squared": squared[k - 1], "running": running / k}
                    # `floor` and `bound` are of the whole descent, so they repeat in its rows.
                    found.append({**row, "floor": floor, "bound": bound})
        return found

    def _descend(self, problem: Problem, terms: int, step: float) -> tuple[list[float], float]:
        theta, w, squared = problem.start, problem.initial, []
        for _ in range(self.outer):
            truth = Truth.of(problem, theta)
            squared.append(float(truth.gradient.square().sum()))
            # the lower level is carried over and not solved: the descent is inexact on purpose
            for _ in range(self.inner):
                w = w - gradients(problem.lower, w, theta)[0] / truth.ell
            # The step follows ℓ, which changes with θ.
            solver = Neumann(terms=terms, step=1 / truth.ell)
            g = implicit_hypergradient(problem.upper, problem.lower, w, theta, solver, {}).total
            theta = theta - step * g
        return squared, truth.floor(terms)


@dataclass(frozen=True)
class Truth:
    """The true gradient at a solved lower level, and the constants of its bounds.

    Attributes:
        gradient: dF/dθ (1, C), by a dense solve.
        mu: Smallest eigenvalue of the Hessian.
        ell: Largest eigenvalue of the Hessian.
        mixed: |L_θw|.
        size: |U_w|.
    """

    gradient: Tensor
    mu: float
    ell: float
    mixed: float
    size: float

    @classmethod
    def of(cls, problem: Problem, theta: Tensor) -> "Truth":
        """Solve the lower level and measure there.

        Args:
            problem: The problem, of one run.
            theta: Hyperparameters (1, C).

        Returns:
            The truth at θ.
        """
        w = problem.solve(theta)
        v, direct = gradients(problem.upper, w, theta)
        hessian = operator(problem.lower, w, theta)
        h = hessian.whole()
        mixed = torch.cat([hessian.mixed(row[None]) for row in torch.eye(w.shape[1]).to(w)])
        values = torch.linalg.eigvalsh(h)[0]
        gradient = direct - torch.linalg.solve(h, v) @ mixed
        size = float(torch.linalg.matrix_norm(mixed, 2))
        return cls(gradient, float(values[0]), float(values[-1]), size, float(v.norm()))

    def floor(self, terms: int) -> float:
        """Bound |dF/dθ|² where Neumann's hypergradient with step 1/ℓ vanishes.

        Args:
            terms: Terms of the series.

        Returns:
            The bound.
        """
        return (self.mixed * bounds.neumann(terms, 1 / self.ell, self.mu, self.size)) ** 2


def curvature(problem: Problem) -> float:
    """Compute |F''| at the start, by difference quotients of the true gradient.

    Args:
        problem: The problem, of one run.

    Returns:
        The spectral norm.
    """
    columns = []
    for j in range(problem.start.shape[1]):
        shift = torch.zeros_like(problem.start)
        shift[:, j] = NUDGE
        up, down = (Truth.of(problem, problem.start + s).gradient for s in (shift, -shift))
        columns.append((up - down)[0] / (2 * NUDGE))
    return float(torch.linalg.matrix_norm(torch.stack(columns), 2))
