"""One product a training step, the solution kept between them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hsac.hypergradient.operator import HessianOperator, norm
from hsac.hypergradient.solution import GROWTH, Solution, relative_residual
from hsac.parts import require


@dataclass(frozen=True)
class Amortised:
    """x ← x - a(Hx - v), carried on instead of started afresh (SOBA: Dagréou et al., NeurIPS 2022).

    One product an outer step and one every training step between them, there with v as it last was.
    After n products at a fixed point the error is at most (1 - aμ)^n times the first one's, a =
    min(1, safety/|H|) from a power iteration carried along. Runs whose residual passes GROWTH are
    marked as failed and start afresh from x = av.
    """

    safety: float = 0.9

    def __post_init__(self) -> None:
        require(0 < self.safety <= 1, "safety", self.safety, "a number in (0, 1]")

    def solve(self, hessian: HessianOperator, v: Tensor, state: dict[str, Tensor]) -> Solution:
        """One product, and those of the power iteration. The residual is that of the x it starts
        from.
        """
        before = hessian.products
        largest, power = hessian.power(state.get("power", v))
        a = (self.safety / largest).clamp(max=1.0)
        x = (
            state["x"] * (norm(v) / norm(state["v"])) if "x" in state else a * v
        )  # v shrinks as training goes on
        return self._advance(hessian, v, x, a, power, before)

    def track(self, hessian: HessianOperator, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """One product towards the last outer step's v, with the step that was safe there."""
        return self._advance(
            hessian, state["v"], state["x"], state["step"], state["power"], 0
        ).state

    def _advance(
        self, hessian: HessianOperator, v: Tensor, x: Tensor, a: Tensor, power: Tensor, before: int
    ) -> Solution:
        hx = hessian(x)
        residual = relative_residual(hx, v)
        failed = ~(residual <= GROWTH)
        x = x - a * (hx - v)
        carried = {"x": torch.where(failed[:, None], a * v, x), "v": v, "step": a, "power": power}
        return Solution(x, hessian.products - before, residual, carried, failed)
