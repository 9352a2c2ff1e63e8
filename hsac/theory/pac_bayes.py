"""A PAC-Bayes certificate: an upper bound on the true 0-1 risk of a network with noisy weights.

The noise is Gaussian. With probability at least 1 - δ₁ over n independent examples, for every
posterior Q at once, `kl(R̂(Q) | R(Q)) ≤ (KL(Q|P) + ln(2√n/δ₁))/n` for one prior P that does not
depend on these examples (Seeger, JMLR 2002; the constant 2√n is Maurer's, arXiv cs/0411099). R̂ and
R are the empirical and the true risk of the Gibbs classifier, which draws its weights from Q anew
for each example.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import brentq
from torch import Tensor

from hsac.errors import InputError
from hsac.parts import require

# Weights, over all draws, that one call of the risk takes. It bounds memory for any network.
WEIGHTS = 100_000
Risk = Callable[[Tensor], Tensor]  # weights (S, P) -> 0-1 error of each on the n examples (S,)


def kl_bernoulli(q: float, p: float) -> float:
    """Compute kl(q|p) = q ln(q/p) + (1-q) ln((1-q)/(1-p)).

    Args:
        q: A probability.
        p: A probability.

    Returns:
        Nats. Infinite where p is 0 or 1 and q is not.

    Raises:
        InputError: q or p is not in [0, 1].
    """
    _probability("q", q)
    _probability("p", p)
    # Rounding may leave a sum just below 0.
    return max(_term(q, p, p - q) + _term(1 - q, 1 - p, q - p), 0.0)


def _term(a: float, b: float, difference: float) -> float:
    """Compute one term of kl: a ln(a/b), b = a + difference."""
    # The limit of a ln(a/b).
    if a == 0:
        return 0.0
    if b == 0:
        return math.inf
    # By log1p where a and b are close, or the sum of both terms would be lost in rounding.
    if abs(difference) < a / 2:
        return -a * math.log1p(difference / a)
    return a * (math.log(a) - math.log(b))


def kl_inverse(q: float, bound: float) -> float:
    """Compute the largest p in [q, 1] with kl(q|p) ≤ bound.

    It is the upper confidence limit that kl bounds turn into. In exact arithmetic it is below 1 for
    q < 1. Here 1.0 is returned where no float below 1 is large enough.

    Args:
        q: A probability.
        bound: Nats from 0, or infinity.

    Returns:
        The probability p.

    Raises:
        InputError: q is not in [0, 1], or the bound is below 0.
    """
    _probability("q", q)
    require(bound >= 0, "bound", bound, "a number from 0")  # refuses NaN, too
    if bound == 0 or q == 1:
        return float(q)
    if q == 0:
        # kl(0|p) = -ln(1 - p) has an inverse in closed form.
        return -math.expm1(-bound)
    # At 1 itself kl is infinite, and no root finder can begin there.
    highest = math.nextafter(1.0, 0.0)
    if kl_bernoulli(q, highest) <= bound:
        return 1.0
    return float(brentq(lambda p: kl_bernoulli(q, p) - bound, q, highest, xtol=1e-15, rtol=1e-14))


def _probability(name: str, value: float) -> None:
    require(0 <= value <= 1, name, value, "a number from 0 to 1")


@dataclass(frozen=True)
class Certificate:
    """A bound on the true risk, and what it is made of.

    Attributes:
        sigma: Noise of the posterior N(w0 + α(w - w0), σ² I) that was chosen.
        alpha: Its place α.
        empirical: Monte Carlo mean of the Gibbs classifier's 0-1 error on the n examples.
        empirical_upper: Its upper confidence limit.
        kl: Divergence of posterior from prior, in nats.
        slack: (KL + ln(2√n/δ₁) + ln|sigmas| + log_choices)/n, in nats.
        bound: The bound, a share in [0, 1].
        chance: The error of always predicting the most frequent class of the n examples.
    """

    sigma: float
    alpha: float
    empirical: float
    empirical_upper: float
    kl: float
    slack: float
    bound: float
    chance: float

    @property
    def vacuous(self) -> bool:
        """Whether the bound is no better than predicting one class.

        Being under 1 is no feat, as kl⁻¹ always is.
        """
        return self.bound >= self.chance


@dataclass(frozen=True)
class Posteriors:
    """The posteriors to choose from, and how surely to bound the risk of the chosen one.

    Raises InputError for an empty or non-positive grid, δ outside (0, 1) or counts under 1.

    Attributes:
        sigmas: Noise σ of the posteriors, and of a prior each.
        delta: The bound holds with probability 1 - δ.
        draws: Weights drawn of the chosen posterior, for its empirical error.
        pilot_draws: Weights drawn of each posterior, to choose by.
        alphas: Places α of the posteriors on the way from the prior to the weights.
        log_choices: Logarithm of the number of further choices made by looking at the examples
            (curvatures: see `round_curvature`).
    """

    sigmas: Sequence[float]
    delta: float
    draws: int
    pilot_draws: int
    alphas: Sequence[float] = (1.0,)
    log_choices: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what allows no bound."""
        positive = len(self.sigmas) > 0 and all(0 < s < math.inf for s in self.sigmas)
        require(positive, "sigmas", list(self.sigmas), "numbers above 0")
        shares = len(self.alphas) > 0 and all(0 <= a <= 1 for a in self.alphas)
        require(shares, "alphas", list(self.alphas), "numbers from 0 to 1")
        require(0 < self.delta < 1, "delta", self.delta, "a number between 0 and 1")
        require(self.log_choices >= 0, "log_choices", self.log_choices, "a number from 0")
        for name in ("draws", "pilot_draws"):
            count = getattr(self, name)
            require(count >= 1, name, count, "an integer from 1")


def certify(
    risk: Risk,
    w: Tensor,
    prior: Tensor,
    n: int,
    posteriors: Posteriors,
    generator: torch.Generator,
    chance: float,
) -> Certificate:
    """Bound, with probability ≥ 1 - δ, the true risk of N(w0 + α(w - w0), σ² I).

    The bound is kl⁻¹(q̂⁺ | (KL + ln(2√n/δ₁) + ln|sigmas| + log_choices)/n), KL = α²|w - w0|²/(2σ²),
    δ₁ = δ₂ = δ/2.

    - The union is over the priors N(w0, σ² I), one for each σ. α needs none: with a fixed prior the
      bound holds for all posteriors at once.
    - q̂⁺ = kl⁻¹(q̂ | ln(2/δ₂)/draws) (Langford and Caruana, NeurIPS 2001) covers the Monte Carlo
      error of q̂. σ and α are chosen on pilot draws of their own. Given the examples and the pilot
      the chosen posterior is therefore fixed, the draws behind q̂ are independent and identically
      distributed, and the limit holds with probability 1 - δ₂ without a union over what might have
      been chosen. Reusing the pilot would need one: its smallest mean is too small.

    Costs (|sigmas|·|alphas|·pilot_draws + draws)·n forward passes.

    Args:
        risk: The 0-1 error of each of S weight vectors (S, P) on the n examples.
        w: Weights (P,).
        prior: The prior's mean w0 (P,). It must not depend on the n examples: start weights, or
            weights trained on other examples.
        n: Number of independent examples.
        posteriors: The posteriors to choose from, with δ and numbers of draws.
        generator: Decides every draw. It lives on the CPU.
        chance: The error of always predicting one class, reported beside the bound.

    Returns:
        The certificate of the posterior with the least bound on the pilot draws.

    Raises:
        InputError: n is under 1, the chance no probability, or the weights are not finite.
    """
    require(n >= 1, "n", n, "an integer from 1")
    _probability("chance", chance)
    path = w - prior
    # float64, since it sums over all weights and enters the bound.
    length = float(path.double().square().sum())
    if not math.isfinite(length):
        raise InputError(
            "weights: found a value that is not finite; allowed are finite weights and start"
            " weights"
        )

    def mean_error(sigma: float, alpha: float, noise: Iterable[Tensor]) -> float:
        found = [risk(prior + alpha * path + sigma * part).double().cpu() for part in noise]
        return float(torch.cat(found).mean())

    def assemble(sigma: float, alpha: float, empirical: float) -> Certificate:
        kl = alpha**2 * length / (2 * sigma**2)
        # ln(2/δ₂) with δ₂ = δ/2.
        upper = kl_inverse(empirical, math.log(4 / posteriors.delta) / posteriors.draws)
        slack = (
            kl
            # ln(2√n/δ₁) with δ₁ = δ/2.
            + math.log(4 * math.sqrt(n) / posteriors.delta)
            + math.log(len(posteriors.sigmas))
            + posteriors.log_choices
        ) / n
        bound = kl_inverse(upper, slack)
        return Certificate(sigma, alpha, empirical, upper, kl, slack, bound, chance)

    # The same noise is for every σ and α, so that they are compared on equal terms.
    pilot = list(_normal(w, posteriors.pilot_draws, generator))
    tried = []
    for sigma, alpha in itertools.product(posteriors.sigmas, posteriors.alphas):
        tried.append(assemble(sigma, alpha, mean_error(sigma, alpha, pilot)))
    best = min(tried, key=lambda c: c.bound)
    # Fresh draws, since the least of many pilot means is too small.
    noise = _normal(w, posteriors.draws, generator)
    return assemble(best.sigma, best.alpha, mean_error(best.sigma, best.alpha, noise))


def _normal(w: Tensor, count: int, generator: torch.Generator) -> Iterable[Tensor]:
    """Draw standard normals in chunks (S, P), `count` draws in all."""
    chunk = max(1, WEIGHTS // len(w))
    for start in range(0, count, chunk):
        size = min(chunk, count - start)
        # Drawn in float64 on the CPU, so that every device and dtype sees the same noise.
        yield torch.randn(size, len(w), generator=generator, dtype=torch.float64).to(w)


def round_curvature(c: Tensor, bounds: tuple[float, float], points: int) -> tuple[Tensor, float]:
    """Move curvatures to the nearest of log-spaced values, and say what their choice costs.

    A curvature learned on the certified examples was chosen by looking at them. On a grid fixed
    beforehand the price is the logarithm of the number of choices, and the network that is
    certified is the one with the rounded curvatures.

    Args:
        c: The free curvatures (C,): one where all layers share it.
        bounds: Ends of the grid, 0 < low < high.
        points: Points of the grid, from 2.

    Returns:
        The rounded curvatures (C,), and C ln(points).

    Raises:
        InputError: There are fewer than two points, the bounds are in disorder, or c is outside of
            them.
    """
    low, high = bounds
    require(points >= 2, "points", points, "an integer from 2")
    require(0 < low < high < math.inf, "bounds", list(bounds), "0 < low < high")
    # A curvature at an end of its interval may lie beyond it by a rounding of float32.
    inside = bool(((c >= low * (1 - 1e-6)) & (c <= high * (1 + 1e-6))).all())
    require(inside, "c", c.tolist(), f"{low:g} to {high:g}")
    step = math.log(high / low) / (points - 1)
    index = ((c / low).log() / step).round().clamp(0, points - 1)
    return low * (index * step).exp(), c.numel() * math.log(points)
