"""Dense solve, for tests and small studies."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hsac.hypergradient.operator import HessianOperator
from hsac.hypergradient.solution import Solution, relative_residual
from hsac.parts import require


@dataclass(frozen=True)
class Exact:
    """Dense solve of (H + damping·I) x = v, for small problems.

    It takes P products and a P×P solve a run.

    Attributes:
        damping: Added to H's diagonal.
    """

    damping: float = 0.0

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.damping >= 0, "damping", self.damping, "a number from 0")

    def solve(self, hessian: HessianOperator, v: Tensor, state: dict[str, Tensor]) -> Solution:
        """Spend P products. A run whose system is singular gets NaN.

        Args:
            hessian: The operator H at the point of the solve.
            v: Right-hand side (R, P).
            state: `Solution.state` of the previous call, {} at first.

        Returns:
            The solution. Its residual is of the damped system.
        """
        identity = torch.eye(v.shape[1], dtype=v.dtype, device=v.device)
        dense = hessian.dense() + self.damping * identity
        # unlike `solve`, `solve_ex` does not raise for all runs if one run's system is singular
        x, info = torch.linalg.solve_ex(dense, v)
        # a singular system gives NaN, at which the caller falls back
        x = torch.where((info == 0)[:, None], x, torch.full_like(x, torch.nan))
        # The dense matrix is at hand, so the residual takes no further product.
        return Solution(x, v.shape[1], relative_residual((dense @ x[..., None]).squeeze(-1), v))
