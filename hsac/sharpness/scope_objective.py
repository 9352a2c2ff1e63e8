"""What a scope objective perturbs: its adversaries and draws at a point (w, θ)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hsac.hypergradient.operator import Loss
from hsac.sharpness.ascent import ascend
from hsac.sharpness.objective import HERE, WITH_ADVERSARY, Perturbation, perturbed_loss
from hsac.sharpness.scope import layer_norm, scope_scale

OVER = ("weights", "curvature", "both")


@dataclass(frozen=True)
class Perturbations:
    """What a scope objective compares.

    Attributes:
        added: Perturbations whose mean loss it is.
        taken: Perturbations whose mean loss is subtracted.
        carried: The adversaries (R, A), to start the next ascent from.
    """

    added: list[Perturbation]
    taken: list[Perturbation]
    carried: Tensor


@dataclass(frozen=True)
class ScopeObjective:
    """A scope objective without its loss.

    Attributes:
        objective: One of `OBJECTIVES`.
        over: What the scope is a ball in: weights, curvature (that is θ) or both together.
        scope: The scale T of the weights' part, euclidean or adaptive. That of θ is 1.
        radius: ρ, in units of the scope's scale.
        per_layer: Whether the radius holds in each parameter tensor.
        ascent_steps: Steps of the ascent, a gradient each.
        live: Whether T moves with the weights in the objective.
        samples: Gaussian draws of the objective mean.
    """

    objective: str
    over: str
    scope: str
    radius: float
    per_layer: bool
    ascent_steps: int
    live: bool
    samples: int

    def find(
        self,
        loss: Loss,
        point: tuple[Tensor, Tensor],
        start: Tensor | None,
        normal: Callable[[], Tensor],
        layers: Sequence[int],
    ) -> Perturbations:
        """Find the perturbations at a point.

        Args:
            loss: The loss that the ascent climbs.
            point: Weights (R, P) and θ (R, C).
            start: The adversaries to start from, as `Perturbations.carried`. None for cold starts.
            normal: Draws standard normals (R, P), for the objective mean.
            layers: Sizes of the parameter tensors that make up w, for `per_layer`.

        Returns:
            The perturbations.
        """
        w, _ = point
        layers = layers if self.per_layer else ()
        if self.objective == "loss":
            return Perturbations([HERE], [], torch.zeros_like(w))
        if self.objective == "mean":
            scale = scope_scale(w, self.scope)
            # with this spread |e/T|² is ρ² on average
            spread = self.radius * scale / layer_norm(torch.ones_like(scale), layers)
            drawn = [self._placed(spread * normal(), w) for _ in range(self.samples)]
            return Perturbations(drawn, [], torch.zeros_like(w))
        up = self._climb(loss, point, start, layers)
        taken = [HERE] if self.objective == "gap" else []
        if self.objective == "range":
            # From the point itself each time: a carried descent would jump over a near minimum.
            down = self._climb(lambda w, t: -loss(w, t), point, None, layers)
            taken = [self._placed(self._lower(loss, point, down), w)]
        return Perturbations([self._placed(up, w)], taken, up)

    def climbed(
        self,
        loss: Loss,
        point: tuple[Tensor, Tensor],
        normal: Callable[[], Tensor],
        layers: Sequence[int],
    ) -> Loss:
        """Build the objective with the perturbations that it has at a minimum.

        At a minimum of the regularised loss the plain loss falls towards 0. A climb from the
        weights themselves therefore goes along -w, which no data decides. A climb of several steps
        begins at a random point of the sphere instead, and at the opposite one. The higher end
        counts.

        Args:
            loss: The loss that the ascent climbs, and that is compared.
            point: Weights (R, P) and θ (R, C).
            normal: Draws standard normals (R, A), of the length that `carried_size` says.
            layers: Sizes of the parameter tensors that make up w, for `per_layer`.

        Returns:
            U, a function of w and θ. The perturbations are constants to it.
        """

        def found(start: Tensor | None) -> Loss:
            places = self.find(loss, point, start, normal, layers)
            return perturbed_loss(loss, places.added, places.taken)

        if self.ascent_steps == 1 or self.objective not in WITH_ADVERSARY:
            return found(None)
        direction = normal()
        start = self.radius * direction / direction.norm(dim=-1, keepdim=True)
        one, other = found(start), found(-start)
        with torch.no_grad():
            higher = one(*point) >= other(*point)
        return lambda w, t: torch.where(higher, one(w, t), other(w, t))

    def carried_size(self, weights: int, thetas: int) -> int:
        """Compute the length A of what is carried to the next ascent.

        Args:
            weights: Number of weights P.
            thetas: Number of curvatures C.

        Returns:
            A.
        """
        if self.objective not in WITH_ADVERSARY:
            return weights
        return {"weights": weights, "curvature": thetas, "both": weights + thetas}[self.over]

    def _climb(
        self, loss: Loss, point: tuple[Tensor, Tensor], start: Tensor | None, layers: Sequence[int]
    ) -> Tensor:
        """Return the adversary, of the coordinates that the scope is over."""
        w, theta = point
        scale = scope_scale(w, self.scope)
        at, whole, sizes = {
            "weights": (w, scale, layers),
            "curvature": (theta, torch.ones_like(theta), ()),
            "both": (
                torch.cat((w, theta), -1),
                torch.cat((scale, torch.ones_like(theta)), -1),
                (*layers, theta.shape[-1]) if layers else (),
            ),
        }[self.over]

        def gradient(at: Tensor) -> tuple[Tensor, Tensor]:
            at = at.detach().requires_grad_()
            value = loss(*self._split(at, w, theta))
            if not value.requires_grad:
                # a loss of frozen curvatures alone, which the scope is over
                return value, torch.zeros_like(at)
            return value.detach(), torch.autograd.grad(value.sum(), at)[0]

        return ascend(gradient, at, whole, self.radius, self.ascent_steps, start, sizes)

    def _lower(self, loss: Loss, point: tuple[Tensor, Tensor], e: Tensor) -> Tensor:
        """Return e in the runs whose loss is lower there than at the point itself, else 0.

        Steps of the ascent end on the sphere, and a minimum's lowest point is inside.
        """
        with torch.no_grad():
            there = loss(*self._placed(e, point[0]).move(*point))
            falls = (there < loss(*point))[:, None]
        return torch.where(falls, e, torch.zeros_like(e))

    def _split(self, at: Tensor, w: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        if self.over == "weights":
            return at, theta
        if self.over == "curvature":
            return w, at
        return at[:, : w.shape[-1]], at[:, w.shape[-1] :]

    def _placed(self, e: Tensor, w: Tensor) -> Perturbation:
        if self.over == "curvature":
            return Perturbation(theta=e)
        weights, theta = e[:, : w.shape[-1]], e[:, w.shape[-1] :]
        if self.live:
            weights = weights / scope_scale(w, self.scope)
        return Perturbation(weights, theta if self.over == "both" else None, self.live)
