"""Lipschitz constants of the ball's maps against c, measured beside their analytic bounds.

Scope. Points are x = exp0(v) with |v| ≤ r, the tangent radius to which the models clip their
features. They lie within R = tanh(σ)/√c of the origin, σ = √c r, hence inside the ball for every c
and within geodesic distance 2r of its centre. A fixed Euclidean radius would leave the ball once c
r² ≥ 1. Velocities u at x are as long as the origin's: λ_x|u| ≤ 2r. Norms are Euclidean, what a
network's next layer sees. A derivative in c holds the points' coordinates (not their tangent
vectors) fixed. Each argument's scope is convex, so the supremum of the derivative's spectral norm
is the Lipschitz constant.

Notation. a = √c|x|, b = √c|y|, t = tanh σ = √c R, z = x ⊕ y, m = √c|z|,
D = 1 + 2c⟨x,y⟩ + c²|x|²|y|². Every pair of vectors spans a plane, in which
x ⊕ y = (x + y)/(1 + c x̄ y) as complex numbers and |1 + c x̄ y|² = D. Further,
1 - m² = (1-a²)(1-b²)/D. exp0, log0, exp and log are the maps `expmap0`, `logmap0`, `expmap` and
`logmap` of `hsac.ball`, under the names that the rows have.

Each map's bound is derived at its function. All go to their value in Euclidean space as c → 0: 1
for the maps between points and vectors, multiples of r³ for derivatives in c. The latter's bounds
are c^(-3/2) times a function of σ.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Generator, Tensor

from hsac import ball
from hsac.ball.maps import safe_norm
from hsac.parts import require

F64 = torch.float64
ARGUMENTS = ("base", "point", "c")


@dataclass(frozen=True)
class Bound:
    """An upper bound on a Lipschitz constant.

    Attributes:
        value: The bound.
        tight: Whether it is known to be attained in the scope (d ≥ 2).
    """

    value: float
    tight: bool


def _chord(k: float) -> float:
    """Return max_x (k tanh x - x) = √(k(k-1)) - arcosh √k for k ≥ 1, which is at cosh² x = k."""
    return math.sqrt(k * (k - 1)) - math.acosh(math.sqrt(k))


def exp0_bound(argument: str, c: float, r: float) -> Bound:
    """Bound exp0(u) = f(|u|) u/|u| with f(ρ) = tanh(√cρ)/√c.

    point: the derivative is 1/cosh²(√cρ) along u and tanh(√cρ)/(√cρ) across it. Both are at most 1,
    and 1 at u = 0.

    c: radial, -(tanh s - s/cosh² s)/(2 c^{3/2}) at s = √cρ. Its size increases in s, so it is
    attained at |u| = r.

    Args:
        argument: The argument whose constant is bounded: "base", "point" or "c".
        c: Curvature, above 0.
        r: Tangent radius of the points.

    Returns:
        The bound, and whether it is attained.
    """
    s = math.sqrt(c) * r
    if argument == "point":
        return Bound(1.0, True)
    return Bound(c**-1.5 * (math.tanh(s) - s / math.cosh(s) ** 2) / 2, True)


def log0_bound(argument: str, c: float, r: float) -> Bound:
    """Bound log0(x) = g(|x|) x/|x| with g(ρ) = artanh(√cρ)/√c.

    point: 1/(1 - c|x|²) along x exceeds artanh(a)/a across it. At |x| = R it is 1/(1-t²) = cosh² σ.

    c: radial, (a/(1-a²) - artanh a)/(2 c^{3/2}), which increases in a:
    (sinh σ cosh σ - σ)/(2 c^{3/2}) at |x| = R.

    Args:
        argument: The argument whose constant is bounded: "base", "point" or "c".
        c: Curvature, above 0.
        r: Tangent radius of the points.

    Returns:
        The bound, and whether it is attained.
    """
    s = math.sqrt(c) * r
    if argument == "point":
        return Bound(math.cosh(s) ** 2, True)
    # sinh(2σ)/2 = sinh σ cosh σ
    return Bound(c**-1.5 * (math.sinh(2 * s) / 2 - s) / 2, True)


def mobius_add_bound(argument: str, c: float, r: float) -> Bound:
    """Bound x ⊕ y = (x + y)/(1 + c x̄ y), in the plane of x and y.

    point (y): x ⊕ · is an isometry of the ball, so its differential is conformal with factor
    λ_y/λ_z = (1-m²)/(1-b²) = (1-a²)/D ≤ (1-a²)/(1-ab)². It increases in b, and at b = t it is
    greatest at a = t: 1/(1-t²), y = -x.

    base (x): holomorphic and antiholomorphic parts 1/(1 + c x̄ y) and -c(x+y)y/(1 + c x̄ y)² add to
    the spectral norm (1 + bm)√(1-m²)/√((1-a²)(1-b²)). Across the plane it is |1 + c x̄ y + c
    ȳ(x+y)|/D, not more. It is greatest at a = b = t and m = (√(1+8t²) - 1)/(4t), which some angle
    between x and y reaches.

    c: -(x+y) x̄ y/(1 + c x̄ y)², of size c^{-3/2} ab m√(1-m²)/√((1-a²)(1-b²)). Enlarging a, b to t
    enlarges the range of m, so the supremum is at a = b = t, m = min(1/√2, 2t/(1+t²)).

    Args:
        argument: The argument whose constant is bounded: "base", "point" or "c".
        c: Curvature, above 0.
        r: Tangent radius of the points.

    Returns:
        The bound, and whether it is attained.
    """
    s = math.sqrt(c) * r
    t, cosh2 = math.tanh(s), math.cosh(s) ** 2
    if argument == "point":
        return Bound(cosh2, True)
    if argument == "base":
        # (√(1 + 8t²) - 1)/(4t), written so that it does not cancel for small t
        m = 2 * t / (math.sqrt(1 + 8 * t * t) + 1)
        return Bound((1 + t * m) * math.sqrt(1 - m * m) * cosh2, True)
    # m√(1 - m²) is greatest at 1/√2, unless the scope ends before.
    m = min(math.sqrt(0.5), 2 * t / (1 + t * t))
    return Bound(c**-1.5 * t * t * cosh2 * m * math.sqrt(1 - m * m), True)


def exp_bound(argument: str, c: float, r: float) -> Bound:
    """Bound exp_x(u) = x ⊕ y with y = exp0(λ_x u/2).

    Let s = √cλ_x|u|/2 ≤ σ and τ = tanh s = √c|y|.

    point (u): Jacobi fields, λ_x/λ_z along u and λ_x/λ_z · sinh(2s)/(2s) across it. The latter is
    (τ/s)/(1 + 2aτ cos + a²τ²) ≤ (τ/s)/(1-aτ)². It increases in a. Its logarithmic derivative in s
    is at least 1/τ + τ - 1/s > 0 at a = t, so it increases in s: cosh⁴(σ) t/σ, attained by the u
    that leads from |x| = R to the origin.

    base (x): through the two arguments of ⊕, |∂_x| ≤ sup|∂_x ⊕| + sup|∂_y ⊕ · ∂y/∂x|. The second is
    at most 2as(1-τ²)/(1-aτ)² ≤ 2tσ/(1-t²). Not tight: the two suprema lie at different points.

    c: |∂_c ⊕| + |∂_y ⊕ · ∂y/∂c|. ∂y/∂c is radial, the difference of two terms of one sign
    (exp0's and λ_x's), so at most the larger. After ∂_y ⊕ these are (sinh σ cosh σ - σ)/2 and
    σ t²/(1-t²), over c^{3/2}. Not tight.

    Args:
        argument: The argument whose constant is bounded: "base", "point" or "c".
        c: Curvature, above 0.
        r: Tangent radius of the points.

    Returns:
        The bound, and whether it is attained.
    """
    s = math.sqrt(c) * r
    t, cosh2 = math.tanh(s), math.cosh(s) ** 2
    if argument == "point":
        return Bound(cosh2**2 * t / s, True)
    addition = mobius_add_bound(argument, c, r).value
    if argument == "base":
        return Bound(addition + 2 * t * s * cosh2, False)
    # One maximum, not a sum: the two terms have one sign and are subtracted.
    return Bound(addition + c**-1.5 * max((math.sinh(2 * s) / 2 - s) / 2, s * t * t * cosh2), False)


def log_bound(argument: str, c: float, r: float) -> Bound:
    """Bound log_x(y) = (1-a²) log0(w) with w = -x ⊕ y.

    Here m = √c|w| = tanh s, and 2s = √c d(x, y) ≤ 4σ.

    point (y): inverse of exp_x's Jacobi fields, λ_y/λ_x along and less across.
    (1-a²)/(1-b²) ≤ cosh² σ, attained at x = 0, |y| = R.

    base (x): the factor 1-a² adds 2as ≤ 4tσ along w. In the rest, ∂_x w is conformal with factor
    (1-m²)/(1-a²) plus, across w, |w| times the derivative of the gyration's angle, 2√c b/√D. ∂log0
    is 1/(1-m²) along w and s/m across it. So the conformal part is at most 1, and the other 2bs k,
    k = cosh β/(cosh α cosh s) for a = tanh α, b = tanh β. The triangle inequality β ≤ α + s gives k
    ≤ 1 + tanh α tanh s ≤ 1 + t tanh 2σ. The parts along and across w add as the sides of a right
    angle. Not tight.

    c: along w it is ∂_c[(1-a²) d/2], with ∂_c d = ∫|γ|²/(1-c|γ|²) ≥ 0 along the geodesic (its
    length is stationary). Over chords of the ball of radius 2r that is at most max_x
    (C tanh x - x)/c^{3/2}, C = cosh 2σ. The two terms of the product have opposite signs. Across w:
    (1-a²)(s/m)|∂_c ⊕| = c^{-3/2} ab s k. Not tight.

    Args:
        argument: The argument whose constant is bounded: "base", "point" or "c".
        c: Curvature, above 0.
        r: Tangent radius of the points.

    Returns:
        The bound, and whether it is attained.
    """
    s = math.sqrt(c) * r
    t = math.tanh(s)
    if argument == "point":
        return Bound(math.cosh(s) ** 2, True)
    across = 2 * t * s * (1 + t * math.tanh(2 * s))
    if argument == "base":
        return Bound(1 + math.hypot(4 * t * s, 2 * across), False)
    # The two terms have opposite signs, so the larger bounds their sum.
    along = max(2 * s * t * t, _chord(math.cosh(2 * s)) / 2)
    return Bound(c**-1.5 * math.hypot(along, t * across), False)


def squared_distance_bound(argument: str, c: float, r: float) -> Bound:
    """Bound d²(x, y), the logits of prototypes, in which both arguments are alike.

    point (y): the gradient of d has length λ_y, so 2dλ_y ≤ 2 · 4r · 2cosh² σ, attained at y = -x,
    |x| = R. It is 16r at c = 0.

    c: 2d ∂_c d ≤ 2 · 4r · max_x (C tanh x - x)/c^{3/2}, C = cosh 2σ, as for log. Not tight: a
    longer chord passes nearer to the centre, where c acts less.

    Args:
        argument: The argument whose constant is bounded: "base", "point" or "c".
        c: Curvature, above 0.
        r: Tangent radius of the points.

    Returns:
        The bound, and whether it is attained.
    """
    s = math.sqrt(c) * r
    if argument == "point":
        return Bound(16 * r * math.cosh(s) ** 2, True)
    return Bound(8 * r * c**-1.5 * _chord(math.cosh(2 * s)), False)


def mlr_logit_bound(argument: str, c: float, r: float) -> Bound:
    """Bound the Poincaré MLR's logit of a tangent vector u, unit normal z, offset 0.

    It is twice the signed distance to a plane.

    point (u): a distance has gradient at most 1 in the metric, whose length elements at exp0(u) are
    2 along u and 2 sinh(2s)/(2s) across it, s = √c|u|. So the bound is 4 sinh(2σ)/(2σ), attained by
    u in the plane. It holds for any offset, and is 4 at c = 0.

    c: the logit is 2 arsinh(q sinh 2s)/√c, q = cos(u, z). Its derivative in c is
    (S coth(S) tanh w - w)/c^{3/2}, S = 2s and w the arsinh. It is greatest over w at
    cosh² w = S coth S ≤ cosh² S, and increases in S. Attained.

    Args:
        argument: The argument whose constant is bounded: "base", "point" or "c".
        c: Curvature, above 0.
        r: Tangent radius of the points.

    Returns:
        The bound, and whether it is attained.
    """
    s = 2 * math.sqrt(c) * r
    if argument == "point":
        return Bound(4 * math.sinh(s) / s, True)
    return Bound(c**-1.5 * _chord(s / math.tanh(s)), True)


# from tangent vectors (v, u) at the origin, |v|, |u| ≤ r, to a map's arguments
Scope = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
Function = Callable[[Tensor, Tensor, Tensor], Tensor]


def _points(v: Tensor, u: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    return ball.expmap0(v, c), ball.expmap0(u, c)


def _velocity(v: Tensor, u: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    x = ball.expmap0(v, c)
    # so that its length at x, λ_x times its own, is 2|u|
    return x, 2 * u / ball.conformal_factor(x, c)


def _vectors(v: Tensor, u: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    return v, u


def _mlr_logit(x: Tensor, u: Tensor, c: Tensor) -> Tensor:
    # Any unit normal will do, because the ball looks alike in all directions.
    z = torch.zeros_like(u)
    z[..., 0] = 1.0
    return ball.mlr_logits_tangent(u[None], z[None], u.new_zeros(1), c)[0]


@dataclass(frozen=True)
class Map:
    """A map f(x, y, c) of base x and point y.

    Attributes:
        function: The map.
        scope: Maps tangent vectors (v, u) at the origin to the map's arguments.
        bound: Bounds the Lipschitz constant in an argument, given c and r.
        arguments: The arguments that the map has.
    """

    function: Function
    scope: Scope
    bound: Callable[[str, float, float], Bound]
    arguments: tuple[str, ...] = ARGUMENTS


MAPS = {
    "exp0": Map(lambda x, y, c: ball.expmap0(y, c), _vectors, exp0_bound, ("point", "c")),
    "log0": Map(lambda x, y, c: ball.logmap0(y, c), _points, log0_bound, ("point", "c")),
    "mobius_add": Map(ball.mobius_add, _points, mobius_add_bound),
    "exp": Map(ball.expmap, _velocity, exp_bound),
    "log": Map(ball.logmap, _points, log_bound),
    "squared_distance": Map(
        # A vector of one, so that all maps have rows in their Jacobians.
        lambda x, y, c: ball.squared_distance(x, y, c)[None],
        _points,
        squared_distance_bound,
        ("point", "c"),
    ),
    "mlr_logit": Map(_mlr_logit, _vectors, mlr_logit_bound, ("point", "c")),
}


def spectral_norms(item: Map, argument: str, pairs: Tensor, c: float) -> Tensor:
    """Compute |∂f/∂argument| as the largest singular value of the derivative.

    Args:
        item: The map f.
        argument: "base", "point" or "c".
        pairs: Tangent vectors (n, 2, d) at the origin, of length at most r.
        c: Curvature.

    Returns:
        Norms (n,).
    """
    curvature = torch.tensor(c, dtype=F64)
    x, y = item.scope(pairs[:, 0], pairs[:, 1], curvature)
    position = ARGUMENTS.index(argument)
    derivative = torch.func.jacrev(item.function, argnums=position)
    jacobian = torch.vmap(derivative, in_dims=(0, 0, None))(x, y, curvature)
    # A single row or column has one singular value, its length.
    if argument == "c" or jacobian.shape[-2] == 1:
        return jacobian.flatten(1).norm(dim=-1)
    return torch.linalg.svdvals(jacobian)[:, 0]


def _draw(shape: tuple[int, ...], r: float, generator: Generator) -> Tensor:
    drawn = torch.randn(shape, generator=generator, dtype=F64)
    direction = torch.nn.functional.normalize(drawn, dim=-1)
    # Uniform in length and not in volume: some suprema are at the origin.
    return r * torch.rand((*shape[:-1], 1), generator=generator, dtype=F64) * direction


def rounding(c: float, r: float) -> float:
    """Bound the relative rounding of a measured constant in float64.

    1 - c|x|² enters squared, and so does 1/(c r²) in bounds.

    Args:
        c: Curvature.
        r: Tangent radius of the points.

    Returns:
        The relative error.
    """
    s = math.sqrt(c) * r
    return 32 * sys.float_info.epsilon * (math.cosh(s) ** 4 + s**-4)


def supremum(item: Map, argument: str, c: float, r: float, search: "Lipschitz") -> float:
    """Search for the largest |∂f/∂argument|: random points, then an ascent from the best of them.

    The ascent is L-BFGS-B's on the logarithm of the norm. Its variables are the lengths and
    directions of the tangent vectors. Lengths go from 0 to r, so that maxima on the scope's border
    are reached exactly.

    Args:
        item: The map f.
        argument: "base", "point" or "c".
        c: Curvature.
        r: Tangent radius of the points.
        search: Says how many points are drawn, and how many climb.

    Returns:
        The largest norm that was found.
    """
    generator = torch.Generator().manual_seed(search.seed)
    found = _draw((search.samples, 2, search.dimension), r, generator)
    values, chosen = spectral_norms(item, argument, found, c).topk(search.climbers)
    best = values[0].item()

    def negative(flat: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best
        position = torch.from_numpy(flat).requires_grad_()
        length, direction = position[:2, None], position[2:].view(2, search.dimension)
        # The variable's own length is divided out, so that it stands for a direction.
        pairs = (length * direction / safe_norm(direction))[None]
        value = spectral_norms(item, argument, pairs, c).log().sum()
        # Every point on the way counts, not only the last.
        best = max(best, value.exp().item())
        (gradient,) = torch.autograd.grad(-value, position)
        return -value.item(), gradient.numpy()

    bounds = [(0.0, r)] * 2 + [(None, None)] * 2 * search.dimension
    # Tolerances near rounding, because results are compared with bounds that are attained.
    options = {"maxiter": search.iterations, "ftol": 1e-15, "gtol": 1e-12}
    for pair in found[chosen]:
        lengths = pair.norm(dim=-1)
        start = torch.cat((lengths, (pair / lengths[:, None]).flatten())).numpy()
        minimize(negative, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return best


@dataclass(frozen=True)
class Lipschitz:
    """Lipschitz constants of the ball's maps against c, with bounds.

    Curvatures are spread evenly in the logarithm.

    Attributes:
        low: Smallest curvature.
        high: Largest curvature.
        count: Number of curvatures.
        radius: Tangent radius r of the points, at most 6.5/√high.
        dimension: Dimension d of the ball.
        samples: Random points of each search.
        climbers: How many of them, the best, an ascent starts from.
        iterations: Iterations of an ascent.
        seed: Seed of the random points.
    """

    low: float = 1e-3
    high: float = 10.0
    count: int = 9
    radius: float = 2.0
    dimension: int = 3
    samples: int = 2048
    climbers: int = 4
    iterations: int = 150
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.low > 0, "low", self.low, "a number above 0")
        require(self.high > self.low, "high", self.high, f"a number above low, {self.low:g}")
        require(self.count >= 2, "count", self.count, "an integer from 2")
        require(self.radius > 0, "radius", self.radius, "a number above 0")
        # beyond it 1 - c|x|² falls under what the ball's projection leaves in float64
        require(self.high**0.5 * self.radius <= 6.5, "radius", self.radius, "at most 6.5/√high")
        require(self.dimension >= 2, "dimension", self.dimension, "an integer from 2")
        require(self.climbers >= 1, "climbers", self.climbers, "an integer from 1")
        ok = self.samples >= self.climbers
        require(ok, "samples", self.samples, f"at least climbers, {self.climbers}")
        require(self.iterations >= 1, "iterations", self.iterations, "an integer from 1")

    def rows(self, progress: Callable[[str], None]) -> list[dict[str, float | int | str]]:
        """Measure and bound each map in each argument at each curvature.

        A measured constant may pass its bound by `rounding(c, r)` of it, 4e-5 at c = 10 and r = 2.

        Args:
            progress: Called with a line of text as the work goes on.

        Returns:
            Rows with map, argument, c, r, measured, bound and tight (the bound is known to be
            attained). Constants in the argument `base` or `point` have no unit (squared_distance:
            length). Those in `c` are lengths per curvature, length³ (squared_distance: length⁴).
        """
        step = math.log(self.high / self.low) / (self.count - 1)
        rows: list[dict[str, float | int | str]] = []
        for name, item in MAPS.items():
            for argument in item.arguments:
                progress(f"{name}, {argument}")
                for i in range(self.count):
                    # evenly in log c
                    c = self.low * math.exp(step * i)
                    bound = item.bound(argument, c, self.radius)
                    measured = supremum(item, argument, c, self.radius, self)
                    rows.append(
                        {
                            "map": name,
                            "argument": argument,
                            "c": c,
                            "r": self.radius,
                            "measured": measured,
                            "bound": bound.value,
                            "tight": bound.tight,
                        }
                    )
        return rows
