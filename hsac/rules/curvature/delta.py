"""Curvature from the δ-hyperbolicity of the features."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hsac.ball.hyperbolicity import relative_hyperbolicity
from hsac.parts import require
from hsac.rules.types import State, Step

# δ_rel of the Poincaré ball of curvature -1 as far as float32 reaches (Khrulkov et al., section 3).
OF_THE_BALL = 0.144


@dataclass(frozen=True)
class Delta:
    """c from the δ-hyperbolicity of features, measured once.

    c = (0.144/δ_rel)² after Khrulkov et al. (CVPR 2020). δ_rel is that of tangent features under
    the Euclidean distance. It is exact on the sample, where the authors took a single base point.
    All curvatures of a network take the one value, pulled into their bounds, so features that lie
    on a tree (δ_rel = 0) take the upper one. Features that are not finite, or all one point, leave
    c as it is.

    Attributes:
        sample: Training examples whose features are measured, at least 4.
        warm_up: Share of training before the measurement, in [0, 1).
    """

    sample: int = 100
    warm_up: float = 0.1
    geometry: ClassVar[str] = "hyperbolic"
    needs_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        # δ is defined by four points.
        require(self.sample >= 4, "sample", self.sample, "an integer from 4")
        require(0 <= self.warm_up < 1, "warm_up", self.warm_up, "a share of training in [0, 1)")

    def init(self, theta: Tensor) -> State:
        """Return the state of a rule that has not measured yet.

        Args:
            theta: Unconstrained curvatures θ (R, C).

        Returns:
            The state.
        """
        return {"measured": False}

    def update(
        self, theta: Tensor, state: State, step: Step
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """Set θ to that of the measured c, once.

        Args:
            theta: Unconstrained curvatures θ (R, C).
            state: The state from `init` or the previous call.
            step: The training step that has just been taken.

        Returns:
            The new θ (R, C), the new state, and the log.
        """
        if state["measured"] or step.index < self.warm_up * step.total:
            return theta, state, {}
        distance = torch.stack([pairwise_distance(points) for points in self._points(step)])
        finite = distance.isfinite().all(-1).all(-1)
        usable = (finite & (distance.amax((-2, -1)) > 0))[:, None]
        # δ_rel = 0 gives infinity, which `to_theta` pulls down to the upper bound.
        c = (OF_THE_BALL / relative_hyperbolicity(distance)).square()[:, None].expand_as(theta)
        return torch.where(usable, step.to_theta(c.to(theta)), theta), {"measured": True}, {}

    def _points(self, step: Step) -> Tensor:
        """Return features (R, at most `sample`, d), float64, spread evenly over enough batches."""
        # the size of a batch of features is known only once there is one
        batches = [step.features()]
        # -(-a // b) rounds up. One batch is there already.
        batches += [step.features() for _ in range(-(-self.sample // batches[0].shape[1]) - 1)]
        points = torch.cat(batches, 1).double()
        rows = torch.linspace(0, points.shape[1] - 1, min(points.shape[1], self.sample)).long()
        return points[:, rows.to(points.device)]


def pairwise_distance(points: Tensor) -> Tensor:
    """Compute Euclidean distances, exact for near points too (no difference of squares).

    Args:
        points: Points (N, d).

    Returns:
        Distances (N, N).
    """
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
