"""The ball as a manifold of geoopt, at a curvature that moves."""

from typing import TYPE_CHECKING

from torch import Tensor

from hsac import imports

if TYPE_CHECKING:
    from hsac.ball.curvature import Curvature

with imports.quiet():
    import geoopt


class LiveBall(geoopt.PoincareBall):
    """geoopt's Poincaré ball whose c is asked of a `Curvature` at every use.

    `geoopt.PoincareBall(c)` keeps a copy of what it is given: it would stay where c was, and no
    gradient would reach θ.

    Attributes:
        curvature: The module, which is part of this one.
    """

    def __init__(self, curvature: "Curvature") -> None:
        """Hold a curvature.

        Args:
            curvature: The module that gives c.
        """
        # geoopt's own would make a parameter of a number.
        super(geoopt.Stereographic, self).__init__()
        self.curvature = curvature

    @property
    def c(self) -> Tensor:
        """Return the curvature's present c, a scalar. `k` is -c."""
        return self.curvature()
