"""How often the PAC-Bayes certificate holds, by simulation where the true risk is known."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from scipy.special import ndtr

from hsac.parts import require
from hsac.theory.pac_bayes import Posteriors, certify

SIGMAS = tuple(float(s) for s in np.geomspace(0.05, 1.0, 8))
ALPHAS = (0.7, 1.0)
QUADRATURE = (48, 400)  # nodes over the length of x's projection and over its angle
CERTIFICATE, CONTROL = "certificate", "without complexity"


@dataclass(frozen=True)
class Coverage:
    """How often the PAC-Bayes certificate holds, over many samples.

    The problem: x ~ N(0, I) and y = sign(u·x), with a share of the labels flipped. On each
    independent sample a linear classifier is fitted by ridge regression and scaled to length 1. The
    prior mean is 0. `certify` bounds the true risk of its Gibbs classifier, which is known to
    quadrature.

    A control leaves the complexity term out: it is the same Monte Carlo limit on the training error
    alone. A simulation in which that holds could not tell a right bound from a wrong one. Where the
    certificate always holds, the margins say by how much: a simulation only rules out errors larger
    than these.

    Attributes:
        samples: Independent samples of each size.
        points: Sizes n of the samples.
        dimensions: Dimension of x, at least 3.
        noise: Share of labels that are flipped, under 0.5.
        deltas: Probabilities δ of being wrong that the certificate is asked for.
        draws: Draws of the certificate.
        pilot_draws: Draws by which the certificate chooses σ and α.
        seed: Seed of all draws.
    """

    samples: int = 1000
    points: tuple[int, ...] = (50, 200, 800)
    dimensions: int = 20
    noise: float = 0.1
    deltas: tuple[float, ...] = (0.05, 0.3)
    draws: int = 1000
    pilot_draws: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        for name in ("samples", "draws", "pilot_draws"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "an integer from 1")
        ok = bool(self.points) and min(self.points) >= 1
        require(ok, "points", self.points, "integers from 1")
        require(self.dimensions >= 3, "dimensions", self.dimensions, "an integer from 3")
        require(0 <= self.noise < 0.5, "noise", self.noise, "a number from 0, under 0.5")
        inside = bool(self.deltas) and all(0 < d < 1 for d in self.deltas)
        require(inside, "deltas", self.deltas, "numbers between 0 and 1")

    def rows(self, progress: Callable[[str], None]) -> list[dict[str, float | int | str]]:
        """Certify every sample and compare with the true risk.

        Args:
            progress: Called with a line of text as the work goes on.

        Returns:
            One row an n, δ and bound ("certificate" or the control). `held` of `samples` had true
            risk ≤ bound. `coverage` is their share, with its 95 % Clopper-Pearson interval.
            `mean_bound`, `mean_risk` and `mean_empirical` are means of bound, true risk and
            training error of the Gibbs classifier. `margin_q05`, `margin_q50` and `margin_q95` are
            quantiles of bound - true risk.
        """
        out: list[dict[str, float | int | str]] = []
        for n in self.points:
            found = self._samples(n, progress)
            for k, delta in enumerate(self.deltas):
                for name in (CERTIFICATE, CONTROL):
                    row: dict[str, float | int | str] = {"n": n, "delta": delta, "bound": name}
                    row |= _summary(found[name][k], found["risk"][k])
                    out.append(row | {"mean_empirical": float(found["empirical"][k].mean())})
        return out

    def _samples(self, n: int, progress: Callable[[str], None]) -> dict[str, np.ndarray]:
        """Return bounds, true risk and training error, each (|deltas|, samples)."""
        generator = torch.Generator().manual_seed(self.seed)
        shape = (len(self.deltas), self.samples)
        certified = (CERTIFICATE, CONTROL, "empirical", "sigma", "alpha")
        found = {name: np.empty(shape) for name in (*certified, "risk")}
        means = np.empty((self.samples, self.dimensions))
        for i in range(self.samples):
            if i % max(1, self.samples // 4) == 0:
                progress(f"coverage: {n} points, sample {i} of {self.samples}")
            x = torch.randn(n, self.dimensions, generator=generator, dtype=torch.float64)
            flipped = torch.rand(n, generator=generator, dtype=torch.float64) < self.noise
            y = torch.where((x[:, 0] >= 0) ^ flipped, 1.0, -1.0).double()  # u is the first axis
            # The ridge keeps the system solvable with fewer points than dimensions.
            gram = x.mT @ x + torch.eye(self.dimensions, dtype=torch.float64)
            w = torch.linalg.solve(gram, x.mT @ y)
            w = w / w.norm()
            means[i] = w.numpy()
            signed = y[:, None] * x
            # the error of always saying the sample's more frequent class
            chance = min(float((y > 0).double().mean()), float((y < 0).double().mean()))
            for k, delta in enumerate(self.deltas):
                c = certify(
                    # A tie counts as an error.
                    lambda weights, signed=signed: (weights @ signed.mT <= 0).double().mean(-1),  # type: ignore[misc]
                    w,
                    torch.zeros_like(w),
                    n,
                    Posteriors(SIGMAS, delta, self.draws, self.pilot_draws, ALPHAS),
                    generator,
                    chance,
                )
                values = (c.bound, c.empirical_upper, c.empirical, c.sigma, c.alpha)
                for name, value in zip(certified, values, strict=True):
                    found[name][k, i] = value
        for k in range(len(self.deltas)):
            mean = found["alpha"][k][:, None] * means
            # All samples at once, and α scales the posterior's mean.
            found["risk"][k] = true_risk(mean, found["sigma"][k], self.noise)
        return found


def _summary(bound: np.ndarray, risk: np.ndarray) -> dict[str, float | int | str]:
    """Return coverage and margins of the bounds (samples,) on the risks (samples,)."""
    held, samples = int((risk <= bound).sum()), len(bound)
    interval = stats.binomtest(held, samples).proportion_ci(0.95, method="exact")
    low, middle, high = np.quantile(bound - risk, (0.05, 0.5, 0.95))
    return {
        "samples": samples,
        "held": held,
        "coverage": held / samples,
        "coverage_low": float(interval.low),
        "coverage_high": float(interval.high),
        "mean_bound": float(bound.mean()),
        "mean_risk": float(risk.mean()),
        "margin_q05": float(low),
        "margin_q50": float(middle),
        "margin_q95": float(high),
    }


def true_risk(mean: np.ndarray, sigma: np.ndarray, noise: float) -> np.ndarray:
    """Compute the true 0-1 risk of Gibbs classifiers w ~ N(mean, σ² I).

    x ~ N(0, I) and y = sign(x₁), flipped with probability `noise`. Only x's direction matters. In
    the plane of the first axis and of `mean` it has length r with r² ~ Beta(1, (d-2)/2) and a
    uniform angle φ. There w·x ~ N(r (a cos φ + b sin φ), σ²), with a = mean₁ and b the length of
    the rest. So the risk is noise + (1 - 2 noise) E Φ(-r (a cos φ + b sin φ)/σ) over φ in
    (-π/2, π/2), where x₁ > 0. The quadrature is Gauss-Legendre in r's quantile, and the midpoint
    rule in φ.

    Args:
        mean: Means (M, d).
        sigma: Standard deviations σ (M,).
        noise: Share of labels that are flipped.

    Returns:
        Risks (M,).
    """
    lengths, angles = QUADRATURE
    node, weight = np.polynomial.legendre.leggauss(lengths)
    # Nodes lie in [-1, 1] and weights sum to 2, hence the halves here and below.
    r = np.sqrt(stats.beta(1, mean.shape[1] / 2 - 1).ppf((node + 1) / 2))
    phi = ((np.arange(angles) + 0.5) / angles - 0.5) * np.pi
    b = np.linalg.norm(mean[:, 1:], axis=1)
    across = mean[:, :1] * np.cos(phi) + b[:, None] * np.sin(phi)  # (M, angles)
    wrong = np.zeros(len(mean))
    for length, share in zip(r, weight / 2, strict=True):
        wrong += share * ndtr(-length * across / sigma[:, None]).mean(1)
    return noise + (1 - 2 * noise) * wrong
