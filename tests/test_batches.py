"""Halves of batches: which rows go where, what is shared, and what cannot be split."""

from collections import OrderedDict, UserDict, defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from hsac.batches import halves


class Pair(NamedTuple):
    x: Any
    y: Any


@dataclass(frozen=True)
class Record:
    x: Any
    y: Any = None
    size: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        counted = isinstance(self.x, Tensor) and self.x.dim()
        object.__setattr__(self, "size", len(self.x) if counted else 0)


def rows(n: int) -> Tensor:
    """Rows that tell their number, (n, 2)."""
    return torch.arange(n).repeat_interleave(2).view(n, 2)


# Each takes n and makes a part of a batch; the first three have n rows that tell their number.
COLUMNS = (rows, lambda n: np.arange(n), lambda n: [f"row {i}" for i in range(n)])
OBJECTS = (torch.tensor(2.0), np.float32(1), torch.Generator(), nn.Linear(1, 1))
SETTINGS = ("name", 3, 0.5, None, True, *OBJECTS)


def batches() -> st.SearchStrategy[tuple[int, Any]]:
    """Draw a number of rows, and nested containers of columns with so many and of settings.

    There is at least one column.
    """

    def of(n: int) -> st.SearchStrategy[tuple[int, Any]]:
        column = st.sampled_from(COLUMNS).map(lambda make: make(n))
        part = st.recursive(
            column | st.sampled_from(SETTINGS),
            lambda inner: st.one_of(
                st.tuples(inner, inner, inner),
                st.tuples(inner).map(lambda parts: [rows(n), *parts]),
                st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
                st.builds(Pair, inner, inner),
                st.builds(Record, inner, inner),
            ),
            max_leaves=6,
        )
        return st.tuples(st.just(n), st.tuples(column, part))

    # from 4, as three strings in a tuple of three rows are a column, too
    return st.integers(4, 9).flatmap(of)


def leaves(value: Any) -> list[Any]:
    """What stands in a batch, in order; a list of strings is one of it."""
    if isinstance(value, Record):
        return leaves((value.x, value.y))
    if isinstance(value, dict):
        return leaves(tuple(value.values()))
    if isinstance(value, tuple) or (isinstance(value, list) and not isinstance(value[0], str)):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


def shape(value: Any) -> Any:
    """The containers of a batch, without what stands in them."""
    if isinstance(value, Record):
        return Record, shape(value.x), shape(value.y)
    if isinstance(value, dict):
        return type(value), {k: shape(v) for k, v in value.items()}
    if isinstance(value, tuple) or (isinstance(value, list) and not isinstance(value[0], str)):
        return type(value), [shape(part) for part in value]
    return type(value)


@given(batches())
def test_halves_share_out_every_row(drawn: tuple[int, Any]) -> None:
    """Even rows go to one, odd rows to the other, settings to both, in containers as they were."""
    n, batch = drawn
    parts = halves(batch)
    assert parts is not None
    for start, half in enumerate(parts):
        assert shape(half) == shape(batch)
        for whole, part in zip(leaves(batch), leaves(half), strict=True):
            if isinstance(whole, Tensor | np.ndarray) and whole.ndim:
                assert part.tolist() == whole.tolist()[start::2]
            elif isinstance(whole, list):
                assert part == [f"row {i}" for i in range(start, n, 2)]
            else:
                assert part is whole


def test_tensors_alone_and_ranges() -> None:
    even, odd = halves(torch.arange(5))
    assert (even.tolist(), odd.tolist()) == ([0, 2, 4], [1, 3])
    assert halves((range(2), [1, 2])) == ((range(0, 2, 2), [1]), (range(1, 2, 2), [2]))
    assert halves(range(5)) == (range(0, 6, 2), range(1, 5, 2))
    assert halves(["a", "b", "c"]) == (["a", "c"], ["b"])
    assert halves(OrderedDict(a=["a", "b"])) == (OrderedDict(a=["a"]), OrderedDict(a=["b"]))


def test_halves_have_the_least_rows() -> None:
    """With an odd number of rows the smaller half counts."""
    assert halves(rows(7), least=4) is None
    assert [len(half) for half in halves(rows(9), least=4)] == [5, 4]


class Encoded(UserDict):
    """Like a tokenizer's BatchEncoding: tensors by name, and a list with an object an example."""

    def __init__(self, data: dict[str, Any], encodings: list[Any] | None = None) -> None:
        super().__init__(data)
        self._encodings, self._n_sequences = encodings, 1

    def __getattr__(self, name: str) -> Any:
        try:
            return self.data[name]
        except KeyError:
            raise AttributeError(name) from None

    def __getstate__(self) -> dict[str, Any]:
        return {"data": self.data}  # a copy by way of the pickle protocol would lose the rest


def test_user_dictionaries_keep_their_attributes() -> None:
    """A part that belongs to examples is split wherever the dictionary keeps it."""
    objects = [object() for _ in range(5)]
    even, odd = halves(Encoded({"input_ids": rows(5), "labels": torch.arange(5)}, objects))
    for start, half in enumerate((even, odd)):
        assert type(half) is Encoded
        assert list(half) == ["input_ids", "labels"]
        assert half.input_ids.tolist() == rows(5)[start::2].tolist()
        assert half["labels"].tolist() == list(range(5))[start::2]
        assert half._encodings == objects[start::2]
        assert half._n_sequences == 1
    assert halves(Encoded({"x": rows(4)}))[1].x.tolist() == [[1, 1], [3, 3]]
    assert halves((UserDict(x=rows(4)), 1))[0][0]["x"].tolist() == [[0, 0], [2, 2]]


def test_halves_are_contiguous_and_differentiable() -> None:
    """A model may view its input in another shape, and a loss may take gradients in it."""
    x = torch.randn(4, 3, 2, requires_grad=True)
    even, _ = halves((x, 1))
    even[0].view(-1).sum().backward()
    assert x.grad[:, 0, 0].tolist() == [1, 0, 1, 0]
    assert halves(np.zeros((4, 2)))[0].flags["C_CONTIGUOUS"]


def test_halves_leave_the_batch_alone() -> None:
    batch = {"x": rows(4), "y": np.arange(4), "names": list("abcd")}
    even, odd = halves(batch)
    for half in (even, odd):
        half["x"].zero_()
        half["y"][:] = 0
        half["names"].clear()
    assert torch.equal(batch["x"], rows(4))
    assert batch["y"].tolist() == [0, 1, 2, 3]
    assert batch["names"] == list("abcd")


def test_sorted_batches_keep_their_classes() -> None:
    for half in halves(torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])):
        assert set(half.tolist()) == {0, 1, 2}


def test_strings_of_a_data_loader() -> None:
    """Its default collation makes strings a tuple, one an example. Another tuple is a setting."""
    loader = torch.utils.data.DataLoader([(torch.ones(2), name) for name in "abc"], 3)
    even, odd = halves([*next(iter(loader)), (28, 28, 3), ("two", "names")])
    assert even[1:] == [("a", "c"), (28, 28, 3), ("two", "names")]
    assert odd[1:] == [("b",), (28, 28, 3), ("two", "names")]


def test_computed_fields_are_computed_anew() -> None:
    even, odd = halves(Record(rows(5)))
    assert (even.size, odd.size) == (3, 2)


def test_lists_of_objects_are_examples() -> None:
    """As PyTorch Geometric's list loader gives them; and examples of plain numbers and strings."""
    graphs = [object() for _ in range(3)]
    assert halves(graphs) == ([graphs[0], graphs[2]], [graphs[1]])
    assert halves([("a", 1), ("b", 2)]) == ([("a", 1)], [("b", 2)])


@dataclass
class Fussy:
    x: Tensor

    def __post_init__(self) -> None:
        if len(self.x) < 4:
            raise ValueError("too few")


class Attributes(dict):
    """A dictionary whose keys are attributes, too."""

    def __init__(self, **items: Any) -> None:
        super().__init__(items)
        self.__dict__ = self


@pytest.mark.parametrize(
    "batch",
    [
        None,
        "name",
        (3, "name"),
        (),
        torch.tensor(1.0),
        torch.zeros(0, 2),
        torch.zeros(1, 2),
        (rows(4), rows(3)),
        (rows(4), rows(1)),
        (rows(4), torch.zeros(2, 9)),  # a graph's nodes and edges
        (rows(4), [(0, 1), (1, 2), (2, 3)]),  # the same with a plain list
        (rows(4), object()),
        object(),
        (rows(4), Attributes(x=rows(4))),
        defaultdict(list, x=rows(4)),
        Encoded({"x": rows(4)}, [object()]),  # not one an example
        Encoded({"x": rows(4)}, object()),
        [UserDict(x=torch.zeros(5)), UserDict(x=torch.zeros(5))],
        Fussy(rows(4)),
        torch.eye(4).to_sparse(),
        pack_sequence([torch.zeros(3), torch.zeros(3)]),
        pack_sequence([torch.zeros(3)]),
        [{"x": torch.zeros(5)}, {"x": torch.zeros(5)}],  # two examples, or two views
        [(torch.zeros(5), 1), (torch.zeros(5), 0)],
    ],
)
def test_what_cannot_be_split(batch: Any) -> None:
    assert halves(batch) is None


def test_unlike_containers_are_columns() -> None:
    """The default collation makes of pairs of dictionaries a list of two, each with all rows."""
    even, odd = halves([{"x": rows(4)}, {"y": rows(4)}])
    assert even[1]["y"].tolist() == even[0]["x"].tolist() == [[0, 0], [2, 2]]
    assert odd[1]["y"].tolist() == [[1, 1], [3, 3]]
