"""Split a batch of any usual make into two halves, one for each level of a bi-level problem."""

import dataclasses
from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from numbers import Number
from types import FunctionType, NoneType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

# Values that a batch may carry beside its examples. Both halves get them as they are.
_PLAIN = (NoneType, str, bytes, Number, Enum, FunctionType, nn.Module)
_OF_NUMPY = (np.generic, np.random.Generator)
_OF_TORCH = (torch.Generator, torch.Size, torch.dtype, torch.device)
SETTINGS = (*_PLAIN, *_OF_NUMPY, *_OF_TORCH)


class _WholeError(Exception):
    """A part of the batch cannot be split, or could be split in more than one way."""


def halves(batch: Any, least: int = 1) -> tuple[Any, Any] | None:
    """Split a batch into two halves of independent examples.

    The first dimension of every tensor and numpy array must run over the examples. A tuple, named
    tuple, dictionary or dataclass is searched for them, nested or not, and so is a list that holds
    tensors: [x, y] is two columns, not two examples. A list without tensors is a column itself, one
    example an item. So are a range, and a tuple of n strings beside other columns. A `UserDict`,
    such as a tokenizer's BatchEncoding, is searched in all its attributes.

    Args:
        batch: n examples, in columns of n rows each.
        least: rows that each half must have, from 1.

    Returns:
        The even rows (n/2, rounded up) and the odd rows (n/2, rounded down), in containers like the
        batch's. Numbers, strings and other settings go into both. None where the batch cannot be
        split: it has no column, one with fewer than 2·least rows, columns of unlike length (a
        graph's nodes and edges), a sparse or nested tensor, a list of containers that hold tensors
        and are all alike (examples or columns, it does not tell), or an object of a class that is
        not known here.
    """
    try:
        lengths = {len(column) for column in _columns(batch)}
        if len(lengths) != 1 or (n := lengths.pop()) < 2 * least:
            return None
        # Every second row: a batch may be sorted by class, and its first half would then lack the
        # last classes.
        return _every_second(batch, 0, n), _every_second(batch, 1, n)
    except _WholeError:
        return None


def _columns(value: Any) -> Iterator[Any]:
    """Yield every part of a batch that has one row an example.

    Raises:
        _WholeError: A part cannot be split.
    """
    if _is_column(value):
        yield value
    elif not _is_setting(value):
        for part in _take_apart(value)[0]:
            yield from _columns(part)


def _every_second(value: Any, start: int, n: int) -> Any:
    """Return every second row from `start` on of each column (n rows), in containers as before."""
    if isinstance(value, Tensor) and _is_column(value):
        # a model may call `view`, which refuses a strided tensor
        return value[start::2].contiguous()
    if isinstance(value, np.ndarray) and _is_column(value):
        return value[start::2].copy()
    if _is_column(value) or _are_strings(value, n):
        return value[start::2]
    if _is_setting(value):
        return value
    parts, put_together = _take_apart(value)
    taken = [_every_second(part, start, n) for part in parts]
    try:
        return put_together(taken)
    except Exception as error:
        # the batch's own class may refuse, for example want a certain number of rows
        raise _WholeError from error


def _is_column(value: Any) -> bool:
    """Tell whether a part of a batch has one row an example.

    Raises:
        _WholeError: A tensor has no plain rows, or a list may hold examples as well as columns.
    """
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_nested:
            raise _WholeError
        return value.dim() > 0
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    if type(value) is not list or not value:
        return isinstance(value, range)
    if any(isinstance(item, Tensor | np.ndarray) for item in value):
        return False
    if not any(_holds_tensor(item) for item in value):
        return True
    makes = {(type(item), _places(item)) for item in value}
    if len(value) > 1 and len(makes) == 1:
        # Examples not yet collated, or columns of two views: a guess could split the features.
        raise _WholeError
    return False


def _are_strings(value: Any, n: int) -> bool:
    """Tell whether a value is a tuple of n strings, as torch's DataLoader makes of n examples."""
    if type(value) is not tuple or len(value) != n:
        return False
    return all(isinstance(item, str | bytes) for item in value)


def _places(item: Any) -> tuple[Any, ...]:
    """Return the keys of a dictionary or the indices of a list or tuple, else nothing."""
    if isinstance(item, dict | UserDict):
        return tuple(item)
    return tuple(range(len(item))) if isinstance(item, list | tuple) else ()


def _holds_tensor(value: Any) -> bool:
    """Tell whether a value is or holds a tensor or array, as far as it can be looked into."""
    if isinstance(value, Tensor | np.ndarray):
        return True
    if _is_setting(value):
        return False
    try:
        return any(map(_holds_tensor, _take_apart(value)[0]))
    except _WholeError:
        return False


def _is_setting(value: Any) -> bool:
    """Tell whether a part of a batch goes into both halves as it is."""
    if isinstance(value, Tensor | np.ndarray):
        return value.ndim == 0
    return isinstance(value, SETTINGS)


def _take_apart(value: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """Return a container's parts, and a function that makes such a container of other parts.

    Raises:
        _WholeError: The container is of another class.
    """
    # Only these very classes: a subclass can hold more than its items. A dictionary with
    # attributes, for one, would keep its whole tensors in them.
    if type(value) in (list, tuple):
        return list(value), type(value)
    if _is_named_tuple(value):
        return list(value), value._make
    if type(value) in (dict, OrderedDict):
        return list(value.values()), lambda parts: type(value)(zip(value, parts, strict=True))
    if isinstance(value, UserDict):
        # All its attributes: a BatchEncoding may keep a list beside its items, one object an
        # example.
        return list(vars(value).values()), lambda parts: _with_attributes(value, parts)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _take_apart_dataclass(value)
    raise _WholeError


def _is_named_tuple(value: Any) -> bool:
    if isinstance(value, PackedSequence):
        # its columns are not examples but steps of sequences
        return False
    return isinstance(value, tuple) and hasattr(value, "_make")


def _take_apart_dataclass(value: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    names = [field.name for field in dataclasses.fields(value) if field.init]

    def put_together(parts: list[Any]) -> Any:
        # by the constructor, so that fields which it computes are those of the half
        return dataclasses.replace(value, **dict(zip(names, parts, strict=True)))

    return [getattr(value, name) for name in names], put_together


def _with_attributes(like: Any, values: Iterable[Any]) -> Any:
    """Return an object of the same class with other attributes, its constructor not called."""
    made: Any = object.__new__(type(like))
    vars(made).update(zip(vars(like), values, strict=True))
    return made
