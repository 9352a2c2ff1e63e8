"""Curvature parameters: c = τ(θ) with θ unconstrained, and τ inverted exactly at the start."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hsac.errors import InputError

TRANSFORMS = ("exp", "softplus", "sigmoid")


@dataclass(frozen=True)
class Transform:
    """τ: θ -> c in the closed interval `bounds`; `kind` is exp, softplus, or sigmoid (onto the
    interval).

    Raises InputError for an unknown kind or bounds that are not 0 < low < high.
    """

    kind: str = "exp"
    bounds: tuple[float, float] = (1e-3, 10.0)

    def __post_init__(self) -> None:
        if self.kind not in TRANSFORMS:
            raise InputError(
                f"curvature transform: found {self.kind!r}, allowed are {', '.join(TRANSFORMS)}"
            )
        low, high = self.bounds
        if not 0 < low < high < math.inf:
            raise InputError(
                f"curvature bounds: found {list(self.bounds)}, allowed are 0 < low < high"
            )

    def __call__(self, theta: Tensor) -> Tensor:
        """c of the same shape as θ."""
        low, high = self.bounds
        if self.kind == "exp":
            return theta.exp()
        if self.kind == "softplus":
            return nn.functional.softplus(theta)
        return low + (high - low) * theta.sigmoid()

    def inverse(self, c: float) -> float:
        """θ with τ(θ) = c. Raises InputError when c is not inside the bounds."""
        low, high = self.bounds
        if not low <= c <= high:
            raise InputError(
                f"curvature: found {c:g}, allowed is {low:g} to {high:g} (key `bounds`)"
            )
        if self.kind == "exp":
            return math.log(c)
        if self.kind == "softplus":
            return c + math.log(-math.expm1(-c))
        share = min(max((c - low) / (high - low), 1e-12), 1 - 1e-12)
        return math.log(share) - math.log1p(-share)

    def to_theta(self, c: Tensor) -> Tensor:
        """θ with τ(θ) = c for a tensor of curvatures, each first pulled into the bounds (infinity
        too).
        """
        low, high = self.bounds
        at = c.double().clamp(low, high)
        if self.kind == "exp":
            theta = at.log()
        elif self.kind == "softplus":
            theta = at + (-torch.expm1(-at)).log()
        else:
            share = ((at - low) / (high - low)).clamp(1e-12, 1 - 1e-12)
            theta = share.log() - torch.log1p(-share)
        return theta.to(c)

    def clamp(self, theta: Tensor) -> Tensor:
        """θ pulled back so that c stays in its bounds."""
        low, high = self.bounds
        return theta.clamp(self.inverse(low), self.inverse(high))


class Curvature(nn.Module):
    """A learnable curvature: `Curvature(0.1)()` is 0.1, a scalar tensor.

    Args: `c` the start value, `transform` and `bounds` as in `Transform`. The parameter is `theta`,
    float64 unless the module is moved, so that the inverse at the start is exact to rounding.
    Raises InputError for c out of bounds.
    """

    def __init__(
        self, c: float, transform: str = "exp", bounds: tuple[float, float] = (1e-3, 10.0)
    ) -> None:
        super().__init__()
        self.transform = Transform(transform, bounds)
        self.theta = nn.Parameter(torch.tensor(self.transform.inverse(c), dtype=torch.float64))

    def forward(self) -> Tensor:
        """The curvature, a scalar tensor."""
        return self.transform(self.theta)
