"""Logistic regression."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import softplus

from hsac.parts import require
from hsac.theory.ground_truth import newton


@dataclass(frozen=True)
class Logistic:
    """Logistic regression with a learned decay, under the held-out loss.

    The decay is exp(θ), one for all weights. Labels are drawn from a logistic model of Gaussian
    features.

    Attributes:
        rows: Training rows, and as many held-out ones.
        size: Features of a row.
        signal: Length of the weights that labels are drawn with.
        runs: Number R of independent problems.
        seed: Seed that they are drawn from.
    """

    rows: int = 40
    size: int = 8
    signal: float = 2.0
    runs: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        for name in ("rows", "size", "runs"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "an integer from 1")
        require(self.signal >= 0, "signal", self.signal, "a number from 0")

    @cached_property
    def _drawn(self) -> tuple[Tensor, Tensor]:
        """Draw features times labels ±1 (R, N, P), for training and held out."""
        g = torch.Generator().manual_seed(self.seed)
        x = torch.randn(self.runs, 2 * self.rows, self.size, generator=g, dtype=torch.float64)
        truth = torch.randn(self.runs, self.size, 1, generator=g, dtype=torch.float64)
        # Scaled to length `signal`, which decides how certain the labels are.
        chance = (self.signal * x @ truth / truth.norm(dim=1, keepdim=True)).sigmoid()
        drawn = torch.rand(chance.shape, generator=g, dtype=torch.float64)
        signed = x * torch.where(drawn < chance, 1.0, -1.0)
        return signed[:, : self.rows], signed[:, self.rows :]

    @property
    def start(self) -> Tensor:
        """Return θ = log 0.01 (R, 1)."""
        return torch.full((self.runs, 1), 0.01, dtype=torch.float64).log()

    @property
    def initial(self) -> Tensor:
        """Return w = 0 (R, P)."""
        return torch.zeros(self.runs, self.size, dtype=torch.float64)

    def lower(self, w: Tensor, theta: Tensor) -> Tensor:
        """Compute the lower level, the mean negative log-likelihood plus ½exp(θ)|w|².

        Args:
            w: Weights (R, P).
            theta: Hyperparameters θ (R, C).

        Returns:
            L (R,), in nats.
        """
        return _nll(self._drawn[0], w) + 0.5 * theta.exp().squeeze(-1) * w.square().sum(-1)

    def upper(self, w: Tensor, theta: Tensor) -> Tensor:
        """Compute the upper level, the mean negative log-likelihood of the held-out rows.

        Args:
            w: Weights (R, P).
            theta: Hyperparameters θ (R, C).

        Returns:
            U (R,), in nats.
        """
        # θ enters, so that its gradient is 0 rather than none
        return _nll(self._drawn[1], w) + 0.0 * theta.sum(-1)

    def solve(self, theta: Tensor) -> Tensor:
        """Solve the lower level by Newton's method.

        Args:
            theta: Hyperparameters θ (R, C).

        Returns:
            w*(θ) (R, P).

        Raises:
            ArithmeticError: It ends at no minimum.
        """
        return newton(self.lower, self.initial, theta)


def _nll(signed: Tensor, w: Tensor) -> Tensor:
    # -log sigmoid(m) without overflow
    return softplus(-(signed @ w[..., None]).squeeze(-1)).mean(-1)
