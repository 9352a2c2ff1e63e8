"""Bounds on |x - H⁻¹v| of every solver, on a μ-strongly convex and ℓ-smooth lower level."""

from math import sqrt


def identity(scale: float, mu: float, ell: float, size: float) -> float:
    """Bound the error of x = scale·v: max |scale - 1/λ| over [μ, ℓ], times |v|.

    Args:
        scale: The solver's factor.
        mu: The least eigenvalue μ > 0.
        ell: The largest eigenvalue ℓ.
        size: |v|.

    Returns:
        The bound.
    """
    # 1/λ is monotone, so the worst case lies at an end of the spectrum.
    return max(abs(scale - 1 / mu), abs(scale - 1 / ell)) * size


def neumann(terms: int, step: float, mu: float, size: float) -> float:
    """Bound the error of a Neumann series: (1 - aμ)^(terms + 1) |v|/μ.

    That of unrolled differentiation at a minimiser is the same with one term less.

    Args:
        terms: Terms of the series.
        step: The step a ≤ 1/ℓ.
        mu: The least eigenvalue μ > 0.
        size: |v|.

    Returns:
        The bound.
    """
    # What is left is (I - aH)^(terms + 1) H⁻¹v, whose factor is largest at μ for a ≤ 1/ℓ.
    return (1 - step * mu) ** (terms + 1) * size / mu


def cg(terms: int, damping: float, mu: float, ell: float, size: float) -> float:
    """Bound the error of conjugate gradients: 2 ((√κ - 1)/(√κ + 1))^terms |v|/(μ + d).

    κ is of the damped spectrum. What the damping d itself adds comes on top.

    Args:
        terms: Steps of the solver.
        damping: The damping d.
        mu: The least eigenvalue μ > 0.
        ell: The largest eigenvalue ℓ.
        size: |v|.

    Returns:
        The bound.
    """
    # The solver inverts H + dI, so κ is of that.
    root = sqrt((ell + damping) / (mu + damping))
    shrunk = ((root - 1) / (root + 1)) ** terms
    # The textbook bound is in the norm of H + dI. The Euclidean error is at most 1/√(μ + d) of it,
    # and the solution in that norm at most |v|/√(μ + d).
    return 2 * shrunk * size / (mu + damping) + damped(damping, mu, size)


def nystrom(rest: float, damping: float, mu: float, size: float) -> float:
    """Bound the error of Nyström's method: |E|/(d(d + |E|)) |v|, E = H - H_k.

    What the damping d itself adds comes on top.

    Args:
        rest: |E|, what the sketch H_k leaves of H.
        damping: The damping d.
        mu: The least eigenvalue μ > 0.
        size: |v|.

    Returns:
        The bound.
    """
    # 1/d - 1/(d + |E|): worst where H_k is 0 and E has its whole norm.
    return rest / (damping * (damping + rest)) * size + damped(damping, mu, size)


def damped(damping: float, mu: float, size: float) -> float:
    """Bound what damping adds: |(H + dI)⁻¹v - H⁻¹v| ≤ d/(μ(μ + d)) |v|.

    Args:
        damping: The damping d.
        mu: The least eigenvalue μ > 0.
        size: |v|.

    Returns:
        The bound.
    """
    # 1/μ - 1/(μ + d), since the difference 1/λ - 1/(λ + d) falls with λ.
    return damping / (mu * (mu + damping)) * size


def contraction(step: float, mu: float, ell: float) -> float:
    """Compute the factor of one product of the amortised solver: max |1 - aλ| over [μ, ℓ].

    Args:
        step: The step a. For a ≤ 1/ℓ the factor is 1 - aμ.
        mu: The least eigenvalue μ.
        ell: The largest eigenvalue ℓ.

    Returns:
        The factor.
    """
    # |1 - aλ| is convex in λ, so its maximum is at an end.
    return max(abs(1 - step * mu), abs(1 - step * ell))
