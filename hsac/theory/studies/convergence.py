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
from hsac.theory.ground_truth import Problem, dense, gradients, operator

Row = dict[str, float | int | str]
NUDGE = 1e-4  # of θ, for the curvature of F at the start


@dataclass(frozen=True)
class Convergence:
    """Running mean of |dF/dθ|² along outer descents by Neumann's hypergradient, and the floor that
    its length sets.

    θ ← θ - rate/|F''|·g, F'' at the start, `outer` times; before each step the lower level, carried
    over, takes `inner` gradient steps 1/ℓ; g is the hypergradient at that w by Neumann with step
    1/ℓ and each of `terms`. |dF/dθ|² is the true one at θ, from a solved lower level and a dense
    solve. Rows: problem, terms, outer (from 1), squared, running (mean of `squared` so far), floor
    (mean of `squared` over the last `tail` share of the steps), bound: where the descent stands
    still, g = 0, so that |dF/dθ| ≤ |L_θw|(1 - μ/ℓ)^(terms + 1)|U_w|/μ, squared, at the last θ.
    """

    problems: tuple[str, ...] = ("quadratic", "ridge", "logistic")
    terms: tuple[int, ...] = (0, 1, 3, 10, 30)
    outer: int = 100
    inner: int = 10
    rate: float = 1.0
    tail: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        for name in self.problems:
            check_name("problem", name, "problems")
        require(bool(self.terms) and min(self.terms) >= 0, "terms", self.terms, "integers from 0")
        for name in ("outer", "inner"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "an integer from 1")
        require(self.rate > 0, "rate", self.rate, "a number above 0")
        require(0 < self.tail <= 1, "tail", self.tail, "a share in (0, 1]")

    def rows(self, progress: Callable[[str], None]) -> list[Row]:
        """Rows by problem, then terms, then outer step."""
        found: list[Row] = []
        for name in self.problems:
            problem = build("problem", name, {"seed": self.seed})
            step = self.rate / curvature(problem)
            for terms in self.terms:
                progress(f"{name}, {terms} terms")
                squared, bound = self._descend(problem, terms, step)
                floor = fmean(squared[-max(round(self.tail * self.outer), 1) :])
                for k, running in enumerate(accumulate(squared), 1):
                    at: Row = {
                        "problem": name,
                        "terms": terms,
                        "outer": k,
                        "squared": squared[k - 1],
                    }
                    found.append({**at, "running": running / k, "floor": floor, "bound": bound})
        return found

    def _descend(self, problem: Problem, terms: int, step: float) -> tuple[list[float], float]:
        theta, w, squared = problem.start, problem.initial, []
        for _ in range(self.outer):
            truth = Truth.of(problem, theta)
            squared.append(float(truth.gradient.square().sum()))
            for _ in range(self.inner):
                w = w - gradients(problem.lower, w, theta)[0] / truth.ell
            solver = Neumann(terms=terms, step=1 / truth.ell)
            theta = (
                theta
                - step
                * implicit_hypergradient(problem.upper, problem.lower, w, theta, solver, {}).total
            )
        return squared, truth.floor(terms)


@dataclass(frozen=True)
class Truth:
    """dF/dθ (1, C) of a solved lower level by a dense solve, μ, ℓ, |L_θw| and |U_w| there."""

    gradient: Tensor
    mu: float
    ell: float
    mixed: float
    size: float

    @classmethod
    def of(cls, problem: Problem, theta: Tensor) -> "Truth":
        w = problem.solve(theta)
        v, direct = gradients(problem.upper, w, theta)
        hessian = operator(problem.lower, w, theta)
        h, mixed = (
            dense(hessian),
            torch.cat([hessian.mixed(row[None]) for row in torch.eye(w.shape[1]).to(w)]),
        )
        values = torch.linalg.eigvalsh(h)[0]
        gradient = direct - torch.linalg.solve(h, v) @ mixed
        size = float(torch.linalg.matrix_norm(mixed, 2))
        return cls(gradient, float(values[0]), float(values[-1]), size, float(v.norm()))

    def floor(self, terms: int) -> float:
        """Bound on |dF/dθ|² where Neumann's hypergradient with step 1/ℓ vanishes."""
        return (self.mixed * bounds.neumann(terms, 1 / self.ell, self.mu, self.size)) ** 2


def curvature(problem: Problem) -> float:
    """|F''| at the start: the spectral norm of the difference quotients of the true gradient, of one run."""
    columns = []
    for j in range(problem.start.shape[1]):
        shift = torch.zeros_like(problem.start)
        shift[:, j] = NUDGE
        up, down = (Truth.of(problem, problem.start + s).gradient for s in (shift, -shift))
        columns.append((up - down)[0] / (2 * NUDGE))
    return float(torch.linalg.matrix_norm(torch.stack(columns), 2))
