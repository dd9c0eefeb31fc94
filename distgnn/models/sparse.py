"""A constant sparse matrix as a linear operator that can be differentiated any number of times."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Adjacency:
    """forward: sparse CSR [N, N] with one row per target; backward: its transpose (the same object where symmetric)."""

    forward: Tensor
    backward: Tensor

    @classmethod
    def from_edges(cls, index: Tensor, size: int, dtype: torch.dtype, symmetric: bool) -> Adjacency:
        """From messages int64 [2, M] (source, target); parallel messages add up. symmetric: every message has its reverse."""
        forward = _csr(index[1], index[0], size, dtype)
        return cls(forward, forward if symmetric else _csr(index[0], index[1], size, dtype))

    def sum(self, x: Tensor) -> Tensor:
        """[N, d]: for every target the sum of its sources' rows of ``x``."""
        return _Product.apply(x, self)  # pyright: ignore[reportReturnType]


def _csr(rows: Tensor, columns: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    order = torch.argsort(rows * size + columns)
    counts = torch.bincount(rows, minlength=size)
    ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    values = torch.ones(rows.numel(), dtype=dtype, device=rows.device)
    with warnings.catch_warnings():  # torch announces on first use that CSR is in beta
        warnings.filterwarnings("ignore", message=".*Sparse CSR.*")
        return torch.sparse_csr_tensor(ptr, columns[order], values, (size, size), check_invariants=False)


class _Product(torch.autograd.Function):
    """A @ x whose derivative is the same operation with the transpose; so derivatives of any order exist."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, adjacency: Adjacency) -> Tensor:
        ctx.adjacency = adjacency
        return (adjacency.forward @ x.to(adjacency.forward.dtype)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        turned = Adjacency(ctx.adjacency.backward, ctx.adjacency.forward)
        return turned.sum(grads[0]), None
