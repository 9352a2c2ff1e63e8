"""A PAC-Bayes certificate: an upper bound on the true 0-1 risk of a network with Gaussian noise on
its weights.

With probability at least 1 - δ₁ over n independent examples, for every posterior Q at once,
`kl(R̂(Q) | R(Q)) ≤ (KL(Q|P) + ln(2√n/δ₁))/n` for one prior P that does not depend on these examples
(Seeger, JMLR 2002; the constant 2√n is Maurer's, arXiv cs/0411099). R̂ and R are the empirical and
the true risk of the Gibbs classifier, which draws its weights from Q anew for each example.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import brentq
from torch import Tensor

from hsac.errors import InputError
from hsac.parts import require

WEIGHTS = 100_000  # weights, over all draws, that one call of the risk takes: bounds memory for any network
Risk = Callable[[Tensor], Tensor]  # weights (S, P) -> 0-1 error of each on the n examples (S,)


def kl_bernoulli(q: float, p: float) -> float:
    """kl(q|p) = q ln(q/p) + (1-q) ln((1-q)/(1-p)) in nats; inf where p is 0 or 1 and q is not.

    Raises InputError unless q and p are in [0, 1].
    """
    _probability("q", q)
    _probability("p", p)
    return max(_term(q, p, p - q) + _term(1 - q, 1 - p, q - p), 0.0)


def _term(a: float, b: float, difference: float) -> float:
    """a ln(a/b), b = a + difference; by log1p where a and b are close, or their sum would be lost
    in rounding.
    """
    if a == 0:
        return 0.0
    if b == 0:
        return math.inf
    return (
        -a * math.log1p(difference / a)
        if abs(difference) < a / 2
        else a * (math.log(a) - math.log(b))
    )


def kl_inverse(q: float, bound: float) -> float:
    """The largest p in [q, 1] with kl(q|p) ≤ bound (nats): the upper confidence limit that kl
    bounds turn into.

    It is below 1 for q < 1 in exact arithmetic; 1.0 is returned where no float below 1 is large
    enough. Raises InputError unless q is in [0, 1] and bound is at least 0 (inf is allowed).
    """
    _probability("q", q)
    require(bound >= 0, "bound", bound, "a number from 0")  # refuses NaN, too
    if bound == 0 or q == 1:
        return float(q)
    if q == 0:
        return -math.expm1(-bound)
    highest = math.nextafter(1.0, 0.0)
    if kl_bernoulli(q, highest) <= bound:
        return 1.0
    return float(brentq(lambda p: kl_bernoulli(q, p) - bound, q, highest, xtol=1e-15, rtol=1e-14))


def _probability(name: str, value: float) -> None:
    require(0 <= value <= 1, name, value, "a number from 0 to 1")


@dataclass(frozen=True)
class Certificate:
    """What `certify` found; risks are shares in [0, 1], `kl` and `slack` are in nats.

    `sigma`, `alpha`: noise and place of the posterior N(w0 + α(w - w0), σ² I) that was chosen;
    `empirical`: Monte Carlo mean of the Gibbs classifier's 0-1 error on the n examples,
    `empirical_upper` its upper confidence limit; `kl` of posterior from prior; `slack` = (KL +
    ln(2√n/δ₁) + ln|sigmas| + log_choices)/n; `bound` on the true risk; `chance`: the error of
    always predicting the most frequent class of the n examples.
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
        """Whether the bound is no better than predicting one class; being under 1 is no feat, kl⁻¹
        always is.
        """
        return self.bound >= self.chance


def certify(
    risk: Risk,
    w: Tensor,
    prior: Tensor,
    n: int,
    *,
    sigmas: Sequence[float],
    delta: float,
    draws: int,
    pilot_draws: int,
    generator: torch.Generator,
    chance: float,
    alphas: Sequence[float] = (1.0,),
    log_choices: float = 0.0,
) -> Certificate:
    """Bound, with probability ≥ 1 - δ, the true risk of N(w0 + α(w - w0), σ² I) by its error on n
    examples.

    `risk` gives the 0-1 error of each of S weight vectors (S, P) on the n examples, w and `prior`
    w0 are (P,). w0 must not depend on these examples: the start weights, or weights trained on
    other examples. `log_choices` is the logarithm of the number of further choices made by looking
    at the examples (curvatures: see `round_curvature`). `chance` is reported beside the bound, see
    `Certificate`. The generator lives on the CPU and decides every draw. Costs
    (|sigmas|·|alphas|·pilot_draws + draws)·n forward passes.

    The bound is kl⁻¹(q̂⁺ | (KL + ln(2√n/δ₁) + ln|sigmas| + log_choices)/n), KL = α²|w - w0|²/(2σ²),
    δ₁ = δ₂ = δ/2.

    - The union is over the priors N(w0, σ² I), one for each σ. α needs none: with a fixed prior the bound holds for all
      posteriors at once.
    - q̂⁺ = kl⁻¹(q̂ | ln(2/δ₂)/draws) (Langford and Caruana, NeurIPS 2001) covers the Monte Carlo error of q̂. σ and α are
      chosen on pilot draws of their own; given the examples and the pilot the chosen posterior is therefore fixed, the
      draws behind q̂ are independent and identically distributed, and the limit holds with probability 1 - δ₂ without
      a union over what might have been chosen. Reusing the pilot would need one: its smallest mean is too small.

    Raises InputError for an empty or non-positive grid, weights or errors that are not finite, δ
    outside (0, 1) or counts under 1.
    """
    require(
        len(sigmas) > 0 and all(0 < s < math.inf for s in sigmas),
        "sigmas",
        list(sigmas),
        "numbers above 0",
    )
    require(
        len(alphas) > 0 and all(0 <= a <= 1 for a in alphas),
        "alphas",
        list(alphas),
        "numbers from 0 to 1",
    )
    require(0 < delta < 1, "delta", delta, "a number between 0 and 1")
    require(log_choices >= 0, "log_choices", log_choices, "a number from 0")
    for name, count in (("n", n), ("draws", draws), ("pilot_draws", pilot_draws)):
        require(count >= 1, name, count, "an integer from 1")
    _probability("chance", chance)
    path = w - prior
    length = float(path.double().square().sum())
    if not math.isfinite(length):
        raise InputError(
            "weights: found a value that is not finite; allowed are finite weights and start"
            " weights"
        )

    chunk = max(1, WEIGHTS // len(w))

    def normal(count: int) -> Iterable[Tensor]:
        """Standard normals in chunks (S, P) that are `count` draws together."""
        sizes = [min(chunk, count - i) for i in range(0, count, chunk)]
        return (
            torch.randn(size, len(w), generator=generator, dtype=torch.float64).to(w)
            for size in sizes
        )

    def mean_error(sigma: float, alpha: float, noise: Iterable[Tensor]) -> float:
        found = [risk(prior + alpha * path + sigma * part).double().cpu() for part in noise]
        return float(torch.cat(found).mean())

    def assemble(sigma: float, alpha: float, empirical: float) -> Certificate:
        kl = alpha**2 * length / (2 * sigma**2)
        upper = kl_inverse(empirical, math.log(4 / delta) / draws)
        slack = (kl + math.log(4 * math.sqrt(n) / delta) + math.log(len(sigmas)) + log_choices) / n
        return Certificate(
            sigma, alpha, empirical, upper, kl, slack, kl_inverse(upper, slack), chance
        )

    pilot = list(
        normal(pilot_draws)
    )  # the same noise for every σ and α, so that they are compared on equal terms
    tried = [assemble(s, a, mean_error(s, a, pilot)) for s in sigmas for a in alphas]
    best = min(tried, key=lambda c: c.bound)
    return assemble(best.sigma, best.alpha, mean_error(best.sigma, best.alpha, normal(draws)))


def round_curvature(c: Tensor, bounds: tuple[float, float], points: int) -> tuple[Tensor, float]:
    """Curvatures c (C,) moved to the nearest of `points` log-spaced values from `bounds`, and C
    ln(points).

    A curvature learned on the certified examples was chosen by looking at them; on a grid fixed
    beforehand the price is the logarithm of the number of choices, and the network that is
    certified is the one with the rounded curvatures. C counts free curvatures: give one column
    where all layers share it. Raises InputError for fewer than two points, bounds that are not 0 <
    low < high, or c outside of them.
    """
    low, high = bounds
    require(points >= 2, "points", points, "an integer from 2")
    require(0 < low < high < math.inf, "bounds", list(bounds), "0 < low < high")
    require(
        bool(((c >= low * (1 - 1e-6)) & (c <= high * (1 + 1e-6))).all()),
        "c",
        c.tolist(),
        f"{low:g} to {high:g}",
    )
    step = math.log(high / low) / (points - 1)
    index = ((c / low).log() / step).round().clamp(0, points - 1)
    return low * (index * step).exp(), c.numel() * math.log(points)
