"""The Hessian's spectrum by products alone.

Its two ends come from Lanczos' method, its trace from Hutchinson's estimate.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Generator, Tensor

from hsac.hypergradient.operator import HessianOperator, dot
from hsac.parts import require

DENSE = 20  # up to this size P products give every eigenvalue, fewer than Lanczos would take


def extreme_eigenvalues(
    hessian: HessianOperator, tolerance: float = 1e-4, restarts: int = 100
) -> tuple[Tensor, Tensor]:
    """Compute the largest and the smallest (most negative) eigenvalue of each run's Hessian.

    Implicitly restarted Lanczos (ARPACK), from the same start vector on every call. First comes the
    eigenvalue λ of largest magnitude, to relative accuracy `tolerance`. Then comes the other end,
    to absolute accuracy `tolerance`·|λ|.

    Args:
        hessian: The operator. Runs go one by one although a product evaluates all R of them, so a
            solve costs R times what an operator of that single run would. Hand in single runs
            (R = 1) where P is large.
        tolerance: The accuracy, in (0, 1).
        restarts: An end takes at most so many times 20 products.

    Returns:
        The largest (R,) and the smallest (R,). NaN for an end that does not converge, and for a
        Hessian that is not finite.

    Raises:
        InputError: Tolerance or restarts are not allowed.
    """
    require(0 < tolerance < 1, "tolerance", tolerance, "a number in (0, 1)")
    require(restarts >= 1, "restarts", restarts, "an integer from 1")
    runs, size = hessian.w.shape
    if size <= DENSE:
        dense = hessian.dense().detach()
        usable = dense.isfinite().all(-1).all(-1)
        values = torch.linalg.eigvalsh(
            torch.where(usable[:, None, None], dense, torch.zeros_like(dense))
        )
        values = torch.where(usable[:, None], values, torch.full_like(values, torch.nan))
        return values[:, -1], values[:, 0]
    ends = [_ends(hessian, run, tolerance, restarts) for run in range(runs)]
    smallest, largest = torch.tensor(ends, dtype=hessian.w.dtype, device=hessian.w.device).mT
    return largest, smallest


def _ends(
    hessian: HessianOperator, run: int, tolerance: float, restarts: int
) -> tuple[float, float]:
    """Compute the smallest and the largest eigenvalue of one run."""
    w = hessian.w
    dtype = np.dtype(str(w.dtype).removeprefix("torch."))

    def product(v: np.ndarray) -> np.ndarray:
        all_runs = torch.zeros_like(w)
        all_runs[run] = torch.from_numpy(v.ravel()).to(w)
        return hessian(all_runs)[run].detach().cpu().numpy().astype(dtype)

    start = np.random.default_rng(0).standard_normal(w.shape[1]).astype(dtype)

    def end(matvec: Callable[[np.ndarray], np.ndarray]) -> float:
        operator = LinearOperator((w.shape[1],) * 2, matvec=matvec, dtype=dtype)
        options = {
            "ncv": DENSE,
            "tol": tolerance,
            "maxiter": restarts,
            "return_eigenvectors": False,
        }
        try:
            return float(eigsh(operator, k=1, which="LM", v0=start, **options)[0])
        except ArpackError:  # not converged (ArpackNoConvergence), or not finite on the way
            return np.nan

    image = product(start)
    if not np.isfinite(image).all():
        return np.nan, np.nan
    if not image.any():
        # Only a Hessian of 0, which ARPACK refuses, maps a vector in general position to 0.
        return 0.0, 0.0
    first = end(product)
    if np.isnan(first):
        return np.nan, np.nan
    # The other end is that of |λ|I ∓ H, which is positive semi-definite. ARPACK starts in the range
    # of what it is given, and would not see that a singular Hessian has an eigenvalue 0.
    sign = np.sign(first)
    other = sign * (abs(first) - end(lambda v: abs(first) * v.ravel() - sign * product(v)))
    return (other, first) if sign > 0 else (first, other)


def trace(hessian: HessianOperator, probes: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Estimate the trace of each run's Hessian, all runs at once (Hutchinson, 1990).

    It is the mean of zᵀHz over Rademacher vectors z, which is unbiased with the least variance of
    all independent entries, 2 Σ_{i≠j} H_ij².

    Args:
        hessian: The operator.
        probes: Number of vectors, and of products.
        generator: A generator of the CPU, so that every device draws the same probes.

    Returns:
        The estimate (R,) and its standard error (R,).

    Raises:
        InputError: There are fewer than two probes.
    """
    require(probes >= 2, "probes", probes, "an integer from 2")
    w = hessian.w
    values = []
    for _ in range(probes):
        z = (2.0 * torch.randint(0, 2, w.shape, generator=generator) - 1).to(w)
        values.append(dot(z, hessian(z)).detach())
    samples = torch.cat(values, dim=-1)
    return samples.mean(-1), samples.std(-1) / probes**0.5
