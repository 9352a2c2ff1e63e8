"""Curvature learned, with the points of the ball carried along."""

from dataclasses import dataclass
from typing import ClassVar

from hsac.rules.curvature.learned import Learned


@dataclass(frozen=True)
class Reparametrised(Learned):
    """`learned`, and whenever c moves, parameters that are points go over to the new ball.

    The curvature-aware step of Bdeir et al. (arXiv:2405.13979), in the Poincaré ball in place of
    their hyperboloid. After the weights' step, which is taken at the old c, and that of c:

    - A parameter that is a point goes to expmap0(logmap0(p, old c), new c). So it keeps its
      direction and its distance from the origin. Such are the parameters that a head names in
      `points`: p of `geoopt_mlr`.
    - Under `riemannian_adam` the first moment of such a parameter, a tangent vector there, is
      carried by parallel transport to the origin of the old ball and from that of the new one. The
      second moment rests: it is made of squared lengths, which transport keeps. Moments of other
      weight rules are no tangent vectors, and rest.
    - Everything else rests: weights, biases and normals of hyperplanes. Most models here keep their
      parameters as tangent vectors at the origin, for which the step is the identity.

    So with a head without points the rule is `learned`. That θ moves by an Adam of its own is as in
    the authors' code, where the curvatures are a parameter group apart. There they are the
    parameter itself, here it is θ.

    Attributes:
        lr: Learning rate of Adam on θ.
        warm_up: Share of training before the first step, in [0, 1).
    """

    # The fields are those of `Learned`. They stand here because parameters are read from the file.
    lr: float = 0.01
    warm_up: float = 0.0
    geometry: ClassVar[str] = "hyperbolic"
    needs_gradient: ClassVar[bool] = True
    carries_points: ClassVar[bool] = True
