"""Nyström approximation: low rank plus damping."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from hsac.hypergradient.operator import HessianOperator
from hsac.hypergradient.solution import GROWTH, Solution, relative_residual
from hsac.parts import require


@dataclass(frozen=True)
class Nystrom:
    """x = (H_k + damping·I)⁻¹ v with H_k of rank `rank`.

    After Hataya and Yamada (AISTATS 2023). H_k = (HΩ)(ΩᵀHΩ)⁻¹(HΩ)ᵀ with an orthonormal Gaussian
    sketch Ω, the same at every call. Let E = H - H_k and d the damping. Where H and E are positive
    semi-definite the error against the damped solution is at most |E||v|/(d(d + |E|)), which is
    useless where the spectrum is not of low rank. Runs whose residual passes GROWTH for that reason
    are marked as failed.

    Attributes:
        rank: Columns of Ω, one product each.
        damping: Added to the diagonal of H_k, above 0. Directions in which ΩᵀHΩ is no more than
            rounding are left to it.
    """

    rank: int = 10
    damping: float = 0.1

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.rank >= 1, "rank", self.rank, "an integer from 1")
        require(self.damping > 0, "damping", self.damping, "a number above 0")

    def solve(self, hessian: HessianOperator, v: Tensor, state: dict[str, Tensor]) -> Solution:
        """Spend min(rank, P) products, and one for the residual.

        Args:
            hessian: The operator H at the point of the solve.
            v: Right-hand side (R, P).
            state: `Solution.state` of the previous call, {} at first.

        Returns:
            The solution. Its residual is of the damped system.
        """
        omega = sketch(v.shape[1], self.rank, v.dtype, v.device)
        # Y = HΩ (R, P, k)
        image = torch.stack([hessian(column.expand_as(v)) for column in omega.mT], -1)
        usable = image.isfinite().all(-1).all(-1)
        # ΩᵀHΩ squares H's condition number, so it is worked on in float64 whatever the weights are
        image = torch.where(usable[:, None, None], image, torch.zeros_like(image)).double()
        core = omega.mT.double() @ image
        values, vectors = torch.linalg.eigh((core + core.mT) / 2)
        # directions in which ΩᵀHΩ is no more than rounding are left to the damping
        noise = torch.finfo(v.dtype).eps * omega.shape[1] * values.abs().amax(-1, keepdim=True)
        kept = values.abs() > noise
        image = torch.where(kept[:, None], image @ vectors, torch.zeros_like(image))
        # Woodbury: (Y C⁻¹ Yᵀ + dI)⁻¹ = (I - Y (dC + YᵀY)⁻¹ Yᵀ)/d, C diagonal in this basis
        diagonal = torch.diag_embed(torch.where(kept, values, torch.ones_like(values)))
        inner = self.damping * diagonal + image.mT @ image
        found, info = torch.linalg.solve_ex(inner, image.mT @ v.double()[..., None])
        x = ((v - (image @ found).squeeze(-1)) / self.damping).to(v)
        # With the true H: the residual tells what the low rank has left out.
        residual = relative_residual(hessian(x) + self.damping * x, v)
        failed = ~usable | (info != 0) | ~(residual <= GROWTH)
        return Solution(x, omega.shape[1] + 1, residual, failed=failed)


@lru_cache(maxsize=1)
def sketch(
    size: int, rank: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Tensor:
    """Draw Ω: orthonormal columns of a Gaussian matrix, the same at every call.

    The last one is kept, because it is costly.

    Args:
        size: P, the number of weights.
        rank: Columns wanted.
        dtype: Of the result. It is drawn in float64.
        device: Of the result. It is drawn on the CPU.

    Returns:
        Ω (P, min(rank, P)).
    """
    # A CPU's generator, so that Ω does not depend on the device.
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(size, min(rank, size), generator=generator, dtype=torch.float64)
    return torch.linalg.qr(drawn)[0].to(device, dtype)
