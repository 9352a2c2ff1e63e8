"""The laws of a gyrovector space, for the maps that they hold of (Ungar 2008).

They are those that geoopt's own suite checks of its maps, and a few more.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hsac import ball

CURVATURES = (1e-6, 0.05, 0.3, 1.0, 5.0)
DTYPES = (torch.float32, torch.float64)
TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-10}
LAWS = settings(max_examples=25, deadline=None)
# Length of tangent vectors in units of 1/√c, at most. Sums of five points then have digits left in
# float32, whose rounding grows as exp(2·length).
RADIUS = 0.8

every = pytest.mark.parametrize("c", CURVATURES)
both = pytest.mark.parametrize("dtype", DTYPES)
directions = st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(
    lambda v: sum(a * a for a in v) > 1e-2
)
lengths = st.floats(0.01, RADIUS)
factors = st.floats(-2, 2).filter(lambda r: abs(r) > 1e-2)
vectors = st.tuples(directions, lengths)


class Space:
    """The ball of one curvature and type, in which laws are checked."""

    def __init__(self, c: float, dtype: torch.dtype) -> None:
        self.c, self.dtype = torch.tensor(c, dtype=dtype), dtype

    def tangent(self, drawn: tuple[list[float], float]) -> Tensor:
        """A tangent vector at the origin."""
        direction, length = drawn
        v = torch.tensor(direction, dtype=torch.float64)
        return (v / v.norm() * length / self.c.double().sqrt()).to(self.dtype)

    def point(self, drawn: tuple[list[float], float]) -> Tensor:
        return ball.expmap0(self.tangent(drawn), self.c)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return ball.mobius_add(x, y, self.c)

    def times(self, r: float, x: Tensor) -> Tensor:
        return ball.mobius_scalar_mul(torch.tensor(r, dtype=self.dtype), x, self.c)

    def gyration(self, a: Tensor, b: Tensor, v: Tensor) -> Tensor:
        """gyr[a, b]v = ⊖(a ⊕ b) ⊕ (a ⊕ (b ⊕ v))."""
        return self.add(-self.add(a, b), self.add(a, self.add(b, v)))

    def transport(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Parallel transport from x to y along their geodesic, (λ_x/λ_y) gyr[y, ⊖x]v."""
        share = ball.conformal_factor(x, self.c) / ball.conformal_factor(y, self.c)
        # a gyration is linear, and its formula wants points: v is made one and unmade
        short = 0.1 * v / (v.norm() * self.c.sqrt())
        return share * self.gyration(y, -x, short) * v.norm() * self.c.sqrt() / 0.1

    def same(self, found: Tensor, want: Tensor, slack: float = 1.0) -> None:
        """Assert equality in units of the ball's radius."""
        root = self.c.sqrt()
        tolerance = slack * TOLERANCE[self.dtype]
        torch.testing.assert_close(root * found, root * want, rtol=tolerance, atol=tolerance)


@every
@both
@LAWS
@given(x=vectors, y=vectors)
def test_left_cancellation(c: float, dtype: torch.dtype, x, y) -> None:
    s = Space(c, dtype)
    a, b = s.point(x), s.point(y)
    s.same(s.add(-a, s.add(a, b)), b)


@every
@both
@LAWS
@given(x=vectors)
def test_origin_is_neutral(c: float, dtype: torch.dtype, x) -> None:
    """0 ⊕ x = x = x ⊕ 0, and ⊖x ⊕ x = 0."""
    s = Space(c, dtype)
    a = s.point(x)
    zero = torch.zeros_like(a)
    s.same(s.add(zero, a), a)
    s.same(s.add(a, zero), a)
    s.same(s.add(-a, a), zero)


@every
@both
@LAWS
@given(x=vectors, y=vectors, z=vectors)
def test_gyration_is_a_rotation(c: float, dtype: torch.dtype, x, y, z) -> None:
    """It keeps norms and sums, and a ⊕ b = gyr[a, b](b ⊕ a)."""
    s = Space(c, dtype)
    a, b, v = s.point(x), s.point(y), s.point(z)
    turned = s.gyration(a, b, v)
    s.same(turned.norm(), v.norm(), 5)
    s.same(s.gyration(a, b, s.add(b, a)), s.add(a, b), 5)
    s.same(s.gyration(a, b, s.add(v, b)), s.add(turned, s.gyration(a, b, b)), 10)


@every
@both
@LAWS
@given(x=vectors, y=vectors, z=vectors)
def test_left_and_right_loop_property(c: float, dtype: torch.dtype, x, y, z) -> None:
    """gyr[a ⊕ b, b] = gyr[a, b] = gyr[a, b ⊕ a]."""
    s = Space(c, dtype)
    a, b, v = s.point(x), s.point(y), s.point(z)
    want = s.gyration(a, b, v)
    s.same(s.gyration(s.add(a, b), b, v), want, 20)
    s.same(s.gyration(a, s.add(b, a), v), want, 20)


@every
@both
@LAWS
@given(x=vectors, r=factors, t=factors)
def test_left_distributivity(c: float, dtype: torch.dtype, x, r: float, t: float) -> None:
    """(r + t) ⊗ x = r ⊗ x ⊕ t ⊗ x."""
    s = Space(c, dtype)
    a = s.point(x)
    # 2 ⊗ x may be near the boundary, where a sum in float32 has few digits
    s.same(s.add(s.times(r / 2, a), s.times(t / 2, a)), s.times((r + t) / 2, a))


@every
@both
@LAWS
@given(x=vectors, r=factors, t=factors)
def test_scalar_associativity(c: float, dtype: torch.dtype, x, r: float, t: float) -> None:
    """(rt) ⊗ x = r ⊗ (t ⊗ x)."""
    s = Space(c, dtype)
    a = s.point(x)
    s.same(s.times(r, s.times(t / 2, a)), s.times(r * t / 2, a))


@every
@both
@LAWS
@given(x=vectors, r=factors)
def test_scaling_keeps_the_direction(c: float, dtype: torch.dtype, x, r: float) -> None:
    """|r| ⊗ x/|r ⊗ x| = x/|x|, and n ⊗ x is a sum of n."""
    s = Space(c, dtype)
    a = s.point(x)
    unit = torch.nn.functional.normalize
    found = unit(s.times(abs(r), a), dim=0)
    torch.testing.assert_close(found, unit(a, dim=0), rtol=1e-5, atol=1e-6)
    half = s.times(1 / 3, a)
    s.same(s.add(s.add(half, half), half), a)
    s.same(s.times(-1.0, a), -a)


@every
@both
@LAWS
@given(x=vectors, y=vectors)
def test_exp_and_log_are_inverse(c: float, dtype: torch.dtype, x, y) -> None:
    s = Space(c, dtype)
    a, b, u = s.point(x), s.point(y), s.tangent(x)
    s.same(ball.logmap0(ball.expmap0(u, s.c), s.c), u)
    s.same(ball.expmap(a, ball.logmap(a, b, s.c), s.c), b, 5)
    zero = torch.zeros_like(a)
    s.same(ball.expmap(zero, u, s.c), ball.expmap0(u, s.c))
    s.same(ball.logmap(zero, a, s.c), ball.logmap0(a, s.c))
    tangent = s.tangent(y) / ball.conformal_factor(a, s.c)
    s.same(ball.logmap(a, ball.expmap(a, tangent, s.c), s.c), tangent, 20)


@every
@both
@LAWS
@given(x=vectors, y=vectors, z=vectors)
def test_distance_is_an_invariant_metric(c: float, dtype: torch.dtype, x, y, z) -> None:
    """Symmetric, with the triangle inequality, and kept by translations."""
    s = Space(c, dtype)
    a, b, v = s.point(x), s.point(y), s.point(z)

    def dist(p: Tensor, q: Tensor) -> Tensor:
        return ball.dist(p, q, s.c)

    s.same(dist(a, b), dist(b, a))
    assert dist(a, b) <= dist(a, v) + dist(v, b) + TOLERANCE[dtype] / s.c.sqrt()
    s.same(dist(s.add(v, a), s.add(v, b)), dist(a, b), 20)
    # the two definitions: by ⊖a ⊕ b, and by the length of the velocity
    s.same(2 * ball.logmap0(s.add(-a, b), s.c).norm(), dist(a, b), 5)
    velocity = ball.conformal_factor(a, s.c) * ball.logmap(a, b, s.c)
    s.same(velocity.norm(), dist(a, b), 5)
    s.same(ball.dist_tangent(s.tangent(x), s.tangent(y), s.c), dist(a, b), 5)
    pairs = ball.pairwise_distance(torch.stack((a, b)), v[None], s.c)
    s.same(pairs[:, 0], torch.stack((dist(a, v), dist(b, v))), 5)


@every
@both
@LAWS
@given(x=vectors, y=vectors, t=st.floats(0, 1))
def test_geodesics_have_constant_speed(c: float, dtype: torch.dtype, x, y, t: float) -> None:
    """The point x ⊕ t ⊗ (⊖x ⊕ y) is exp_x(t log_x y), and divides the distance."""
    s = Space(c, dtype)
    a, b = s.point(x), s.point(y)
    at = ball.expmap(a, t * ball.logmap(a, b, s.c), s.c)
    s.same(s.add(a, s.times(t, s.add(-a, b))), at, 5)
    whole = ball.dist(a, b, s.c)
    s.same(ball.dist(a, at, s.c), t * whole, 20)
    s.same(ball.dist(at, b, s.c), (1 - t) * whole, 20)


@every
@both
@LAWS
@given(x=vectors, y=vectors, z=vectors)
def test_transport_is_an_isometry(c: float, dtype: torch.dtype, x, y, z) -> None:
    """It keeps lengths, goes back, and takes a geodesic's velocity to its velocity."""
    s = Space(c, dtype)
    a, b = s.point(x), s.point(y)
    v = s.tangent(z) / ball.conformal_factor(a, s.c)
    moved = s.transport(a, b, v)
    length = [ball.conformal_factor(p, s.c) * u.norm() for p, u in ((a, v), (b, moved))]
    s.same(length[1], length[0], 20)
    s.same(s.transport(b, a, moved), v, 20)
    if ball.dist(a, b, s.c) * s.c.sqrt() > 0.05:
        s.same(s.transport(a, b, ball.logmap(a, b, s.c)), -ball.logmap(b, a, s.c), 50)


@every
@both
@LAWS
@given(x=vectors, y=vectors, z=vectors)
def test_midpoint_moves_with_the_points(c: float, dtype: torch.dtype, x, y, z) -> None:
    """That of two points halves their geodesic, and translations take midpoints to midpoints."""
    s = Space(c, dtype)
    a, b, v = s.point(x), s.point(y), s.point(z)
    middle = ball.midpoint(torch.stack((a, b)), s.c)
    s.same(middle, ball.expmap(a, ball.logmap(a, b, s.c) / 2, s.c), 5)
    points = torch.stack((a, b, -a))
    want = s.add(v, ball.midpoint(points, s.c))
    s.same(ball.midpoint(s.add(v, points), s.c), want, 20)
    s.same(ball.midpoint(points.flip(0), s.c), ball.midpoint(points, s.c))
