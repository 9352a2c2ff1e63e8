"""Dense solve, for tests and small studies."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hsac.hypergradient.operator import HessianOperator
from hsac.hypergradient.solution import Solution, relative_residual
from hsac.parts import require


@dataclass(frozen=True)
class Exact:
    """x = (H + damping·I)⁻¹ v from the dense Hessian: P products and a P×P solve a run."""

    damping: float = 0.0

    def __post_init__(self) -> None:
        require(self.damping >= 0, "damping", self.damping, "a number from 0")

    def solve(self, hessian: HessianOperator, v: Tensor, state: dict[str, Tensor]) -> Solution:
        """P products; the residual is of the damped system."""
        dense = hessian.dense() + self.damping * torch.eye(
            v.shape[1], dtype=v.dtype, device=v.device
        )
        x, info = torch.linalg.solve_ex(dense, v)
        x = torch.where(
            (info == 0)[:, None], x, torch.full_like(x, torch.nan)
        )  # singular: the caller falls back
        return Solution(x, v.shape[1], relative_residual((dense @ x[..., None]).squeeze(-1), v))
