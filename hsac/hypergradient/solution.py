"""The interface of solvers, and their result."""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from hsac.hypergradient.operator import HessianOperator, norm

# For comparison: x = 0 has a residual of 1.
GROWTH = 2.0  # a relative residual above this means that the iterate went the wrong way


@dataclass(frozen=True)
class Solution:
    """A solution of H x = v for each run.

    Attributes:
        x: The solution, about H⁻¹v (R, P).
        products: Hessian-vector products used.
        residual: |Hx - v|/|v| (R,).
        state: Kept by the solver for its next call.
        failed: Runs whose x the solver itself does not trust (R,). None where it trusts all.
        implicit: The implicit term (R, C), where the solver has it other than as the mixed product
            with x.
    """

    x: Tensor
    products: int
    residual: Tensor
    state: dict[str, Tensor] = field(default_factory=dict)
    failed: Tensor | None = None
    implicit: Tensor | None = None


class Solver(Protocol):
    """A solver of H x = v by Hessian-vector products, one independent system a run."""

    def solve(self, hessian: HessianOperator, v: Tensor, state: dict[str, Tensor]) -> Solution:
        """Solve H x = v.

        Args:
            hessian: The operator H at the point of the solve.
            v: Right-hand side (R, P).
            state: `Solution.state` of the previous call, {} at first.

        Returns:
            The solution of each run.
        """
        ...


@runtime_checkable
class TrackingSolver(Solver, Protocol):
    """A solver that also works between outer steps."""

    def track(self, hessian: HessianOperator, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Move the solution one step further, with one product at the present point.

        Args:
            hessian: The operator H at the present point.
            state: The state from the previous call.

        Returns:
            The new state.
        """
        ...


def relative_residual(hx: Tensor, v: Tensor) -> Tensor:
    """Compute |hx - v|/|v| per run.

    Args:
        hx: H x (R, P).
        v: Right-hand side (R, P).

    Returns:
        Relative residuals (R,).
    """
    # Norms are kept above 0, so v = 0 with hx = 0 gives 1, which is no failure.
    return (norm(hx - v) / norm(v)).squeeze(-1)
