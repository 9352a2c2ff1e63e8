"""Curvature parameters: c = τ(θ) with θ unconstrained, and τ inverted exactly at the start."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hsac.errors import InputError

TRANSFORMS = ("exp", "softplus", "sigmoid")
HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Transform:
    """A map τ from unconstrained θ to curvatures c.

    Attributes:
        kind: exp and softplus are unbounded by themselves. sigmoid maps onto the interval.
        bounds: Closed interval that `clamp` and `to_theta` keep c in.
    """

    kind: str = "exp"
    # Nearer to 0 derivatives in c lose their accuracy in float32, mixed ones first.
    bounds: tuple[float, float] = (1e-3, 10.0)

    def __post_init__(self) -> None:
        """Refuse an unknown kind and bounds that are not 0 < low < high.

        Raises:
            InputError: See above.
        """
        if self.kind not in TRANSFORMS:
            raise InputError(
                f"curvature transform: found {self.kind!r}, allowed are {', '.join(TRANSFORMS)}"
            )
        low, high = self.bounds
        # written so that NaN is refused, too
        if not 0 < low < high < math.inf:
            raise InputError(
                f"curvature bounds: found {list(self.bounds)}, allowed are 0 < low < high"
            )

    def __call__(self, theta: Tensor) -> Tensor:
        """Map θ to curvatures.

        Args:
            theta: Any shape.

        Returns:
            c = τ(θ), of the same shape.
        """
        low, high = self.bounds
        if self.kind == "exp":
            return theta.exp()
        if self.kind == "softplus":
            return nn.functional.softplus(theta)
        return low + (high - low) * theta.sigmoid()

    def inverse(self, c: float) -> float:
        """Invert τ at one curvature.

        Args:
            c: A curvature.

        Returns:
            θ with τ(θ) = c.

        Raises:
            InputError: c is not inside the bounds.
        """
        low, high = self.bounds
        if not low <= c <= high:
            raise InputError(
                f"curvature: found {c:g}, allowed is {low:g} to {high:g} (key `bounds`)"
            )
        if self.kind == "exp":
            return math.log(c)
        if self.kind == "softplus":
            # log(exp(c) - 1) without overflow at large c and without cancellation at small c
            return c + math.log(-math.expm1(-c))
        # at the bounds θ would be infinite, and no step could leave them again
        share = min(max((c - low) / (high - low), 1e-12), 1 - 1e-12)
        return math.log(share) - math.log1p(-share)

    def to_theta(self, c: Tensor) -> Tensor:
        """Invert τ at a tensor of curvatures.

        Args:
            c: Curvatures of any shape. Each is first pulled into the bounds, infinity too.

        Returns:
            θ with τ(θ) = c, of the same shape.
        """
        low, high = self.bounds
        # in float64, as `inverse` computes
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
        """Pull θ back so that c stays in its bounds.

        Args:
            theta: Any shape.

        Returns:
            θ within the bounds, of the same shape.
        """
        low, high = self.bounds
        return theta.clamp(self.inverse(low), self.inverse(high))


class Curvature(nn.Module):
    """A learnable curvature: `Curvature(0.1)()` is 0.1, a scalar tensor.

    Attributes:
        theta: The parameter θ. It is float64 unless the module is moved, so that the inverse at the
            start is exact to rounding. In a model of half precision it is float32: there 0.1 would
            be 0.1006, and small steps would be lost.
        transform: The map from θ to c.
        learners: How many living `hsac.CurvatureLearner` move θ. Where one does, θ gets no gradient
            of the weights' loss: it is in no optimizer, and would only count in what looks at all
            gradients of a model, such as clipping. Copies of the module start at 0.
    """

    learners: int = 0

    def __init__(
        self, c: float, transform: str = "exp", bounds: tuple[float, float] = (1e-3, 10.0)
    ) -> None:
        """Start at a curvature.

        Args:
            c: The start value.
            transform: exp, softplus or sigmoid, as in `Transform`.
            bounds: Closed interval of c.

        Raises:
            InputError: c is out of bounds, the transform unknown, or the bounds not 0 < low < high.
        """
        super().__init__()
        self.transform = Transform(transform, bounds)
        self.theta = nn.Parameter(torch.tensor(self.transform.inverse(c), dtype=torch.float64))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Curvature":
        # Of `half` and `bfloat16`, the device alone is obeyed.
        def moved(t: Tensor) -> Tensor:
            found = fn(t)
            return t.to(found.device, torch.float32) if found.dtype in HALF else found

        super()._apply(moved, recurse)
        return self

    def forward(self) -> Tensor:
        """Return the curvature.

        Returns:
            c, a scalar tensor. Gradients reach θ unless a `hsac.CurvatureLearner` moves it.
        """
        theta = self.theta
        # In the place of the parameter, functional calls put tensors whose gradient is asked for,
        # the learner's own among them.
        if self.learners and isinstance(theta, nn.Parameter):
            return self.transform(_without_gradient(theta))
        return self.transform(theta)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled. No learner moves the copy."""
        return self.__dict__ | {"learners": 0}


def _without_gradient(theta: Tensor) -> Tensor:
    if not (dist.is_available() and dist.is_initialized()):
        return theta.detach()
    # DistributedDataParallel waits for a gradient of every parameter. This one is 0, even where
    # that of c overflowed.
    return torch.where(torch.zeros_like(theta, dtype=torch.bool), theta, theta.detach())
