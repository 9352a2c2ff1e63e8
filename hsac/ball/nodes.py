"""What the ball's own graph nodes share: rules for vmap and for forward mode."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import _unwrap_for_grad, _wrap_for_grad
from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters
from torch.autograd.forward_ad import _set_fwd_grad_enabled

# (saved tensors, tangents of the inputs) -> tangent of the output
Rule = Callable[[tuple[Tensor, ...], tuple[Tensor | None, ...]], Tensor]


def batched(size: int, dims: tuple[int | None, ...], *inputs: Tensor) -> list[Tensor]:
    """Move the batch of a vmap rule to the front of each input.

    Args:
        size: Number of elements of the batch.
        dims: Where the batch is in each input, None for an input that has none.
        *inputs: The inputs of the rule.

    Returns:
        The inputs, each with the batch in front and as many axes as the largest of them.
    """
    moved = [
        x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
        for x, dim in zip(inputs, dims, strict=True)
    ]
    most = max(x.dim() for x in moved)
    # New axes go right behind the batch, where broadcasting would put them for one element.
    return [x.reshape(size, *(1,) * (most - x.dim()), *x.shape[1:]) for x in moved]


def forward_rule(rule: Rule) -> Callable[..., Tensor]:
    """Make the `jvp` of a custom function from a rule, so that it can be differentiated again.

    torch switches forward mode off while a custom function's `jvp` runs. The tangent would be a
    constant for an outer `torch.func.jvp`, and a second derivative of two such calls 0.

    Args:
        rule: Computes the tangent by operations that have forward derivatives themselves.

    Returns:
        The static method `jvp`.
    """

    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        levels = retrieve_all_functorch_interpreters()
        if not levels or levels[-1].key().name != "Jvp":
            return rule(ctx.saved_tensors, tangents)
        own = levels[-1]

        def outer(x: Tensor | None) -> Tensor | None:
            return None if x is None else _unwrap_for_grad(x, own.level())

        # This level's tangent is a plain number to the levels outside of it, which record.
        with torch.enable_grad(), _set_fwd_grad_enabled(True), own.lower():
            saved = tuple(_unwrap_for_grad(x, own.level()) for x in ctx.saved_tensors)
            tangent = rule(saved, tuple(outer(x) for x in tangents))
        return _wrap_for_grad(tangent, own.level())

    return jvp
