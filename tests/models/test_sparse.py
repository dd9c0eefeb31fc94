"""Sparse maps: the product on CPUs, and the sum by segment that GPUs use, equal the dense product."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distgnn.models.ops.sparse import SparseMap, _csr, _sum_segments, stable_order

DTYPES = (torch.float32, torch.float64, torch.bfloat16)


@st.composite
def maps(draw: st.DrawFn) -> tuple[SparseMap, torch.Tensor]:
    """A map with empty rows and repeated coordinates, weighted or a transposed gather, and its dense matrix."""
    m, n, k = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(0, 12))
    columns = torch.tensor(draw(st.lists(st.integers(0, n - 1), min_size=k, max_size=k)), dtype=torch.int64)
    if draw(st.booleans()):
        found = SparseMap.select(columns, n).t
        return found, torch.zeros(n, k, dtype=torch.float64).index_put_(
            (columns, torch.arange(k)), torch.tensor(1.0).double()
        )
    rows = torch.tensor(draw(st.lists(st.integers(0, m - 1), min_size=k, max_size=k)), dtype=torch.int64)
    values = torch.tensor(draw(st.lists(st.integers(-4, 4), min_size=k, max_size=k)), dtype=torch.float32)
    dense = torch.zeros(m, n, dtype=torch.float64).index_put_((rows, columns), values.double(), accumulate=True)
    return SparseMap.from_pairs(rows, columns, (m, n), values=values), dense


@settings(max_examples=60, deadline=None)
@given(maps(), st.sampled_from(DTYPES))
def test_products_equal_the_dense_product(made: tuple[SparseMap, torch.Tensor], dtype: torch.dtype) -> None:
    found, dense = made
    x = torch.arange(dense.shape[1] * 3).view(-1, 3).to(dtype)
    wanted = (dense @ x.double()).to(dtype)
    torch.testing.assert_close(found(x), wanted)
    torch.testing.assert_close(_sum_segments(found, x), wanted)
    torch.testing.assert_close(found.t(wanted), (dense.t() @ wanted.double()).to(dtype))


@pytest.mark.parametrize("size", [0, 3])
def test_pointers_of_rows(size: int) -> None:
    rows = torch.tensor([2, 0, 2])[:size]
    found = SparseMap.from_pairs(rows, torch.zeros(size, dtype=torch.int64), (4, 1))
    assert found.matrix.crow_indices().tolist() == ([0, 0, 0, 0, 0] if size == 0 else [0, 1, 1, 3, 3])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=12, unique=True))
def test_the_counting_sort_of_cpus_gives_the_matrix_of_the_comparison_sort(pairs: list[tuple[int, int]]) -> None:
    rows, columns = torch.tensor(pairs, dtype=torch.int64).view(-1, 2).t()
    values = torch.arange(len(pairs)).float() + 1
    found = SparseMap.from_pairs(rows, columns, (4, 5), values=values)
    for matrix, wanted in (
        (found.matrix, _csr(rows, columns, (4, 5), values)),
        (found.transpose, _csr(columns, rows, (5, 4), values)),
        (
            SparseMap.select(columns, 5).transpose,
            _csr(columns, torch.arange(len(pairs)), (5, len(pairs)), values * 0 + 1),
        ),
    ):
        assert matrix.shape == wanted.shape
        assert matrix.crow_indices().tolist() == wanted.crow_indices().tolist()
        assert matrix.col_indices().tolist() == wanted.col_indices().tolist()
        assert matrix.values().tolist() == wanted.values().tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=12))
def test_equal_keys_stay_in_the_given_order(keys: list[int]) -> None:
    found = stable_order(torch.tensor(keys, dtype=torch.int64), 5)
    assert found.tolist() == sorted(range(len(keys)), key=keys.__getitem__)
