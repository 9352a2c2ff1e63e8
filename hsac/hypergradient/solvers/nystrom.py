"""Low rank plus damping."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hsac.hypergradient.operator import HessianOperator
from hsac.hypergradient.solution import GROWTH, Solution, relative_residual
from hsac.registry import require


@dataclass(frozen=True)
class Nystrom:
    """x = (H_k + damping·I)⁻¹ v with H_k = (HΩ)(ΩᵀHΩ)⁻¹(HΩ)ᵀ of rank `rank` (Hataya and Yamada, AISTATS 2023).

    Ω is an orthonormal Gaussian sketch. With E = H - H_k ⪰ 0 the error against the damped
    solution is at most |E||v|/(d(d + |E|)): useless where the spectrum is not of low rank. Such runs, whose residual
    passes GROWTH, and those with a singular core are marked as failed.
    """

    rank: int = 10
    damping: float = 0.1

    def __post_init__(self) -> None:
        require(self.rank >= 1, "rank", self.rank, "an integer from 1")
        require(self.damping > 0, "damping", self.damping, "a number above 0")

    def solve(self, hessian: HessianOperator, v: Tensor, state: dict[str, Tensor]) -> Solution:
        """min(rank, P) products and one for the residual, which is of the damped system."""
        omega = sketch(v.shape[1], self.rank).to(v)
        image = torch.stack([hessian(column.expand_as(v)) for column in omega.mT], -1)  # HΩ (R, P, k)
        core = omega.mT @ image
        inner = self.damping * (core + core.mT) / 2 + image.mT @ image
        # Woodbury: (Y C⁻¹ Yᵀ + dI)⁻¹ = (I - Y (dC + YᵀY)⁻¹ Yᵀ)/d
        found, info = torch.linalg.solve_ex(inner, image.mT @ v[..., None])
        x = (v - (image @ found).squeeze(-1)) / self.damping
        residual = relative_residual(hessian(x) + self.damping * x, v)
        return Solution(x, omega.shape[1] + 1, residual, failed=(info != 0) | ~(residual <= GROWTH))


def sketch(size: int, rank: int) -> Tensor:
    """Ω (P, min(rank, P)): orthonormal columns of a Gaussian matrix, the same at every call."""
    drawn = torch.randn(size, min(rank, size), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(drawn)[0]
