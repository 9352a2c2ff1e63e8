"""One-step approximation: H ≈ 1/scale."""

from dataclasses import dataclass

from torch import Tensor

from hsac.hypergradient.operator import HessianOperator
from hsac.hypergradient.solution import Solution, relative_residual
from hsac.parts import require


@dataclass(frozen=True)
class Identity:
    """x = scale·v, no inverse at all: the baseline of the others.

    This is T1-T2 (Luketina et al., ICML 2016).

    Attributes:
        scale: Stands in for H⁻¹.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.scale > 0, "scale", self.scale, "a number above 0")

    def solve(self, hessian: HessianOperator, v: Tensor, state: dict[str, Tensor]) -> Solution:
        """Spend one product, for the residual.

        Args:
            hessian: The operator H at the point of the solve.
            v: Right-hand side (R, P).
            state: `Solution.state` of the previous call, {} at first.

        Returns:
            The solution.
        """
        x = self.scale * v
        return Solution(x, 1, relative_residual(hessian(x), v))
