"""Ridge regression."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hsac.parts import require


@dataclass(frozen=True)
class Ridge:
    """Ridge regression with learned decays, under the held-out loss.

    Each group of features has a decay exp(θ). Features are Gaussian. Only the first half of them
    carries the signal, so that the groups want different decays.

    Attributes:
        rows: Training rows, and as many held-out ones.
        size: Features of a row.
        groups: Groups of features, each with a θ.
        narrowest: Scale of the last feature. Scales fall from 1 to it.
        noise: Standard deviation of the targets' noise.
        runs: Number R of independent problems.
        seed: Seed that they are drawn from.
    """

    rows: int = 40
    size: int = 10
    groups: int = 2
    narrowest: float = 0.3
    noise: float = 0.5
    runs: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        for name in ("rows", "size", "runs"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "an integer from 1")
        ok = 1 <= self.groups <= self.size
        require(ok, "groups", self.groups, f"an integer from 1 to size, {self.size}")
        require(0 < self.narrowest <= 1, "narrowest", self.narrowest, "a number in (0, 1]")
        require(self.noise >= 0, "noise", self.noise, "a number from 0")

    @cached_property
    def _drawn(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Draw features (R, N, P) and targets (R, N), for training and held out."""
        g = torch.Generator().manual_seed(self.seed)
        scales = self.narrowest ** torch.linspace(0, 1, self.size, dtype=torch.float64)

        def normal(*shape: int) -> Tensor:
            return torch.randn(self.runs, *shape, generator=g, dtype=torch.float64)

        x = scales * normal(2 * self.rows, self.size)
        truth = normal(self.size, 1)
        # only the first half carries the signal, so that the groups want different decays
        truth[:, (self.size + 1) // 2 :] = 0
        noise = self.noise * normal(2 * self.rows)
        y = (x @ truth).squeeze(-1) + noise
        return (x[:, : self.rows], y[:, : self.rows]), (x[:, self.rows :], y[:, self.rows :])

    @property
    def start(self) -> Tensor:
        """Return θ = log 0.1 (R, groups)."""
        return torch.full((self.runs, self.groups), 0.1, dtype=torch.float64).log()

    @property
    def initial(self) -> Tensor:
        """Return w = 0 (R, P)."""
        return torch.zeros(self.runs, self.size, dtype=torch.float64)

    def _decay(self, theta: Tensor) -> Tensor:
        # The group of each feature: neighbours, in groups as even as can be.
        return theta.exp()[:, torch.arange(self.size) * self.groups // self.size]

    def lower(self, w: Tensor, theta: Tensor) -> Tensor:
        """Compute the lower level, half the mean squared error plus ½ Σ exp(θ)w².

        Args:
            w: Weights (R, P).
            theta: Hyperparameters θ (R, C).

        Returns:
            L (R,).
        """
        return _half_squares(*self._drawn[0], w) + 0.5 * (self._decay(theta) * w * w).sum(-1)

    def upper(self, w: Tensor, theta: Tensor) -> Tensor:
        """Compute the upper level, half the mean squared error of the held-out rows.

        Args:
            w: Weights (R, P).
            theta: Hyperparameters θ (R, C).

        Returns:
            U (R,).
        """
        # θ enters, so that its gradient is 0 rather than none
        return _half_squares(*self._drawn[1], w) + 0.0 * theta.sum(-1)

    def solve(self, theta: Tensor) -> Tensor:
        """Solve the lower level by the normal equations.

        Args:
            theta: Hyperparameters θ (R, C).

        Returns:
            w*(θ) (R, P).
        """
        x, y = self._drawn[0]
        # Divided by the rows, because L has the mean of the squares.
        gram = x.mT @ x / self.rows + torch.diag_embed(self._decay(theta))
        return torch.linalg.solve(gram, x.mT @ y[..., None] / self.rows).squeeze(-1)


def _half_squares(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    return 0.5 * ((x @ w[..., None]).squeeze(-1) - y).square().mean(-1)
