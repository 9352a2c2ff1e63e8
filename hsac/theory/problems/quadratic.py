"""A quadratic with a chosen spectrum."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hsac.parts import require


@dataclass(frozen=True)
class Quadratic:
    """Quadratic lower level with eigenvalues from mu to ell, evenly in the logarithm, coupled
    linearly to θ.

    L = ½wᵀHw - wᵀBθ, U = ½(w - t)ᵀG(w - t) + ½·direct·|θ|², G with eigenvalues from ½ to 2 in
    another random basis. `runs` problems of `size` weights and `hyper` hyper-parameters, drawn from
    `seed`.
    """

    mu: float = 0.1
    ell: float = 5.0
    size: int = 12
    hyper: int = 2
    direct: float = 0.1
    runs: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(0 < self.mu <= self.ell, "mu", self.mu, "a number above 0, at most ell")
        for name in ("size", "hyper", "runs"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "an integer from 1")

    @cached_property
    def _drawn(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """H, G (R, P, P), B (R, P, C), t (R, P)."""
        g = torch.Generator().manual_seed(self.seed)
        first, second = (
            torch.linalg.qr(
                torch.randn(self.runs, self.size, self.size, generator=g, dtype=torch.float64)
            )[0]
            for _ in range(2)
        )
        share = torch.linspace(0, 1, self.size, dtype=torch.float64)
        hessian = first @ torch.diag_embed(self.mu * (self.ell / self.mu) ** share) @ first.mT
        metric = second @ torch.diag_embed(0.5 * 4**share) @ second.mT
        coupling = torch.randn(self.runs, self.size, self.hyper, generator=g, dtype=torch.float64)
        return (
            hessian,
            metric,
            coupling,
            torch.randn(self.runs, self.size, generator=g, dtype=torch.float64),
        )

    @property
    def start(self) -> Tensor:
        """θ = 1 (R, C)."""
        return torch.ones(self.runs, self.hyper, dtype=torch.float64)

    @property
    def initial(self) -> Tensor:
        """w = 0 (R, P)."""
        return torch.zeros(self.runs, self.size, dtype=torch.float64)

    def lower(self, w: Tensor, theta: Tensor) -> Tensor:
        """½wᵀHw - wᵀBθ (R,)."""
        hessian, _, coupling, _ = self._drawn
        hw, force = (hessian @ w[..., None]).squeeze(-1), (coupling @ theta[..., None]).squeeze(-1)
        return (w * (0.5 * hw - force)).sum(-1)

    def upper(self, w: Tensor, theta: Tensor) -> Tensor:
        """½(w - t)ᵀG(w - t) + ½·direct·|θ|² (R,)."""
        _, metric, _, target = self._drawn
        gap = w - target
        return 0.5 * ((metric @ gap[..., None]).squeeze(-1) * gap).sum(
            -1
        ) + 0.5 * self.direct * theta.square().sum(-1)

    def solve(self, theta: Tensor) -> Tensor:
        """H⁻¹Bθ (R, P)."""
        hessian, _, coupling, _ = self._drawn
        return torch.linalg.solve(hessian, coupling @ theta[..., None]).squeeze(-1)
