"""A quadratic with a chosen spectrum."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hsac.parts import require


@dataclass(frozen=True)
class Quadratic:
    """Quadratic levels with a chosen spectrum, coupled linearly to θ.

    L = ½wᵀHw - wᵀBθ and U = ½(w - t)ᵀG(w - t) + ½·direct·|θ|². The eigenvalues of H are spread
    evenly in the logarithm. Those of G go from ½ to 2, in another random basis.

    Attributes:
        mu: Smallest eigenvalue of H, above 0.
        ell: Largest eigenvalue of H.
        size: Number P of weights.
        hyper: Number C of hyperparameters.
        direct: Factor of the term of U in θ alone.
        runs: Number R of independent problems.
        seed: Seed that they are drawn from.
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
        """Draw H and G (R, P, P), B (R, P, C), and t (R, P)."""
        g = torch.Generator().manual_seed(self.seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(self.runs, *shape, generator=g, dtype=torch.float64)

        # Q of a Gaussian matrix is a random orthonormal basis.
        first, second = (torch.linalg.qr(normal(self.size, self.size))[0] for _ in range(2))
        share = torch.linspace(0, 1, self.size, dtype=torch.float64)
        hessian = first @ torch.diag_embed(self.mu * (self.ell / self.mu) ** share) @ first.mT
        # from ½ to 2 in the logarithm
        metric = second @ torch.diag_embed(0.5 * 4**share) @ second.mT
        coupling = normal(self.size, self.hyper)
        return hessian, metric, coupling, normal(self.size)

    @property
    def start(self) -> Tensor:
        """Return θ = 1 (R, C)."""
        return torch.ones(self.runs, self.hyper, dtype=torch.float64)

    @property
    def initial(self) -> Tensor:
        """Return w = 0 (R, P)."""
        return torch.zeros(self.runs, self.size, dtype=torch.float64)

    def lower(self, w: Tensor, theta: Tensor) -> Tensor:
        """Compute the lower level ½wᵀHw - wᵀBθ.

        Args:
            w: Weights (R, P).
            theta: Hyperparameters θ (R, C).

        Returns:
            L (R,).
        """
        hessian, _, coupling, _ = self._drawn
        hw, force = (hessian @ w[..., None]).squeeze(-1), (coupling @ theta[..., None]).squeeze(-1)
        return (w * (0.5 * hw - force)).sum(-1)

    def upper(self, w: Tensor, theta: Tensor) -> Tensor:
        """Compute the upper level ½(w - t)ᵀG(w - t) + ½·direct·|θ|².

        Args:
            w: Weights (R, P).
            theta: Hyperparameters θ (R, C).

        Returns:
            U (R,).
        """
        _, metric, _, target = self._drawn
        gap = w - target
        distance = ((metric @ gap[..., None]).squeeze(-1) * gap).sum(-1)
        return 0.5 * distance + 0.5 * self.direct * theta.square().sum(-1)

    def solve(self, theta: Tensor) -> Tensor:
        """Solve the lower level.

        Args:
            theta: Hyperparameters θ (R, C).

        Returns:
            w*(θ) = H⁻¹Bθ (R, P).
        """
        hessian, _, coupling, _ = self._drawn
        return torch.linalg.solve(hessian, coupling @ theta[..., None]).squeeze(-1)
