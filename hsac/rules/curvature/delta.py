"""Curvature from the δ-hyperbolicity of the features."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hsac.ball.hyperbolicity import relative_hyperbolicity
from hsac.parts import require
from hsac.rules.types import State, Step

OF_THE_BALL = 0.144  # δ_rel of the Poincaré ball of curvature -1 as far as float32 reaches (Khrulkov et al., § 3)


@dataclass(frozen=True)
class Delta:
    """c = (0.144/δ_rel)², measured once after `warm_up` (Khrulkov et al., CVPR 2020).

    δ_rel is that of the tangent features of `sample` training examples under the Euclidean
    distance, exact on these (they took a single base point). All curvatures of a network take the
    one value, pulled into their bounds: features that lie on a tree (δ_rel = 0) take the upper one.
    Features that are not finite, or all one point, say nothing, and c stays.
    """

    sample: int = 100
    warm_up: float = 0.1
    geometry: ClassVar[str] = "hyperbolic"
    needs_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.sample >= 4, "sample", self.sample, "an integer from 4")
        require(0 <= self.warm_up < 1, "warm_up", self.warm_up, "a share of training in [0, 1)")

    def init(self, theta: Tensor) -> State:
        """Not measured yet."""
        return {"measured": False}

    def update(
        self, theta: Tensor, state: State, step: Step
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """θ of the measured c, once."""
        if state["measured"] or step.index < self.warm_up * step.total:
            return theta, state, {}
        distance = torch.stack([pairwise_distance(points) for points in self._points(step)])
        usable = (distance.isfinite().all(-1).all(-1) & (distance.amax((-2, -1)) > 0))[:, None]
        c = (OF_THE_BALL / relative_hyperbolicity(distance)).square()[:, None].expand_as(theta)
        return torch.where(usable, step.to_theta(c.to(theta)), theta), {"measured": True}, {}

    def _points(self, step: Step) -> Tensor:
        """Features (R, at most `sample`, d) in float64: batches until there are enough, spread
        evenly over them.
        """
        batches = [step.features()]
        batches += [step.features() for _ in range(-(-self.sample // batches[0].shape[1]) - 1)]
        points = torch.cat(batches, 1).double()
        rows = torch.linspace(0, points.shape[1] - 1, min(points.shape[1], self.sample)).long()
        return points[:, rows.to(points.device)]


def pairwise_distance(points: Tensor) -> Tensor:
    """Euclidean distances (N, d) -> (N, N), exact for near points too (no difference of squares)."""
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
