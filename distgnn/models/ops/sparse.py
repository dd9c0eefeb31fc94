"""Constant sparse linear maps over rows, which can be differentiated any number of times.

Summing messages, summing the rows of a graph and handing a graph's value to its rows are all products with a constant sparse
matrix; their derivatives are products with the transpose, in an order of additions that never changes (the derivative that
torch takes of a plain gather is a scatter-add, which is not deterministic on a GPU). Gathers, and on a CPU their transposes,
skip the matrix.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class SparseMap:
    """matrix: sparse CSR float32 [m, n]; transpose: [n, m] (the same object where symmetric).

    picks: int64 [m] where row i of the result is row picks[i] of the input. adds_to: int64 [n] where row j of the input is
    added to row adds_to[j] of the result. A gather and its transpose: several times faster than the same sparse product.
    """

    matrix: Tensor
    transpose: Tensor
    picks: Tensor | None = None
    adds_to: Tensor | None = None

    @classmethod
    def from_pairs(
        cls,
        rows: Tensor,
        columns: Tensor,
        shape: tuple[int, int],
        symmetric: bool = False,
        values: Tensor | None = None,
    ) -> SparseMap:
        """``values`` (float32 [k], None = ones) at (rows, columns), int64 [k] each; repeated pairs add up."""
        values = torch.ones(rows.numel(), device=rows.device) if values is None else values
        matrix = _csr(rows, columns, shape, values)
        return cls(matrix, matrix if symmetric else _csr(columns, rows, (shape[1], shape[0]), values))

    @classmethod
    def select(cls, index: Tensor, size: int) -> SparseMap:
        """[k, size]: row i of the result is row index[i] of the input."""
        whole = cls.from_pairs(torch.arange(index.numel(), device=index.device), index, (index.numel(), size))
        return replace(whole, picks=index)

    @property
    def t(self) -> SparseMap:
        """The transposed map."""
        return SparseMap(self.transpose, self.matrix, self.adds_to, self.picks)

    @property
    def row_counts(self) -> Tensor:
        """int64 [m, 1]: how many entries each row has."""
        return self.matrix.crow_indices().diff().unsqueeze(1)

    def __call__(self, x: Tensor) -> Tensor:
        """[n, d] -> [m, d] (float64 stays float64; lower precisions are summed in float32)."""
        return _Product.apply(x, self)  # pyright: ignore[reportReturnType]


def _csr(rows: Tensor, columns: Tensor, shape: tuple[int, int], values: Tensor) -> Tensor:
    order = torch.argsort(rows * shape[1] + columns)
    counts = torch.bincount(rows, minlength=shape[0])
    ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return csr_tensor(ptr, columns[order], values[order], shape)


def csr_tensor(ptr: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """A sparse CSR tensor of int64 ``ptr`` [m + 1] and ``columns`` [k], ascending in each row, and ``values`` [k]."""
    with warnings.catch_warnings():  # torch announces on first use that CSR is in beta
        warnings.filterwarnings("ignore", message=".*Sparse CSR.*")
        return torch.sparse_csr_tensor(ptr, columns, values, shape, check_invariants=False)


class _Product(torch.autograd.Function):
    """A @ x whose derivative is the same operation with the transpose, and forward A itself; so derivatives of any order
    exist, in either direction."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sparse: SparseMap) -> Tensor:
        ctx.sparse = sparse
        if sparse.picks is not None:
            return x.index_select(0, sparse.picks)
        if sparse.adds_to is not None and not x.is_cuda:  # there it would add in another order each time
            total = x.new_zeros((sparse.matrix.shape[0], x.shape[1]), dtype=torch.promote_types(x.dtype, torch.float32))
            return total.index_add_(0, sparse.adds_to, x.to(total.dtype)).to(x.dtype)
        if x.dtype == torch.float64:
            return sparse.matrix.double() @ x
        with torch.autocast(x.device.type, enabled=False):  # sparse products have no bfloat16 form on every device
            return (sparse.matrix @ x.float()).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.sparse.t(grads[0]), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.sparse(tangents[0])
