"""The mean of a loss over the ranks of torch.distributed, with all of its derivatives.

A model that is trained on several ranks has one loss, the mean of what the ranks see. All that is
derived from it is then the same on all ranks: adversaries, solves and hypergradients.

Two functions do it, each the derivative of the other (Shoeybi et al. 2019, arXiv:1909.08053, call
them f and g). One takes what is the same on all ranks into a rank's own computation, and averages
gradients on their way back. The other averages over the ranks, and takes gradients back as they
are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from hsac.hypergradient.operator import Loss

AGREEMENT = 1e-9  # relative: of float64 sums, whose order is not the same on every machine


def mean_over_ranks(loss: Loss, group: dist.ProcessGroup) -> Loss:
    """Return the mean of a loss over ranks, each of which computes it on data of its own.

    Every evaluation and every derivative is a collective call: all ranks must take part.

    Args:
        loss: This rank's loss.
        group: The ranks.

    Returns:
        A function of w and θ, which must be the same on all ranks. Its values and its derivatives
        of any order are the same on all ranks too. It raises RuntimeError where the loss has failed
        on another rank.
    """

    def mean(w: Tensor, theta: Tensor) -> Tensor:
        with agreed(group, w.device):
            value = loss(*_Shared.apply(group, w, theta))
        return _Mean.apply(group, value)

    return mean


@contextmanager
def agreed(group: dist.ProcessGroup | None, device: torch.device) -> Iterator[None]:
    """Leave a piece of work on all ranks together: with an error on all where one has it.

    A rank that failed alone would leave the others waiting in their next collective call.

    Args:
        group: The ranks, which must all come here. None for this rank alone.
        device: Where the group's collective calls take tensors.

    Raises:
        RuntimeError: The work has failed on another rank.
    """
    try:
        yield
    except Exception:
        if group is not None:
            any_of([True], group, device)
        raise
    if group is not None and any_of([False], group, device)[0]:
        raise RuntimeError("this step failed on another rank of torch.distributed, which says why")


def same_on_ranks(numbers: Tensor, group: dist.ProcessGroup) -> bool:
    """Check that all ranks have the same numbers.

    Args:
        numbers: Any numbers (N,), as many on all ranks.
        group: The ranks, which must all ask.

    Returns:
        Whether they differ by no more than `AGREEMENT`, the same answer on all ranks.
    """
    found = [torch.empty_like(numbers) for _ in range(dist.get_world_size(group))]
    dist.all_gather(found, numbers, group)
    return all(torch.allclose(x, found[0], AGREEMENT, 0.0, equal_nan=True) for x in found)


class _Shared(torch.autograd.Function):
    """Tensors that are the same on all ranks, for a computation that is a rank's own."""

    @staticmethod
    def forward(ctx: Any, group: dist.ProcessGroup, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.group = group
        ctx.zeros = [x.detach().new_zeros(()).expand_as(x) for x in tensors]
        ctx.set_materialize_grads(False)
        return tuple(x.view_as(x) for x in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        # A batch can leave out what another rank's batch needs. Both must come to the same calls.
        given = [g is not None for g in gradients]
        used = any_of(given, ctx.group, ctx.zeros[0].device)
        means: list[Tensor | None] = []
        for gradient, zero, needed in zip(gradients, ctx.zeros, used, strict=True):
            own = zero if gradient is None else gradient
            means.append(_Mean.apply(ctx.group, own) if needed else None)
        return None, *means


class _Mean(torch.autograd.Function):
    """The mean of a tensor over the ranks."""

    @staticmethod
    def forward(ctx: Any, group: dist.ProcessGroup, x: Tensor) -> Tensor:
        ctx.group = group
        # Divided first, the sum of half-precision numbers cannot overflow.
        mean = (x / dist.get_world_size(group)).contiguous()
        dist.all_reduce(mean, group=group)
        return mean

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, _Shared.apply(ctx.group, gradient)[0]


def any_of(flags: list[bool], group: dist.ProcessGroup, device: torch.device) -> list[bool]:
    """Find out which flags are set on any rank.

    Args:
        flags: This rank's flags, as many on all ranks.
        group: The ranks, which must all ask.
        device: Where the group's collective calls take tensors.

    Returns:
        The flags, the same ones on all ranks.
    """
    counts = torch.tensor(flags, dtype=torch.int32, device=device)
    dist.all_reduce(counts, group=group)
    return [count > 0 for count in counts.tolist()]
