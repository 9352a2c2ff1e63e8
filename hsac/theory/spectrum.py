"""The Hessian's spectrum by products alone: its two ends by Lanczos, its trace by Hutchinson's
estimate.
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
    """The largest and the smallest (most negative) eigenvalue of each run's Hessian, each (R,).

    Implicitly restarted Lanczos (ARPACK), at most `restarts` times 20 products an end, from the
    same start vector on every call. First the eigenvalue λ of largest magnitude, to relative
    accuracy `tolerance`; then the other end as that of |λ|I ∓ H, which is positive semi-definite,
    to absolute accuracy `tolerance`·|λ|: ARPACK starts in the range of what it is given, and would
    not see that a singular Hessian has an eigenvalue 0. An end that does not converge, or a Hessian
    that is not finite, is NaN for that run. Runs go one by one although a product evaluates all R
    of them, so a solve costs R times what an operator of that single run would: hand in single runs
    (R = 1) where P is large.
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
    """Smallest and largest eigenvalue of one run."""
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
    if (
        not image.any()
    ):  # a vector in general position has no image but in a Hessian of 0, which ARPACK refuses
        return 0.0, 0.0
    first = end(product)
    if np.isnan(first):
        return np.nan, np.nan
    sign = np.sign(first)
    other = sign * (abs(first) - end(lambda v: abs(first) * v.ravel() - sign * product(v)))
    return (other, first) if sign > 0 else (first, other)


def trace(hessian: HessianOperator, probes: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """The trace of each run's Hessian and its standard error, each (R,), all runs at once with
    `probes` products.

    Hutchinson (1990): the mean of zᵀHz over Rademacher vectors z, which is unbiased with the least
    variance of all independent entries, 2 Σ_{i≠j} H_ij². `generator` is a CPU one, so that every
    device draws the same probes.
    """
    require(probes >= 2, "probes", probes, "an integer from 2")
    w = hessian.w
    values = []
    for _ in range(probes):
        z = (2.0 * torch.randint(0, 2, w.shape, generator=generator) - 1).to(w)
        values.append(dot(z, hessian(z)).detach())
    samples = torch.cat(values, dim=-1)
    return samples.mean(-1), samples.std(-1) / probes**0.5
