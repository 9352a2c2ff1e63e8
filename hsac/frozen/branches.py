"""Solved heads along the curvature: two branches of minima, and the lower at each c."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hsac.frozen.head import HeadProblem
from hsac.frozen.lbfgs import Descent, minimise

TOLERANCE = 1e-7
SAME = 1e-7  # Two minima are one where their objectives differ by less, in units of 1 + objective.


@dataclass(frozen=True)
class SolvedHeads:
    """Heads at one c.

    Attributes:
        c: The curvature.
        w: Weights (R, P).
        gradient: |∇|/(1 + |w|) of the lower level there (R,).
        up: Objective of the branch that begins at the lowest c (R,).
        down: That of the branch that begins at the highest c (R,).
    """

    c: float
    w: Tensor
    gradient: Tensor
    up: Tensor
    down: Tensor

    @property
    def same(self) -> Tensor:
        """Whether both branches are at the same minimum, or at equal ones (R,)."""
        return (self.up - self.down).abs() <= SAME * (1 + self.up.abs())

    @property
    def branch(self) -> list[str]:
        """`up`, `down` or `same`: the branch that is lower, of each problem."""
        lower = torch.where(self.down < self.up, 1, 0).tolist()
        return [
            "same" if same else ("up", "down")[which]
            for same, which in zip(self.same.tolist(), lower, strict=True)
        ]


def log_c(problem: HeadProblem, c: float) -> Tensor:
    """Return θ (R, 1) of a curvature.

    Args:
        problem: The problems.
        c: The curvature, above 0.
    """
    x = problem.data.x
    return torch.full((len(x), 1), math.log(c), dtype=x.dtype, device=x.device)


def solve_along(
    problem: HeadProblem,
    curvatures: Sequence[float],
    progress: Callable[[str], None] = lambda text: None,
) -> list[SolvedHeads]:
    """Solve the heads at every c, each from its neighbour's, in both directions.

    The lower level is not convex, and its minimum may jump from one branch to another. The upward
    branch begins at the lowest c, the downward one at the highest, each at random weights. The
    lower of the two counts.

    Args:
        problem: The problems.
        curvatures: The curvatures, rising.
        progress: Called with a line of text for each solve.

    Returns:
        The heads at each c.
    """

    def follow(order: Sequence[float], draw: int, way: str) -> list[Descent]:
        w, found = problem.start(draw), []
        for c in order:
            progress(f"{way}, c = {c:.3g}")
            found.append(minimise(problem, w, log_c(problem, c), TOLERANCE))
            w = found[-1].w
        return found

    ups = follow(curvatures, 0, "upward")
    downs = follow(curvatures[::-1], 1, "downward")[::-1]
    return [_lower(c, up, down) for c, up, down in zip(curvatures, ups, downs, strict=True)]


def _lower(c: float, up: Descent, down: Descent) -> SolvedHeads:
    lower = down.value < up.value
    w = torch.where(lower[:, None], down.w, up.w)
    gradient = torch.where(lower, down.gradient, up.gradient)
    return SolvedHeads(c, w, gradient, up.value, down.value)
