"""Features of nodes that are mostly zeros: words of a text are a few of thousands."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def _along(x: Tensor, dim: int | None, size: int) -> tuple[Tensor, ...]:
    """Return each run's tensor."""
    return (x,) * size if dim is None else x.unbind(dim)


@dataclass(frozen=True)
class Pattern:
    """The places of a matrix's entries, row by row (CSR).

    Attributes:
        starts: Where each row's entries start (N + 1,).
        columns: Column of every entry (entries,).
        shape: Shape of the matrix.
    """

    starts: Tensor
    columns: Tensor
    shape: tuple[int, int]

    @cached_property
    def rows(self) -> Tensor:
        """Return the row of every entry."""
        rows = torch.arange(self.shape[0], device=self.starts.device)
        return rows.repeat_interleave(self.starts.diff())

    @cached_property
    def transposed(self) -> "tuple[Pattern, Tensor]":
        """Return the pattern of the transposed matrix, and where its entries are among these."""
        # A stable sort leaves the entries of each new row in the order of their columns.
        order = self.columns.argsort(stable=True)
        counts = self.columns.bincount(minlength=self.shape[1])
        starts = torch.cat([self.starts[:1], counts.cumsum(0)])
        return Pattern(starts, self.rows[order], self.shape[::-1]), order


class SparseFeatures:
    """Features (N, F) most of which are 0: `features @ weights` (F, d) is (N, d).

    They are constants to differentiation.

    Attributes:
        values: The entries that are not 0 (entries,), row by row.
        pattern: Their places.
        shape: (N, F).
    """

    def __init__(self, values: Tensor, pattern: Pattern) -> None:
        """Keep entries and their places.

        Args:
            values: The entries (entries,), row by row.
            pattern: Their places.
        """
        self.values, self.pattern, self.shape = values, pattern, pattern.shape

    @classmethod
    def of(cls, x: Tensor) -> "SparseFeatures":
        """Take the entries of a dense matrix that are not 0.

        Args:
            x: The matrix (N, F).

        Returns:
            The features.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
            found = x.to_sparse_csr()
        shape = (x.shape[0], x.shape[1])
        return cls(found.values(), Pattern(found.crow_indices(), found.col_indices(), shape))

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def times(self, factor: Tensor) -> "SparseFeatures":
        """Multiply each entry with a factor.

        Args:
            factor: Factors (entries,).

        Returns:
            The features.
        """
        return SparseFeatures(self.values * factor, self.pattern)

    def __matmul__(self, weights: Tensor) -> Tensor:
        """Multiply with weights (F, d)."""
        return _Product.apply(self.values, weights, self.pattern)


def row_shares(x: Any) -> Any:
    """Divide features by the sum of their row's absolute values.

    Args:
        x: Features (N, F), dense or sparse.

    Returns:
        Features (N, F). A row of zeros stays one.
    """
    if isinstance(x, SparseFeatures):
        rows = x.pattern.rows
        sums = x.values.new_zeros(x.shape[0]).index_add(0, rows, x.values.abs())
        return SparseFeatures(x.values / sums.clamp(min=1e-12)[rows], x.pattern)
    # the clamp keeps a row of zeros one
    return x / x.abs().sum(1, keepdim=True).clamp(min=1e-12)


class _Product(Function):
    """values (entries,) of a sparse matrix, a dense one (F, d) -> their product (N, d).

    Runs under vmap that share the values are further columns of one product. The derivative is the
    product with the transposed matrix, so it can be differentiated any number of times.
    """

    @staticmethod
    def forward(values: Tensor, dense: Tensor, pattern: Pattern) -> Tensor:
        where = (pattern.starts, pattern.columns)
        sparse = torch.sparse_csr_tensor(*where, values, pattern.shape, check_invariants=False)
        return sparse @ dense

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Pattern], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.pattern = inputs[2]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        transposed, order = ctx.pattern.transposed
        # The values are constants, so they get no derivative.
        return None, _Product.apply(ctx.saved_tensors[0][order], gradient, transposed), None

    @staticmethod
    def vmap(
        info: Any, dims: tuple[int | None, ...], values: Tensor, dense: Tensor, pattern: Pattern
    ) -> tuple[Tensor, int]:
        # with dropout every run has values of its own
        if dims[0] is not None:
            weights = _along(dense, dims[1], info.batch_size)
            pairs = zip(values.unbind(dims[0]), weights, strict=True)
            return torch.stack([_Product.apply(own, w, pattern) for own, w in pairs]), 0
        # A rule of vmap is called only where some input is batched.
        assert dims[1] is not None
        # runs share the values: their weights are further columns of one product
        dense = dense.movedim(dims[1], 1)
        return _Product.apply(values, dense.flatten(1), pattern).unflatten(1, dense.shape[1:]), 1
