"""The readings of the paper: each objective's value, and its hypergradient, by other means.

The lower level is solved to machine precision, and solved again at shifted θ for the differences.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from hsac.errors import InputError
from hsac.hypergradient import Loss, implicit_hypergradient
from hsac.hypergradient.solvers.neumann import Neumann
from hsac.parts import build, names
from hsac.rules.curvature.drift import Drift
from hsac.rules.curvature.hsac import Hsac, Samples
from hsac.rules.curvature.hsac_literal import HsacLiteral
from hsac.rules.curvature.hsac_range import HsacRange
from hsac.rules.types import Gradient
from hsac.rules.weights.sam import Sam
from hsac.sharpness import sam_loss
from hsac.theory.ground_truth import newton
from hsac.theory.problems.hyperbolic import Hyperbolic

F64 = torch.float64
READINGS = tuple(
    name
    for name in names("curvature rule")
    if name.startswith("hsac_") and issubclass(type(build("curvature rule", name, {}, "")), Hsac)
)
# So small that the slope outweighs the Hessian in the ball: there is one highest and one lowest
# point, both on its edge, and steps to the linear extreme converge fast.
RADIUS, SAM_RADIUS, STEP = 1e-3, 5e-3, 1e-3
PROBLEM = Hyperbolic(runs=2)
OTHER = Hyperbolic(runs=2, seed=1)  # other rows of the same size, for a meta set
THETA = PROBLEM.start
# Weights of earlier outer steps are so far from the present ones.
OFFSETS = [0.02 * Hyperbolic(runs=2, seed=seed).initial for seed in (2, 3, 4)]


def rule_of(name: str, **changes: object) -> Hsac:
    """A reading with an exact solve, whose adversary is carried on."""
    solver = {"name": "exact", "damping": 0.0}
    given = {"radius": RADIUS, "warm_start": True, "solver": solver, "ratio": float("inf")}
    given |= {"lower_radius": SAM_RADIUS} if name == "hsac_sam" else {}
    rule: Hsac = replace(build("curvature rule", name, given, ""), **changes)
    return rule


def upper_loss(rule: Hsac) -> Loss:
    return OTHER.cross_entropy if rule.batch == "meta" else PROBLEM.cross_entropy


def draws() -> Callable[[], Tensor]:
    g = torch.Generator().manual_seed(5)
    return lambda: torch.randn(PROBLEM.initial.shape, generator=g, dtype=F64)


@cache
def solved(radius: float, shift: float) -> Tensor:
    """Weights that minimise the lower level, SAM's with a radius, at θ + shift."""
    plain = newton(PROBLEM.lower, PROBLEM.initial, THETA + shift)
    if not radius:
        return plain
    return newton(sam_loss(PROBLEM.cross_entropy, PROBLEM.lower, radius), plain, THETA + shift)


def state_of(rule: Hsac, w: Tensor) -> dict:
    state = rule.init(THETA)
    if rule.replay > 1:
        state["iterates"] = torch.stack([w + o for o in OFFSETS[: rule.replay - 1]], 1)
    return state


def converged(rule: Hsac, w: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """The rule's hypergradient and value once the adversaries stand still."""
    samples = Samples(upper_loss(rule), PROBLEM.lower, upper_loss(rule), PROBLEM.cross_entropy)
    size = (w.shape[1],)
    if rule.replay > 1 or rule.objective == "range":
        # Those at older weights start where the present one is, and are not carried on. Nor is the
        # lowest point.
        rule = replace(rule, ascent_steps=60)
    state, before = state_of(rule, w), None
    for _ in range(2 if rule.objective == "mean" else 500):
        _, adversary = rule.upper(samples, theta, state, w, draws(), size)
        still = before is not None and (adversary - before).abs().max() < 1e-14
        state, before = state | {"adversary": adversary}, adversary
        if still:
            break
    _, _, log = rule.outer(theta, state, w, samples, draws(), size)
    assert not log["fallback"].any()
    return log["hypergradient"], log["value"]


def extreme(loss: Callable[[Tensor], Tensor], at: Tensor, scale: Tensor, sign: int = 1) -> Tensor:
    """The highest (or lowest) loss on the ellipsoid around `at`, by steps to the linear extreme."""
    e = torch.zeros_like(at)
    for _ in range(500):
        point = (at + e).detach().requires_grad_()
        (g,) = torch.autograd.grad(loss(point).sum(), point)
        before, e = e, sign * RADIUS * scale**2 * g / (scale * g).norm(dim=-1, keepdim=True)
        if (e - before).abs().max() < 1e-15:
            break
    return loss(at + e).detach()


def objective(rule: Hsac, w: Tensor, theta: Tensor) -> Tensor:
    """The reading's objective at a point, written down anew."""
    loss = upper_loss(rule)
    ones, size = torch.ones_like(w), w.shape[1]
    if rule.objective == "mean":
        normal = draws()
        spread = RADIUS / size**0.5
        return sum(loss(w + spread * normal(), theta) for _ in range(4)) / 4
    here = loss(w, theta)
    if rule.over == "curvature":
        found = extreme(lambda t: loss(w, t), theta, torch.ones_like(theta)) - here
    elif rule.over == "both":
        both = torch.cat((w, theta), -1)
        at = extreme(lambda x: loss(x[:, :size], x[:, size:]), both, torch.ones_like(both))
        found = at - here
    elif rule.replay > 1:
        places = [w, *(w + o for o in OFFSETS[: rule.replay - 1])]
        found = sum(extreme(lambda x: loss(x, theta), x, ones) - loss(x, theta) for x in places)
        found = found / len(places)
    else:
        scale = w.abs() + 0.01 if rule.scope == "adaptive" else ones
        high = extreme(lambda x: loss(x, theta), w, scale)
        low = here
        if rule.objective == "range":
            low = extreme(lambda x: loss(x, theta), w, scale, -1)
        found = high if rule.objective == "worst" else high - low
    return (found + rule.mixing * here).detach()


def differences(rule: Hsac) -> Tensor:
    """dF/dθ of the re-solved problem, by Richardson's extrapolation of two central differences."""

    def value(shift: float) -> Tensor:
        # The older weights of `replay` are constants, as far from the present ones as they were.
        return objective(rule, solved(rule.lower_radius, shift), THETA + shift)

    wide, narrow = ((value(h) - value(-h)) / (2 * h) for h in (STEP, STEP / 2))
    return ((4 * narrow - wide) / 3)[:, None]


CASES = [(name, {}) for name in READINGS]
CASES += [("hsac", {"live": True, "objective": kind}) for kind in ("worst", "gap", "range")]


@pytest.mark.parametrize(("name", "changes"), CASES, ids=lambda x: str(x))
def test_hypergradient_of_solved_problem(name: str, changes: dict) -> None:
    """It equals differences of the objective at lower levels that are solved again."""
    rule = rule_of(name, **changes)
    found, value = converged(rule, solved(rule.lower_radius, 0.0), THETA)
    torch.testing.assert_close(
        value, objective(rule, solved(rule.lower_radius, 0.0), THETA), rtol=1e-9, atol=1e-12
    )
    wanted = differences(rule)
    assert (wanted.abs() > RADIUS**2).all()
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)


def test_frozen_scale_is_another_hypergradient() -> None:
    """Without `live` the adaptive scope's scale is a constant, which the differences see."""
    rule = rule_of("hsac", objective="gap")
    found, _ = converged(rule, solved(0.0, 0.0), THETA)
    assert ((found - differences(rule)).abs() > 1e-3 * found.abs()).all()


def test_range_is_gap_at_minimum() -> None:
    """At a minimum of the loss itself nothing is lower, so the range is the gap."""

    def loss(w: Tensor, theta: Tensor) -> Tensor:
        return theta[:, 0].exp() * (w.square() * torch.tensor([1.0, 3.0], dtype=F64)).sum(-1)

    w, theta = torch.zeros(1, 2, dtype=F64), torch.zeros(1, 1, dtype=F64)
    start = torch.tensor([[0.0, 1e-3]], dtype=F64)
    values = []
    for rule in (HsacLiteral(warm_start=True), HsacRange()):
        state = rule.init(theta) | {"adversary": start}
        _, _, log = rule.outer(theta, state, w, Samples(loss, loss, loss), draws(), (2,))
        values.append(log["value"])
    torch.testing.assert_close(values[0], torch.tensor([3 * 0.05**2], dtype=F64))
    torch.testing.assert_close(values[1], values[0])


def test_range_is_twice_slope_far_out() -> None:
    """Away from a minimum the range is twice the gap, to first order in the radius."""
    w = PROBLEM.initial
    for radius in (1e-3, 1e-4):
        found = {}
        for name in ("hsac_literal", "hsac_range"):
            rule = rule_of(name, radius=radius)
            samples = Samples(PROBLEM.cross_entropy, PROBLEM.lower, PROBLEM.cross_entropy)
            _, _, log = rule.outer(THETA, rule.init(THETA), w, samples, draws(), (w.shape[1],))
            found[name] = log["value"]
        ratio = found["hsac_range"] / found["hsac_literal"]
        assert ((ratio - 2).abs() < 20 * radius).all()


def test_replay_keeps_last_weights() -> None:
    """The objective takes this outer step's weights and those of the steps before, no more."""
    rule = rule_of("hsac_replay", replay=3, ascent_steps=1)
    samples = Samples(PROBLEM.cross_entropy, PROBLEM.lower, PROBLEM.cross_entropy)
    state, seen = rule.init(THETA), []
    for i in range(4):
        w = PROBLEM.initial + 0.01 * i
        seen.append(w)
        _, state, _ = rule.outer(THETA, state, w, samples, draws(), (w.shape[1],))
    assert torch.equal(state["iterates"], torch.stack(seen[-2:], 1))


def test_sam_loss_is_what_sam_minimises() -> None:
    """Its value is the loss at the point where the weight rule `sam` takes its gradient, and decay.

    Its gradient differs from SAM's, which leaves out how the perturbation moves.
    """
    w, points = PROBLEM.initial, []

    def gradient(at: Tensor) -> object:
        points.append(at)
        at = at.detach().requires_grad_()
        value = PROBLEM.cross_entropy(at, THETA)
        return Gradient(value.detach(), torch.autograd.grad(value.sum(), at)[0])

    rule = Sam(rho=0.05)
    rule.update(w, rule.init(w), gradient, 1.0)
    found = sam_loss(PROBLEM.cross_entropy, PROBLEM.lower, 0.05)(w, THETA)
    decay = PROBLEM.lower(w, THETA) - PROBLEM.cross_entropy(w, THETA)
    torch.testing.assert_close(found, PROBLEM.cross_entropy(points[1], THETA) + decay)


def test_without_leading_factor_longer() -> None:
    """Without its leading factor a the series is 1/a times as long."""
    w = solved(0.0, 0.0)
    samples = Samples(PROBLEM.cross_entropy, PROBLEM.lower, PROBLEM.cross_entropy)
    found = []
    for leading in (True, False):
        solver = {"name": "neumann", "terms": 2, "step": 0.1, "leading": leading}
        rule = rule_of("hsac_literal", solver=solver)
        upper, _ = rule.upper(samples, THETA, rule.init(THETA), w, draws(), (w.shape[1],))
        found.append(
            implicit_hypergradient(upper, PROBLEM.lower, w, THETA, rule.linear_solver, {}).implicit
        )
    torch.testing.assert_close(found[1], 10 * found[0])


def test_literal_is_as_public_code() -> None:
    """It has the solver of zhigao2017/RMO: five terms of step 0.1 without the leading factor."""
    assert HsacLiteral().linear_solver == Neumann(terms=5, step=0.1, leading=False)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"over": "both", "objective": "mean"}, "over"),
        ({"live": True, "scope": "euclidean"}, "live"),
        ({"live": True, "over": "curvature"}, "live"),
        ({"live": True, "replay": 2}, "replay"),
        ({"mixing": -0.1}, "mixing"),
        ({"bounds_relative": 1.0}, "bounds_relative"),
        ({"lower_radius": -1.0}, "lower_radius"),
        ({"replay": 0}, "replay"),
        ({"lower_radius": 0.05, "solver": {"name": "amortised"}}, "lower_radius"),
        ({"live": True, "objective": "loss"}, "live"),
    ],
)
def test_impossible_readings_are_refused(changes: dict, key: str) -> None:
    with pytest.raises(InputError, match=key):
        Hsac(**changes)


def test_solver_without_name_keeps_the_readings() -> None:
    """Parameters alone change those of the reading's own solver."""
    found = HsacLiteral(solver={"terms": 10}).linear_solver
    assert found == Neumann(terms=10, step=0.1, leading=False)


def test_sam_loss_at_no_slope() -> None:
    """Where the plain loss is flat, SAM perturbs nothing."""

    def plain(w: Tensor, theta: Tensor) -> Tensor:
        return w.square().sum(-1)

    w = torch.zeros(1, 2, dtype=F64)
    assert sam_loss(plain, plain, 0.1)(w, THETA[:1]).item() == 0


def test_drift_has_relative_bounds() -> None:
    """The control of a reading walks in the same interval."""
    assert Drift(bounds_relative=10.0).bounds_relative == HsacLiteral().bounds_relative
    with pytest.raises(InputError, match="bounds_relative"):
        Drift(bounds_relative=0.5)
