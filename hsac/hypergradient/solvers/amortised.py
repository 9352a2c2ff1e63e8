"""Spend one product a training step, and keep the solution between steps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hsac.hypergradient.operator import HessianOperator, norm
from hsac.hypergradient.solution import GROWTH, Solution, relative_residual
from hsac.parts import require


@dataclass(frozen=True)
class Amortised:
    """One product a training step, the solution kept between steps.

    x ← x - a(Hx - v), carried on between steps (SOBA: Dagréou et al., NeurIPS 2022). An outer step
    spends one product. So does every training step between two of them, there with v as it last
    was. After n products at a fixed point the error is at most (1 - aμ)^n times the first one's,
    with a = min(1, safety/|H|) from a power iteration that is carried along. Runs whose residual
    passes GROWTH are marked as failed and start afresh from x = av.

    Attributes:
        safety: Share of the largest stable step that is taken, in (0, 1].
    """

    safety: float = 0.9

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(0 < self.safety <= 1, "safety", self.safety, "a number in (0, 1]")

    def solve(self, hessian: HessianOperator, v: Tensor, state: dict[str, Tensor]) -> Solution:
        """Spend one product, and those of the power iteration.

        Args:
            hessian: The operator H at the point of the solve.
            v: Right-hand side (R, P).
            state: `Solution.state` of the previous call, {} at first.

        Returns:
            The solution. Its residual is that of the x it started from.
        """
        before = hessian.products
        largest, power = hessian.power(state.get("power", v))
        # Where H is about 0 the step would have no bound.
        a = (self.safety / largest).clamp(max=1.0)
        # v shrinks as training goes on, and the solution with it
        x = state["x"] * (norm(v) / norm(state["v"])) if "x" in state else a * v
        return self._advance(hessian, v, x, a, power, before)

    def track(self, hessian: HessianOperator, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Spend one product towards the last outer step's v, with the step that was safe there.

        Args:
            hessian: The operator H at the present point.
            state: The state from the previous call.

        Returns:
            The new state.
        """
        v, x, a, power = (state[name] for name in ("v", "x", "step", "power"))
        # Only the state is used, so the count of products does not matter.
        return self._advance(hessian, v, x, a, power, 0).state

    def _advance(
        self, hessian: HessianOperator, v: Tensor, x: Tensor, a: Tensor, power: Tensor, before: int
    ) -> Solution:
        hx = hessian(x)
        residual = relative_residual(hx, v)
        failed = ~(residual <= GROWTH)  # NaN fails, too
        x = x - a * (hx - v)
        # a run that failed starts afresh, but returns the x it has
        carried = {"x": torch.where(failed[:, None], a * v, x), "v": v, "step": a, "power": power}
        return Solution(x, hessian.products - before, residual, carried, failed)
