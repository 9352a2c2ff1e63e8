"""The sphere of curvature c, in the ball's terms: tangent vectors at the origin, and c from 0.

It is the ball of curvature -c with sines in place of hyperbolic sines, and the same space at c = 0.
With κ = c these are the positive curvatures of Bachmann, Bécigneul, Ganea, "Constant Curvature
Graph Convolutional Networks" (ICML 2020). A tangent vector at the origin is twice its length away,
as on the ball, so that its antipode is at the length π/(2√c). Longer vectors go on around the
sphere.
"""

import torch
from torch import Tensor

from hsac.ball.inputs import check_scalar, full_precision
from hsac.ball.maps import safe_norm, squared_norm
from hsac.ball.series import asinc, cosr, sinc


@full_precision
def spherical_mlr_logits_tangent(u: Tensor, z: Tensor, r: Tensor, c: Tensor) -> Tensor:
    """Compute the logits of multinomial logistic regression on the sphere.

    They are 2|z| times the signed distance of a point from the great sphere at right angles to z at
    the distance 2r from the origin (Bachmann et al. 2020, their κ-logits in the unidirectional form
    of Shimizu et al. 2021). At c = 0 this is 4(⟨u, z⟩ - r|z|).

    The distance has a kink at the two poles, the points that are farthest from the great sphere.
    There its derivative is taken as 0.

    Args:
        u: Tangent vectors at the origin (B, d).
        z: Normals (K, d).
        r: Offsets (K,).
        c: Curvature, a scalar from 0.

    Returns:
        Logits (B, K).
    """
    check_scalar("c", c)
    length = safe_norm(z)
    of_u, of_r = 4 * c * squared_norm(u), 4 * c * r * r
    # The point on the sphere of radius 1/√c is (cos, √c · scaled)/√c. With the unit normal of the
    # great sphere its product is √c t, and the arcsine of that the angle between them.
    scaled, cos = 2 * sinc(of_u) * u, cosr(of_u)
    normals = z * (cosr(of_r)[:, None] / length)
    t = torch.addmm(cos @ (-2 * r * sinc(of_r))[None], scaled, normals.mT)
    return 2 * length.squeeze(-1) * t * asinc(c * t * t)
