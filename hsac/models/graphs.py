"""Features of nodes that are mostly zeros: words of a text are a few of thousands."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def _along(x: Tensor, dim: int | None, size: int) -> tuple[Tensor, ...]:
    """Each run's tensor."""
    return (x,) * size if dim is None else x.unbind(dim)


@dataclass(frozen=True)
class Pattern:
    """Where the entries of a matrix stand: rows as starts (N + 1,), columns (entries,), the
    matrix's shape.
    """

    starts: Tensor
    columns: Tensor
    shape: tuple[int, int]

    @cached_property
    def rows(self) -> Tensor:
        """Row of every entry."""
        return torch.arange(self.shape[0], device=self.starts.device).repeat_interleave(
            self.starts.diff()
        )

    @cached_property
    def transposed(self) -> "tuple[Pattern, Tensor]":
        """The transposed matrix's, and where its entries stand among these."""
        order = self.columns.argsort(stable=True)
        starts = torch.cat(
            [self.starts[:1], self.columns.bincount(minlength=self.shape[1]).cumsum(0)]
        )
        return Pattern(starts, self.rows[order], self.shape[::-1]), order


class SparseFeatures:
    """Features (N, F) most of which are 0, to be multiplied with weights: `features @ weights` (F,
    d) is (N, d).

    Only the entries that are not 0 are kept: `values` (entries,), row by row. They are constants to
    differentiation.
    """

    def __init__(self, values: Tensor, pattern: Pattern) -> None:
        self.values, self.pattern, self.shape = values, pattern, pattern.shape

    @classmethod
    def of(cls, x: Tensor) -> "SparseFeatures":
        """The features of a dense matrix (N, F)."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
            found = x.to_sparse_csr()
        return cls(
            found.values(),
            Pattern(found.crow_indices(), found.col_indices(), (x.shape[0], x.shape[1])),
        )

    def __len__(self) -> int:
        """Rows."""
        return self.shape[0]

    def times(self, factor: Tensor) -> "SparseFeatures":
        """The features with each of their entries times a factor (entries,)."""
        return SparseFeatures(self.values * factor, self.pattern)

    def __matmul__(self, weights: Tensor) -> Tensor:
        return _Product.apply(self.values, weights, self.pattern)


def row_shares(x: Any) -> Any:
    """Features (N, F), a tensor or sparse, divided by the sum of their row's sizes; a row of zeros
    stays one.
    """
    if isinstance(x, SparseFeatures):
        rows = x.pattern.rows
        sums = x.values.new_zeros(x.shape[0]).index_add(0, rows, x.values.abs())
        return SparseFeatures(x.values / sums.clamp(min=1e-12)[rows], x.pattern)
    return x / x.abs().sum(1, keepdim=True).clamp(min=1e-12)


class _Product(Function):
    """values (entries,) of a sparse matrix, a dense one (F, d) -> their product (N, d).

    Runs under vmap that share the values are further columns of one product. The derivative is the
    product with the transposed matrix, so it can be differentiated any number of times.
    """

    @staticmethod
    def forward(values: Tensor, dense: Tensor, pattern: Pattern) -> Tensor:
        where = (pattern.starts, pattern.columns)
        return (
            torch.sparse_csr_tensor(*where, values, pattern.shape, check_invariants=False) @ dense
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Pattern], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.pattern = inputs[2]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        transposed, order = ctx.pattern.transposed
        return None, _Product.apply(ctx.saved_tensors[0][order], gradient, transposed), None

    @staticmethod
    def vmap(
        info: Any, dims: tuple[int | None, ...], values: Tensor, dense: Tensor, pattern: Pattern
    ) -> tuple[Tensor, int]:
        if dims[0] is not None:  # with dropout every run has values of its own
            pairs = zip(
                values.unbind(dims[0]), _along(dense, dims[1], info.batch_size), strict=True
            )
            return torch.stack([_Product.apply(own, weights, pattern) for own, weights in pairs]), 0
        assert dims[1] is not None
        assert dims[1] is not None
        dense = dense.movedim(dims[1], 1)
        return _Product.apply(values, dense.flatten(1), pattern).unflatten(1, dense.shape[1:]), 1
