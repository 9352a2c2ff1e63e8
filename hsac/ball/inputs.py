"""What every map of the ball does to its inputs first: their precision and their shapes."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor
from torch.nn import Parameter

from hsac.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")
FULL = {torch.float32, torch.float64, torch.complex64, torch.complex128}


def full_precision(f: Callable[P, R]) -> Callable[P, R]:
    """Make a function of tensors compute in float32 at least, and without autocast.

    Near the boundary 1 - c|x|² is a small difference, and sinh of a distance is large: half
    precision has neither the digits for one nor the range for the other.

    Args:
        f: The function.

    Returns:
        The function, which takes half precision and integers too, and returns float32 for them.
    """

    @wraps(f)
    def widened(*args: P.args, **named: P.kwargs) -> R:
        # Most calls need nothing, and a map of few points takes 30 microseconds in all.
        if not named and all(map(_is_plain, args)):
            return f(*args, **named)
        given = [_full(x) for x in args]
        by_name = {key: _full(x) for key, x in named.items()}
        # a scalar c may be on the CPU while the points are not
        kinds = [x.device.type for x in (*given, *by_name.values()) if isinstance(x, Tensor)]
        with torch.autocast(next((k for k in kinds if k != "cpu"), "cpu"), enabled=False):
            return f(*given, **by_name)  # type: ignore[arg-type]

    return widened


def _is_plain(x: Any) -> bool:
    if not isinstance(x, Tensor):
        return True
    return x.dtype in FULL and not torch.is_autocast_enabled(x.device.type)


def _full(x: Any) -> Any:
    return x.float() if isinstance(x, Tensor) and x.dtype not in FULL else x


def may_exceed(x: Tensor, limit: float) -> bool:
    """Return False where no entry exceeds a limit and this is known at once.

    It lets a map leave out what changes nothing below the limit. On an accelerator the answer would
    have to be waited for, and a traced program must serve other numbers too: there it is True.

    Args:
        x: Any shape, inside of `torch.func` transforms too.
        limit: The limit.

    Returns:
        Whether an entry may exceed the limit.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or _is_waited_for(x):
        return True
    while is_functorch_wrapped_tensor(x):
        x = get_unwrapped(x)
    if type(x) not in (Tensor, Parameter):
        # a subclass, such as a fake tensor, may have no numbers
        return True
    return x.numel() > 0 and bool(x.detach().max() > limit)


def _is_waited_for(x: Tensor) -> bool:
    return x.device.type != "cpu"


def check_last_axis(name: str, value: Any) -> None:
    """Refuse a tensor of one number a point whose last axis would meet the points' coordinates.

    Args:
        name: What the message calls it.
        value: A number, a scalar tensor, or a tensor that broadcasts against (..., 1).

    Raises:
        InputError: It is a tensor with another last axis, such as (n,) for n points.
    """
    if isinstance(value, Tensor) and value.dim() and value.shape[-1] != 1:
        shape = tuple(value.shape)
        raise InputError(
            f"{name}: found the shape {shape}; allowed are a scalar and shapes that end in 1, such"
            f" as {(*shape, 1)} for one number a point"
        )


def check_scalar(name: str, value: Any) -> None:
    """Refuse a tensor that has more than one value or axis.

    Args:
        name: What the message calls it.
        value: A number or a tensor.

    Raises:
        InputError: It is a tensor of another shape than () and (1,).
    """
    if isinstance(value, Tensor) and (value.dim() > 1 or value.numel() != 1):
        raise InputError(f"{name}: found the shape {tuple(value.shape)}; allowed is a scalar")


def check_same_dimension(x: Tensor, y: Tensor) -> None:
    """Refuse two sets of vectors of different dimensions, which would broadcast where one is 1.

    Args:
        x: Vectors (..., d).
        y: Vectors (..., d).

    Raises:
        InputError: Their last axes differ.
    """
    if x.shape[-1] != y.shape[-1]:
        found = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise InputError(f"points: found the shapes {found}; allowed are equal last axes")
