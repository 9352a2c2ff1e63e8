"""Solved heads at every curvature: branches of minima, and the lowest at each c."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hsac.frozen.head import HeadProblem
from hsac.hypergradient.minimum import Descent, minimise

TOLERANCE = 1e-6
# A minimum is another one where its objective is lower by more, in units of 1 + objective.
SAME = 1e-6
# Of L-BFGS. A ball of two dimensions at a high c has narrow valleys, in which it may not arrive.
STEPS = 1000
# Passes over the neighbours at most. Each carries a lower branch on by one c.
PASSES = 2
# Logits of one call at most, which bounds memory.
LOGITS = 3_000_000


@dataclass(frozen=True)
class SolvedHeads:
    """Heads at one c.

    Attributes:
        c: The curvature.
        w: Weights (R, P).
        gradient: |∇|/(1 + |w|) of the lower level there (R,).
        branch: What the descent of each problem began at: `start`, random weights, or the head of
            the next lower (`below`) or next higher c (`above`), which found a lower minimum.
    """

    c: float
    w: Tensor
    gradient: Tensor
    branch: tuple[str, ...]


def log_c(problem: HeadProblem, c: float) -> Tensor:
    """Return θ (R, 1) of a curvature.

    Args:
        problem: The problems.
        c: The curvature, above 0.
    """
    x = problem.data.x
    return torch.full((len(x), 1), math.log(c), dtype=x.dtype, device=x.device)


def solve(problem: HeadProblem, w: Tensor, theta: Tensor, tolerance: float = TOLERANCE) -> Descent:
    """Solve heads by L-BFGS.

    Args:
        problem: The problems.
        w: Weights (R, P) to begin at.
        theta: log c (R, 1).
        tolerance: A head is solved where |∇| is at most so many times 1 + |w|.

    Returns:
        Where the descents ended, solved or not.
    """
    return minimise(problem, w, theta, tolerance, STEPS)


def solve_from_start(problem: HeadProblem, curvatures: Sequence[float]) -> list[SolvedHeads]:
    """Solve the heads at every c from random weights alone.

    Args:
        problem: The problems.
        curvatures: The curvatures.

    Returns:
        The heads at each c.
    """
    along = _Along(problem, curvatures)
    along.descend(range(len(curvatures)), problem.start(0), "start")
    return along.heads()


def solve_along(
    problem: HeadProblem,
    curvatures: Sequence[float],
    progress: Callable[[str], None] = lambda text: None,
) -> list[SolvedHeads]:
    """Solve the heads at every c, and again from the heads of both neighbours.

    The lower level is not convex. At each c the lowest minimum counts that is reached from random
    weights, or from the head at the next lower or next higher c. A lower branch that is found at
    one c is thus followed to the others.

    Args:
        problem: The problems.
        curvatures: The curvatures, rising.
        progress: Called with a line of text as the work goes on.

    Returns:
        The heads at each c.
    """
    along = _Along(problem, curvatures)
    progress("heads from random weights")
    along.descend(range(len(curvatures)), problem.start(0), "start")
    for number in range(PASSES):
        fresh, along.fresh = along.fresh, torch.zeros_like(along.fresh)
        if not fresh.any():
            break
        for way, branch in ((-1, "below"), (1, "above")):
            progress(f"heads from their neighbours, pass {number + 1}, {branch}")
            along.follow(fresh, way, branch)
    return along.heads()


class _Along:
    """The heads of R problems at each of n curvatures, while they are solved."""

    def __init__(self, problem: HeadProblem, curvatures: Sequence[float]) -> None:
        self.problem, self.curvatures = problem, curvatures
        w = problem.start(0)
        runs, size = w.shape
        self.w = w.new_empty(len(curvatures), runs, size)
        self.value = w.new_full((len(curvatures), runs), torch.inf)
        self.gradient = torch.full_like(self.value, torch.nan)
        self.branch = [["start"] * runs for _ in curvatures]
        # Which heads are new since their neighbours last began at them.
        self.fresh = torch.zeros(len(curvatures), runs, dtype=torch.bool)

    def descend(self, places: Sequence[int], w: Tensor, branch: str) -> None:
        """Solve every problem at some curvatures, from the same weights (R, P)."""
        runs = torch.arange(len(w))
        at = torch.cat([torch.full_like(runs, place) for place in places])
        self._descend(at, runs.repeat(len(places)), w.repeat(len(places), 1), branch)

    def follow(self, fresh: Tensor, way: int, branch: str) -> None:
        """Solve again from the fresh heads of the neighbour on one side."""
        begins = torch.zeros_like(fresh)
        if way < 0:
            begins[1:] = fresh[:-1]
        else:
            begins[:-1] = fresh[1:]
        at, runs = begins.nonzero(as_tuple=True)
        if len(at):
            self._descend(at, runs, self.w[at + way, runs], branch)

    def _descend(self, at: Tensor, runs: Tensor, w: Tensor, branch: str) -> None:
        data = self.problem.data
        size = max(1, LOGITS // (data.x.shape[1] * self.problem.classes))
        theta = torch.tensor(self.curvatures, dtype=w.dtype).log()[:, None]
        for some in torch.arange(len(at)).split(size):
            c, run = at[some], runs[some]
            found = solve(self.problem.take(run), w[some], theta[c])
            before = self.value[c, run]
            # Of the first descent everything counts, also what did not converge.
            lower = (found.value < before - SAME * (1 + found.value.abs())) | before.isinf()
            c, run = c[lower], run[lower]
            self.w[c, run], self.value[c, run] = found.w[lower], found.value[lower]
            self.gradient[c, run] = found.gradient[lower]
            self.fresh[c, run] = True
            for place, one in zip(c.tolist(), run.tolist(), strict=True):
                self.branch[place][one] = branch

    def heads(self) -> list[SolvedHeads]:
        """Return what was found."""
        return [
            SolvedHeads(c, self.w[i], self.gradient[i], tuple(self.branch[i]))
            for i, c in enumerate(self.curvatures)
        ]
