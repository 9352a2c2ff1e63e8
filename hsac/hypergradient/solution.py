"""What a solver returns."""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from hsac.hypergradient.operator import HessianOperator, norm

GROWTH = 2.0  # a residual above this means that the iterate went the wrong way


@dataclass(frozen=True)
class Solution:
    """x ≈ H⁻¹v (R, P), products used, |Hx - v|/|v| per run (R,), and what the solver carries to its
    next call.

    `failed` (R,) bool marks runs whose x the solver itself does not trust; None where it trusts
    all. `implicit` (R, C) is the implicit term, where the solver has it other than as the mixed
    product with x.
    """

    x: Tensor
    products: int
    residual: Tensor
    state: dict[str, Tensor] = field(default_factory=dict)
    failed: Tensor | None = None
    implicit: Tensor | None = None


class Solver(Protocol):
    """Solves H x = v by Hessian-vector products, one independent system a run."""

    def solve(self, hessian: HessianOperator, v: Tensor, state: dict[str, Tensor]) -> Solution:
        """v (R, P) -> Solution; `state` is what the previous call returned, {} at first."""
        ...


@runtime_checkable
class TrackingSolver(Solver, Protocol):
    """A solver that also works between outer steps."""

    def track(self, hessian: HessianOperator, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """One product at the present point -> the state with its solution one step further."""
        ...


def relative_residual(hx: Tensor, v: Tensor) -> Tensor:
    """|hx - v|/|v| per run: (R, P), (R, P) -> (R,)."""
    return (norm(hx - v) / norm(v)).squeeze(-1)
