"""Bounds on |x - H⁻¹v| of every solver on a μ-strongly convex, ℓ-smooth lower level; |v| is `size`."""

from math import sqrt


def identity(scale: float, mu: float, ell: float, size: float) -> float:
    """x = scale·v: max |scale - 1/λ| over [μ, ℓ], times |v|."""
    return max(abs(scale - 1 / mu), abs(scale - 1 / ell)) * size


def neumann(terms: int, step: float, mu: float, size: float) -> float:
    """(1 - aμ)^(terms + 1) |v|/μ for steps a ≤ 1/ℓ; unrolled's at a minimiser with one term less."""
    return (1 - step * mu) ** (terms + 1) * size / mu


def cg(terms: int, damping: float, mu: float, ell: float, size: float) -> float:
    """2 ((√κ - 1)/(√κ + 1))^terms |v|/(μ + d), κ of the damped spectrum, and what the damping d
    itself adds.
    """
    root = sqrt((ell + damping) / (mu + damping))
    return 2 * ((root - 1) / (root + 1)) ** terms * size / (mu + damping) + damped(
        damping, mu, size
    )


def nystrom(rest: float, damping: float, mu: float, size: float) -> float:
    """|E|/(d(d + |E|)) |v|, |E| = `rest` of E = H - H_k, and what the damping d itself adds."""
    return rest / (damping * (damping + rest)) * size + damped(damping, mu, size)


def damped(damping: float, mu: float, size: float) -> float:
    """|(H + dI)⁻¹v - H⁻¹v| ≤ d/(μ(μ + d)) |v|."""
    return damping / (mu * (mu + damping)) * size


def contraction(step: float, mu: float, ell: float) -> float:
    """Factor of one product of the amortised solver: max |1 - aλ| over [μ, ℓ]; 1 - aμ for a ≤ 1/ℓ."""
    return max(abs(1 - step * mu), abs(1 - step * ell))
