"""Hypergradients on batches average to the whole part's, if each level draws a batch of its own.

One batch for both levels makes the implicit term a product of two random quantities of one sample,
whose mean is not the product of the means. Without a series in H, and with v the loss's own
gradient,

    E[M_Bᵀ v_B] = Mᵀ v + (1/2B)·∂_θ tr Cov(∇ℓ),        as M_Bᵀ ∇L_B = ½ ∂_θ |∇L_B|²,

B the batch's size, M = ∂²L/∂θ∂w, ∇ℓ an example's gradient in w. The implicit term enters with a
minus. Stochastic bi-level methods draw independent samples for this reason (Ghadimi and Wang 2018;
Ji, Yang and Liang, ICML 2021).

Batches are drawn with replacement, so that a batch is B independent examples of the part and the
laws are exact. R batches are R runs: a test averages thousands of hypergradients in one call.
"""

import math
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from hsac.ball import expmap0
from hsac.hypergradient import Hypergradient, Loss, Solver, implicit_hypergradient
from hsac.hypergradient.solvers.identity import Identity
from hsac.hypergradient.solvers.neumann import Neumann
from hsac.parts import build, names
from hsac.rules.curvature.hsac import Hsac, Samples
from hsac.sharpness import (
    HERE,
    OBJECTIVES,
    Perturbation,
    ascend,
    perturbed_loss,
    scope_scale,
)

F64 = torch.float64
ROWS, INPUTS, CLASSES, WRONG = 256, 5, 3, 0.4
DECAY, RADIUS = 0.1, 0.3
LIMIT = 4.0  # standard errors: a right law fails once in 16,000 seeds


def dataset() -> tuple[Tensor, Tensor]:
    """Features (N, I) of Gaussian clusters, and one-hot labels (N, K), of which 40 % are wrong."""
    g = torch.Generator().manual_seed(0)
    clean = torch.arange(ROWS) % CLASSES
    centres = torch.randn(CLASSES, INPUTS, generator=g, dtype=F64)
    x = centres[clean] + 0.7 * torch.randn(ROWS, INPUTS, generator=g, dtype=F64)
    other = (clean + torch.randint(1, CLASSES, (ROWS,), generator=g)) % CLASSES
    wrong = torch.rand(ROWS, generator=g) < WRONG
    return x / INPUTS**0.5, one_hot(torch.where(wrong, other, clean)).to(F64)


X, Y = dataset()
THETA = torch.zeros(1, 1, dtype=F64)
SIZE = CLASSES * (INPUTS + 1)
WHOLE = torch.arange(ROWS)[None]


def cross_entropy(rows: Tensor) -> Loss:
    """Cross-entropy (R,) on rows (R, B) of a linear classifier of points on the ball.

    The ball has curvature -exp(θ). The loss is convex in w, so that with weight decay each batch's
    Hessian can be inverted.
    """
    x, y = X[rows], Y[rows]

    def loss(w: Tensor, theta: Tensor) -> Tensor:
        weight, bias = w.split([CLASSES * INPUTS, CLASSES], -1)
        points = expmap0(x, theta.exp()[..., None])
        logits = points @ weight.unflatten(-1, (CLASSES, INPUTS)).mT + bias[:, None]
        return -(y * logits.log_softmax(-1)).sum(-1).mean(-1)

    return loss


def decayed(rows: Tensor) -> Loss:
    """The lower level on rows (R, B): cross-entropy and ½·decay·|w|²."""
    loss = cross_entropy(rows)
    return lambda w, theta: loss(w, theta) + DECAY / 2 * w.square().sum(-1)


@cache
def trained(steps: int) -> Tensor:
    """Weights (1, P) after so many gradient steps on the whole part."""
    w = torch.randn(1, SIZE, generator=torch.Generator().manual_seed(1), dtype=F64)
    for _ in range(steps):
        w = w.requires_grad_()
        (g,) = torch.autograd.grad(decayed(WHOLE)(w, THETA).sum(), w)
        w = (w - g).detach()
    return w


def adversary(rows: Tensor, w: Tensor) -> Tensor:
    """One ascent step (R, P) from w (R, P) on rows (R, B)."""

    def gradient(at: Tensor) -> tuple[Tensor, Tensor]:
        at = at.detach().requires_grad_()
        value = cross_entropy(rows)(at, THETA.expand(len(at), -1))
        return value.detach(), torch.autograd.grad(value.sum(), at)[0]

    return ascend(gradient, w, scope_scale(w, "adaptive"), RADIUS)


def perturbations(objective: str, rows: Tensor, w: Tensor) -> list[Tensor]:
    """The objective's perturbations at w (R, P), adversaries found on rows (R, B).

    Gaussian draws are the same each time.
    """
    if objective == "loss":
        return []
    if objective == "mean":
        g = torch.Generator().manual_seed(2)
        draws = torch.randn(2, 1, SIZE, generator=g, dtype=F64)
        return [RADIUS / SIZE**0.5 * scope_scale(w, "adaptive") * draw for draw in draws]
    return [adversary(rows, w)]


def hypergradient(
    solver: Solver, objective: str, w: Tensor, upper: Tensor, lower: Tensor, ascent: Tensor = WHOLE
) -> Hypergradient:
    """R hypergradients at w (1, P), each level and the adversary on rows (R, B) of its own."""
    runs = len(upper)
    found = [
        Perturbation(e.expand(runs, -1))
        for e in perturbations(objective, ascent, w.expand(len(ascent), -1))
    ]
    # One step of descent is the opposite of one of ascent.
    opposite = [Perturbation(-e.weights) for e in found if e.weights is not None]
    taken = {"gap": [HERE], "range": opposite}.get(objective, [])
    scope = perturbed_loss(cross_entropy(upper), found or [HERE], taken)
    return implicit_hypergradient(
        scope, decayed(lower), w.expand(runs, -1), THETA.expand(runs, -1), solver, {}
    )


def draw(runs: int, size: int, count: int = 2, seed: int = 3) -> list[Tensor]:
    """So many independent sets of batches, rows (R, B) each."""
    g = torch.Generator().manual_seed(seed)
    return [torch.randint(ROWS, (runs, size), generator=g) for _ in range(count)]


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """The mean of (R,) or (R, 1) values and its standard error."""
    return float(values.mean()), float(values.std()) / len(values) ** 0.5


# Why these: the shared batch's bias over the standard error of a mean grows as √(R/B), the cost as
# R·B, so B is small. What is left with two batches (see the planted problem) is of the order 1/B,
# too, and up to a sixth of that bias here. R is large enough to see the bias at nine standard
# errors or more, and no larger, so that the rest is near one.
BATCH, RUNS = 16, 500
POINTS = {"descending": 3, "converged": 3000}
solvers = pytest.mark.parametrize("solver", names("solver"))
points = pytest.mark.parametrize("point", POINTS)


@points
@pytest.mark.parametrize("objective", OBJECTIVES)
@solvers
def test_two_batches_average_to_the_whole(solver: str, objective: str, point: str) -> None:
    """Two batches average to the whole within four standard errors, for every solver and objective.

    The adversary is a given constant.
    """
    w, chosen = trained(POINTS[point]), build("solver", solver, {}, "solver")
    whole = hypergradient(chosen, objective, w, WHOLE, WHOLE)
    found = hypergradient(chosen, objective, w, *draw(RUNS, BATCH))
    mean, error = mean_and_error(found.total - whole.total)
    assert abs(mean) < LIMIT * error
    assert not found.fallback.any()


@points
@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if name not in ("gap", "range")])
@solvers
def test_one_batch_is_biased(solver: str, objective: str, point: str) -> None:
    """The implicit term on one batch is off by over four standard errors."""
    w, chosen = trained(POINTS[point]), build("solver", solver, {}, "solver")
    whole = hypergradient(chosen, objective, w, WHOLE, WHOLE)
    rows, _ = draw(RUNS, BATCH)
    mean, error = mean_and_error(
        whole.implicit - hypergradient(chosen, objective, w, rows, rows).implicit
    )
    assert mean > LIMIT * error


@points
@solvers
def test_two_batches_leave_little(solver: str, point: str) -> None:
    """Two batches leave less than a quarter of the bias of one batch.

    H and M are still of one batch.
    """
    w, chosen = trained(POINTS[point]), build("solver", solver, {}, "solver")
    whole = hypergradient(chosen, "worst", w, WHOLE, WHOLE).implicit
    upper, lower = draw(10 * RUNS, BATCH)
    two, one = (
        float((hypergradient(chosen, "worst", w, upper, b).implicit - whole).mean())
        for b in (lower, upper)
    )
    assert abs(two) < abs(one) / 4


@pytest.mark.parametrize("objective", ["worst", "gap"])
def test_own_adversary_biases_upper_level(objective: str) -> None:
    """An adversary found on the upper batch biases the direct term.

    An adversary found on the upper batch fits it, which a lower batch of its own cannot undo.

    The mean of a batch's maximum is more than the maximum of the mean, and the difference depends
    on θ. It moves the direct term, which the lower level has no part in, and is smaller on larger
    batches.
    """
    w = trained(POINTS["descending"])
    biases = []
    for size in (BATCH, 16 * BATCH):
        upper, lower = draw(RUNS, size)
        found = hypergradient(Neumann(), objective, w, upper, lower, ascent=upper)
        fixed = hypergradient(Neumann(), objective, w, upper, lower)
        value, value_error = mean_and_error(found.value - fixed.value)
        assert value > LIMIT * value_error
        biases.append(mean_and_error(found.direct - fixed.direct))
    (small, small_error), (large, _) = biases
    assert abs(small) > LIMIT * small_error
    assert abs(large) < abs(small) / 4


@pytest.mark.parametrize("objective", ["worst", "gap"])
def test_adversary_of_third_batch_is_constant(objective: str) -> None:
    """An adversary of a batch of its own leaves both levels unbiased.

    Found on a batch of its own, the adversary leaves both levels as they are on the whole part with
    the same one.
    """
    w = trained(POINTS["descending"])
    upper, lower, third = draw(RUNS, BATCH, count=3)
    whole = WHOLE.expand(RUNS, -1)
    found, want = (
        hypergradient(Neumann(), objective, w, *rows, third)
        for rows in ((upper, lower), (whole, whole))
    )
    mean, error = mean_and_error(found.total - want.total)
    assert abs(mean) < LIMIT * error


def outer(rule: Hsac, w: Tensor, theta: Tensor, upper: Loss, lower: Loss) -> Tensor:
    """The hypergradients (R, C) that the rule logs for one outer step at w (R, P)."""

    def normal() -> Tensor:
        return torch.randn(w.shape, generator=torch.Generator().manual_seed(4), dtype=w.dtype)

    _, _, log = rule.outer(
        theta, rule.init(theta), w, Samples(upper, lower, upper), normal, [w.shape[1]]
    )
    return log["hypergradient"]


@pytest.mark.parametrize("objective", ["loss", "mean"])
def test_rule_averages_to_the_whole(objective: str) -> None:
    """The rule on two batches averages to the whole, and on one does not.

    `Hsac.outer` on two batches, and not on one. These objectives have no adversary that a batch
    could find.
    """
    rule, theta = Hsac(objective=objective), THETA.expand(RUNS, -1)
    w = trained(POINTS["converged"]).expand(RUNS, -1)
    upper, lower = draw(RUNS, BATCH)
    whole = outer(rule, w, theta, cross_entropy(WHOLE), decayed(WHOLE))
    means = [
        mean_and_error(outer(rule, w, theta, cross_entropy(upper), decayed(b)) - whole)
        for b in (lower, upper)
    ]
    (two, two_error), (one, one_error) = means
    assert abs(two) < LIMIT * two_error
    assert one > LIMIT * one_error


@dataclass(frozen=True)
class Planted:
    """A bi-level problem whose hypergradient, whole and on batches, is known in closed form.

    ℓ_i(w, θ) = ½ h_i |w - θ1|² + exp(-θ) ξ_i·w + κθ, the mean of h 1, that of ξ 0. So L = ½|w -
    θ1|² + κθ, w*(θ) = θ1 and F(θ) = L(w*(θ), θ) = κθ, dF/dθ = κ. The part has so few rows that all
    batches can be listed, and means are sums, without any sampling.
    """

    stiffness: Tensor
    noise: Tensor
    slope: float = -0.1

    def loss(self, rows: Tensor) -> Loss:
        """Mean of ℓ (R,) on rows (R, B)."""
        h, xi = self.stiffness[rows].mean(-1), self.noise[rows].mean(-2)

        def loss(w: Tensor, theta: Tensor) -> Tensor:
            pull = h * (w - theta).square().sum(-1) / 2
            return pull + (-theta[:, 0]).exp() * (xi * w).sum(-1) + self.slope * theta[:, 0]

        return loss

    def batches(self, size: int) -> Tensor:
        """All N^B batches, rows (N^B, B), with repetitions."""
        return torch.cartesian_prod(*[torch.arange(len(self.noise))] * size).view(-1, size)

    def pairs(self, size: int) -> tuple[Tensor, Tensor]:
        """All pairs of an upper and a lower batch, rows (N^2B, B) each."""
        every = self.batches(size)
        return every.repeat_interleave(len(every), 0), every.repeat(len(every), 1)

    def covariance_trace_slope(self, theta: float) -> float:
        """∂_θ tr Cov(∇ℓ) at w*(θ), where ∇ℓ_i = exp(-θ) ξ_i."""
        return -2 * float(
            torch.tensor(-2 * theta, dtype=F64).exp() * self.noise.square().sum(-1).mean()
        )


def centred(values: Tensor) -> Tensor:
    """Values (N, ...) less their mean."""
    return values - values.mean(0)


NOISE = centred(torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=F64))
NOISY = Planted(torch.ones(3, dtype=F64), NOISE)
AT = 0.2
SERIES = {
    "identity": (Identity(0.5), 0.5),
    "neumann_0": (Neumann(0, 0.25), 0.25),
    "neumann_3": (Neumann(3, 0.25), None),
}


def planted_mean(
    problem: Planted, solver: Solver, upper: Tensor, lower: Tensor, shift: float = 0.0
) -> float:
    """The mean of all hypergradients on rows upper and lower, at w = (θ + shift)·1, θ = AT."""
    theta = torch.full((len(upper), 1), AT, dtype=F64)
    w = (theta + shift).expand(-1, problem.noise.shape[1])
    found = implicit_hypergradient(problem.loss(upper), problem.loss(lower), w, theta, solver, {})
    assert not found.fallback.any()
    return float(found.total.mean())


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("name", SERIES)
def test_planted_means_equal_closed_forms(name: str, size: int) -> None:
    """The biases of a planted problem equal their closed forms.

    Bias times B is the same for each B: -(q/2)·∂_θ tr Cov on one batch, 0 on two, with x = q v as H
    is 1.
    """
    solver, factor = SERIES[name]
    factor = factor or 1 - (1 - 0.25) ** 4
    every = NOISY.batches(size)
    bias = size * (planted_mean(NOISY, solver, every, every) - NOISY.slope)
    assert bias == pytest.approx(-factor / 2 * NOISY.covariance_trace_slope(AT), rel=1e-10)
    assert planted_mean(NOISY, solver, *NOISY.pairs(size)) == pytest.approx(NOISY.slope, rel=1e-10)


def test_short_series_has_bias_of_derivation() -> None:
    """A short series has the bias of the derivation.

    For a step a that is small against 1/H the factor q of the series is a (J + 1), as in the
    derivation.
    """
    step, terms, size = 1e-4, 3, 2
    every = NOISY.batches(size)
    bias = planted_mean(NOISY, Neumann(terms, step), every, every) - NOISY.slope
    want = -step * (terms + 1) / (2 * size) * NOISY.covariance_trace_slope(AT)
    assert bias == pytest.approx(want, rel=terms * step)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_one_batch_has_wrong_sign(size: int) -> None:
    """dF/dθ is -0.1. One batch for both levels says that F rises with θ, two say what is true.

    Both by the rule itself. Its mean over all batches of four examples is a mean over all that it
    could ever draw.
    """
    # the bound on the implicit term cuts batches whose direct term is small, and would shift the
    # mean
    rule = Hsac(objective="loss", solver={"name": "identity", "scale": 1.0}, ratio=math.inf)
    truth, bias = NOISY.slope, -NOISY.covariance_trace_slope(AT) / (2 * size)
    assert truth < 0 < truth + bias

    def mean(upper: Tensor, lower: Tensor) -> float:
        theta = torch.full((len(upper), 1), AT, dtype=F64)
        w = theta.expand(-1, NOISE.shape[1])
        return float(outer(rule, w, theta, NOISY.loss(upper), NOISY.loss(lower)).mean())

    every = NOISY.batches(size)
    assert mean(every, every) == pytest.approx(truth + bias, rel=1e-10)
    assert mean(*NOISY.pairs(size)) == pytest.approx(truth, rel=1e-10)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_rest_is_covariance_of_second_derivatives(size: int) -> None:
    """Two batches leave a covariance of the second derivatives.

    Two batches leave what M and H share: with one Neumann term, bias·B is a² Cov(M, H)ᵀv, for each
    B.

    M_i is -h_i - exp(-θ) ξ_i and H_i is h_i. A third batch would remove it, as stocBiO's does. It
    is 0 at a minimum, where v is, while the bias of one batch stays there.
    """
    stiffness, step, shift = torch.tensor([0.5, 0.7, 1.8], dtype=F64), 0.25, 0.3
    problem, solver, whole = Planted(stiffness, NOISE), Neumann(1, step), torch.arange(3)[None]
    mixed = -stiffness[:, None] - torch.tensor(-AT, dtype=F64).exp() * NOISE
    covariance = (centred(mixed) * centred(stiffness)[:, None]).mean(0)
    for at in (shift, 0.0):
        truth = planted_mean(problem, solver, whole, whole, at)
        bias = size * (planted_mean(problem, solver, *problem.pairs(size), at) - truth)
        assert bias == pytest.approx(step**2 * float(covariance.sum()) * at, rel=1e-9, abs=1e-14)
