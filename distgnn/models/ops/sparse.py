"""Constant sparse linear maps over rows, differentiable any number of times.

Summing messages, summing the rows of a graph and copying a graph's value to its rows are products with a constant sparse
matrix. Their derivatives are products with the transpose, with a fixed order of additions; the derivative of a plain
gather in torch is a scatter-add, which is not deterministic on GPUs. Gathers, and on CPUs their transposes, skip the
matrix. On GPUs, a product gathers the rows and sums them by segment: cuSPARSE adds long rows in a varying order.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor


@dataclass(frozen=True)
class SparseMap:
    """A sparse matrix and its transpose.

    ``picks`` and ``adds_to`` mark a gather and its transpose, which are several times faster than the sparse product.

    Attributes:
        matrix: sparse CSR float32 [m, n].
        transpose: sparse CSR float32 [n, m]; the same object if symmetric.
        picks: int64 [m] if output row i is input row picks[i], else None.
        adds_to: int64 [n] if input row j is added to output row adds_to[j], else None.
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
        """Build a map from coordinates; duplicate coordinates add up. Takes linear time on CPUs.

        Args:
            rows: int64 [k].
            columns: int64 [k].
            shape: (m, n).
            symmetric: whether the matrix equals its transpose.
            values: float32 [k]; None means ones.
        """
        values = torch.ones(rows.numel(), device=rows.device) if values is None else values
        if rows.device.type != "cpu":
            matrix = _csr(rows, columns, shape, values)
            return cls(matrix, matrix if symmetric else _csr(columns, rows, (shape[1], shape[0]), values))
        by_column = _by_key(columns, shape[1], values)
        found = sp.csc_matrix((by_column.data, rows.numpy()[by_column.indices], by_column.indptr), shape).tocsr()
        matrix = sparse_tensor(found)
        return cls(matrix, matrix if symmetric else sparse_tensor(found.tocsc().T))

    @classmethod
    def select(cls, index: Tensor, size: int) -> SparseMap:
        """Build the map [k, size] whose output row i is input row index[i]."""
        count, ones = index.numel(), torch.ones(index.numel(), device=index.device)
        rows = torch.arange(count + 1, device=index.device)
        matrix = csr_tensor(rows, index, ones, (count, size))
        if index.device.type != "cpu":
            return cls(matrix, _csr(index, rows[:-1], (size, count), ones), picks=index)
        return cls(matrix, sparse_tensor(_by_key(index, size, ones).T), picks=index)

    @property
    def t(self) -> SparseMap:
        """The transposed map."""
        return SparseMap(self.transpose, self.matrix, self.adds_to, self.picks)

    @property
    def row_counts(self) -> Tensor:
        """Number of entries of each row, int64 [m, 1]."""
        return self.matrix.crow_indices().diff().unsqueeze(1)

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the map, [n, d] -> [m, d]; float64 stays float64, lower precisions are summed in float32."""
        return _Product.apply(x, self)  # pyright: ignore[reportReturnType]


def stable_order(keys: Tensor, size: int) -> Tensor:
    """Return int64 [k], the order that sorts ``keys``, with equal keys in the given order.

    Args:
        keys: int64 [k], in [0, size).
        size: Number of possible keys.
    """
    if keys.device.type != "cpu":
        return torch.argsort(keys, stable=True)
    return torch.from_numpy(_by_key(keys, size, torch.empty(len(keys), dtype=torch.bool)).indices.astype(np.int64))


def _by_key(keys: Tensor, size: int, values: Tensor) -> Any:
    """Return scipy's CSC matrix [k, size] with values[i] in row i and column keys[i]. The conversion is a counting sort."""
    count = len(keys)
    return sp.csr_matrix((values.numpy(), keys.numpy(), np.arange(count + 1)), (count, size)).tocsc()


def sparse_tensor(matrix: Any) -> Tensor:
    """Return scipy's CSR matrix as a tensor."""
    ptr, columns = (torch.from_numpy(ids.astype(np.int64)) for ids in (matrix.indptr, matrix.indices))
    return csr_tensor(ptr, columns, torch.from_numpy(matrix.data), matrix.shape)


def _csr(rows: Tensor, columns: Tensor, shape: tuple[int, int], values: Tensor) -> Tensor:
    order = torch.argsort(rows * shape[1] + columns)
    ptr = torch.searchsorted(rows[order], torch.arange(shape[0] + 1, device=rows.device))
    return csr_tensor(ptr, columns[order], values[order], shape)


def csr_tensor(ptr: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """Create a sparse CSR tensor.

    Args:
        ptr: int64 [m + 1].
        columns: int64 [k], ascending within each row.
        values: [k].
        shape: (m, n).
    """
    with warnings.catch_warnings():  # torch warns on first use that CSR is in beta
        warnings.filterwarnings("ignore", message=".*Sparse CSR.*")
        return torch.sparse_csr_tensor(ptr, columns, values, shape, check_invariants=False)


def _sum_type(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _sum_segments(sparse: SparseMap, x: Tensor) -> Tensor:
    """The product as a gather and a sum by segment, whose order of additions is fixed on every device."""
    rows = x.index_select(0, sparse.matrix.col_indices()).to(_sum_type(x))
    if sparse.adds_to is None:  # else all values are 1
        rows = rows * sparse.matrix.values().to(rows.dtype).unsqueeze(1)
    return torch.segment_reduce(rows, "sum", offsets=sparse.matrix.crow_indices(), axis=0, unsafe=True).to(x.dtype)


class _Product(torch.autograd.Function):
    """A @ x. The backward pass applies the transpose and the forward mode A itself, so derivatives of any order exist."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sparse: SparseMap) -> Tensor:
        ctx.sparse = sparse
        if sparse.picks is not None:
            return x.index_select(0, sparse.picks)
        if x.is_cuda:
            return _sum_segments(sparse, x)
        if sparse.adds_to is not None:
            total = x.new_zeros((sparse.matrix.shape[0], x.shape[1]), dtype=_sum_type(x))
            return total.index_add_(0, sparse.adds_to, x.to(total.dtype)).to(x.dtype)
        if x.dtype == torch.float64:
            return sparse.matrix.double() @ x
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 sparse products are not available on all devices
            return (sparse.matrix @ x.float()).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.sparse.t(grads[0]), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.sparse(tangents[0])
