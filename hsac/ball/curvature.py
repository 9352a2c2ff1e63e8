"""Curvature parameters: c = τ(θ) with θ unconstrained, and τ inverted exactly at the start."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hsac.errors import InputError

if TYPE_CHECKING:
    from hsac.ball.manifold import LiveBall

TRANSFORMS = ("exp", "softplus", "sigmoid")
HALF = (torch.float16, torch.bfloat16)
# What numbers of a checkpoint may be off by, relatively: one stored in half precision is taken too.
ROUNDED = dict.fromkeys(HALF, 0.04)
EXACT = 1e-6


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
        return theta.clamp(*self.theta_bounds)

    def within(self, c: float, factor: float) -> "Transform":
        """Narrow the bounds to what is within a factor of one curvature.

        A sigmoid then maps onto the narrower interval.

        Args:
            c: The curvature.
            factor: The factor, above 1. Infinity leaves the bounds as they are.

        Returns:
            The transform with bounds max(low, c/factor) and min(high, c·factor).
        """
        low, high = self.bounds
        return Transform(self.kind, (max(low, c / factor), min(high, c * factor)))

    @property
    def theta_bounds(self) -> tuple[float, float]:
        """Return the bounds of θ at which c is at its own."""
        low, high = self.bounds
        return self.inverse(low), self.inverse(high)


class Curvature(nn.Module):
    """A learnable curvature: `Curvature(0.1)()` is 0.1, a scalar tensor.

    c stays in its bounds, whatever optimizer moves θ. Where θ is beyond them, c is at the bound,
    and θ has the gradient that it has there, so that it can come back.

    The state_dict holds the transform and the bounds too, as a tensor. To load a θ of other ones is
    an error, because it would be another curvature.

    Attributes:
        theta: The parameter θ. It is float64 unless the module is moved, so that the inverse at the
            start is exact to rounding. In a model of half precision it is float32: there 0.1 would
            be 0.1006, and small steps would be lost.
        transform: The map from θ to c.
        start: The curvature that it began at.
        learners: How many living `hsac.CurvatureLearner` move θ. Where one does, θ gets no gradient
            of the weights' loss: it is in no optimizer, and would only count in what looks at all
            gradients of a model, such as clipping. Copies of the module start at 0.
        unbounded: Whether θ beyond the bounds counts as it is. It does while a learner looks how
            the loss changes with c.
    """

    learners: int = 0
    unbounded: bool = False

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
        self.transform, self.start = Transform(transform, bounds), c
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
            return self.transform(self.transform.clamp(_without_gradient(theta)))
        if self.unbounded:
            return self.transform(theta)
        # The value of a clamp, with the gradient of the identity: that of a clamp is 0 beyond the
        # bounds, and a θ that a step took there would stay for ever.
        return self.transform(self.transform.clamp(theta).detach() + (theta - theta.detach()))

    def manifold(self) -> "LiveBall":
        """Return the ball of this curvature as a manifold of geoopt.

        It computes c anew at every use, so it follows θ and gradients reach θ. Its sign is
        geoopt's: k = -c. It is a module that contains this one.

        Returns:
            A `geoopt.PoincareBall`. Points on it, `geoopt.ManifoldParameter`, keep their
            coordinates as c moves: once c has grown, `p.proj_()` pulls them back inside.
        """
        # Imported on demand: geoopt takes a second, and training does without it.
        from hsac.ball.manifold import LiveBall

        return LiveBall(self)

    def get_extra_state(self) -> Tensor:
        """Return what gives θ its meaning, as a tensor: some code takes no other values.

        Returns:
            The number of the transform and the two bounds, (3,).
        """
        kind = TRANSFORMS.index(self.transform.kind)
        # also where a model is made on the device meta
        return torch.tensor([kind, *self.transform.bounds], dtype=torch.float64, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Take the transform and the bounds of a state_dict, which are this module's own.

        Args:
            state: What `get_extra_state` returned, (3,). It has been compared already.
        """

    def reset_parameters(self) -> None:
        """Go back to the start, as after `to_empty`."""
        with torch.no_grad():
            self.theta.fill_(self.transform.inverse(self.start))

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, metadata: Any, strict: bool, *lists: list[str]
    ) -> None:
        # Before θ is copied: what is refused changes nothing.
        fault = self._fault_of(state_dict, prefix)
        if fault is not None:
            lists[-1].append(f"curvature {prefix.rstrip('.')!r}: {fault}")
            return
        theta = state_dict.get(f"{prefix}theta")
        if isinstance(theta, Tensor) and theta.dtype in HALF:
            # Loaded with assign=True it would become the parameter.
            state_dict = {**state_dict, f"{prefix}theta": theta.float()}
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, *lists)

    def _fault_of(self, state_dict: Any, prefix: str) -> str | None:
        """Return why this module cannot take its entries of a state_dict, None where it can."""
        own, key, theta = self.get_extra_state(), f"{prefix}_extra_state", f"{prefix}theta"
        given = state_dict.get(theta)
        if not (isinstance(given, Tensor) and given.numel() == 1) or given.is_meta:
            return None  # torch says what is wrong with it
        if not given.isfinite():
            return f"found θ = {float(given):g}; allowed is a finite number"
        if key in state_dict:
            return _difference(state_dict[key], own)
        # A checkpoint of before: what bounds its θ had, is not known.
        c, (low, high) = float(self.transform(given.detach().double())), self.transform.bounds
        loose = ROUNDED.get(given.dtype, EXACT)
        fits = low * (1 - loose) <= c <= high * (1 + loose)
        return None if fits else f"found c = {c:g}; allowed is {low:g} to {high:g}"

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled. No learner moves the copy."""
        return self.__dict__ | {"learners": 0}


def _without_gradient(theta: Tensor) -> Tensor:
    if not (dist.is_available() and dist.is_initialized()):
        return theta.detach()
    # DistributedDataParallel waits for a gradient of every parameter. This one is 0, even where
    # that of c overflowed.
    return torch.where(torch.zeros_like(theta, dtype=torch.bool), theta, theta.detach())


def _difference(found: Any, own: Tensor) -> str | None:
    """Return how an extra state differs from a module's own, None where it does not."""
    if not (isinstance(found, Tensor) and found.shape == own.shape):
        return f"found the extra state {found!r}; allowed is a tensor of three numbers"
    if found.is_meta:
        return None
    loose = ROUNDED.get(found.dtype, EXACT)
    if torch.allclose(found.to(own), own, rtol=loose, atol=0):
        return None
    return f"found the {_named(found)}; allowed is the module's own, the {_named(own)}"


def _named(state: Tensor) -> str:
    """Return a transform and its bounds in words, from an extra state."""
    kind, low, high = state.tolist()
    known = kind in range(len(TRANSFORMS))
    name = TRANSFORMS[int(kind)] if known else f"number {kind:g}"
    return f"transform {name} with bounds {low:g} to {high:g}"
