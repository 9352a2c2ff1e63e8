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
    """Logistic regression with decay exp(θ), one θ; U is the held-out loss.

    `rows` training and as many held-out rows of `size` Gaussian features, labels drawn from a
    logistic model whose weights have length `signal`.
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
        """Features times labels ±1 (R, N, P), for training and held out."""
        g = torch.Generator().manual_seed(self.seed)
        x = torch.randn(self.runs, 2 * self.rows, self.size, generator=g, dtype=torch.float64)
        truth = torch.randn(self.runs, self.size, 1, generator=g, dtype=torch.float64)
        chance = (self.signal * x @ truth / truth.norm(dim=1, keepdim=True)).sigmoid()
        label = torch.where(
            torch.rand(chance.shape, generator=g, dtype=torch.float64) < chance, 1.0, -1.0
        )
        signed = x * label
        return signed[:, : self.rows], signed[:, self.rows :]

    @property
    def start(self) -> Tensor:
        """θ = log 0.01 (R, 1)."""
        return torch.full((self.runs, 1), 0.01, dtype=torch.float64).log()

    @property
    def initial(self) -> Tensor:
        """w = 0 (R, P)."""
        return torch.zeros(self.runs, self.size, dtype=torch.float64)

    def lower(self, w: Tensor, theta: Tensor) -> Tensor:
        """Mean negative log-likelihood in nats, and ½exp(θ)|w|² (R,)."""
        return _nll(self._drawn[0], w) + 0.5 * theta.exp().squeeze(-1) * w.square().sum(-1)

    def upper(self, w: Tensor, theta: Tensor) -> Tensor:
        """Mean negative log-likelihood of the held-out rows, nats (R,)."""
        return _nll(self._drawn[1], w) + 0.0 * theta.sum(-1)

    def solve(self, theta: Tensor) -> Tensor:
        """By Newton's method (R, P); ArithmeticError where it fails."""
        return newton(self.lower, self.initial, theta)


def _nll(signed: Tensor, w: Tensor) -> Tensor:
    return softplus(-(signed @ w[..., None]).squeeze(-1)).mean(-1)
