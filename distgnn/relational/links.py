"""Foreign keys resolved to rows: the parent of each child, and the children of each parent sorted by time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as _compute
from scipy.sparse import coo_array

from distgnn.errors import RequestError

pc: Any = _compute  # its functions are made at run time
Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]
MAX_ROWS = (1 << 31) - 1


class Children(NamedTuple):
    """Rows of the children of every parent row, sorted by (parent, time, row); null and dangling keys are left out.

    Attributes:
        indptr: int64 [parents + 1]; the children of row p are ``rows[indptr[p]:indptr[p + 1]]``.
        rows: int32.
    """

    indptr: Ints
    rows: Rows


class Resolved(NamedTuple):
    """A foreign key resolved to rows.

    Attributes:
        parent: int32 row of the parent of each child; -1 = null or dangling.
        nulls: Number of null keys.
        dangling: Number of keys that no parent has.
        example: One of them.
    """

    parent: Rows
    nulls: int
    dangling: int
    example: str


def check_key(keys: pa.Array, where: str) -> None:
    """Raise RequestError unless a primary key is unique and without nulls."""
    if keys.null_count:
        row = int(np.flatnonzero(keys.is_null().to_numpy(zero_copy_only=False))[0])
        raise RequestError(
            f"{where}: {keys.null_count} rows have no primary key (row {row}); drop them, or choose another key"
        )
    if _increasing(keys) or pc.count_distinct(keys).as_py() == len(keys):
        return
    counts = pc.value_counts(keys)
    most = pc.max(counts.field("counts")).as_py()
    value = counts.field("values").filter(pc.equal(counts.field("counts"), most))[0].as_py()
    raise RequestError(
        f"{where}: the primary key is not unique ({len(keys) - len(counts)} repeated; {value!r} is there {most} times);"
        " remove the copies, or choose another key"
    )


def _increasing(keys: pa.Array) -> bool:
    """Whether keys are integers in strictly increasing order, as most are; this is cheaper than to count them."""
    if not pa.types.is_integer(keys.type):
        return False
    values = keys.to_numpy()
    return bool((values[1:] > values[:-1]).all())


def resolve(values: pa.Array, keys: pa.Array) -> Resolved:
    """Find the parent row of each value of a foreign key.

    Args:
        values: Values of the foreign key column.
        keys: Primary keys of the parent, unique.

    Integers and text are compared as text.
    """
    if values.null_count == len(values):
        return Resolved(np.full(len(values), -1, np.int32), len(values), 0, "")
    if values.type != keys.type:
        values, keys = values.cast(pa.large_string()), keys.cast(pa.large_string())
    found = pc.index_in(values, value_set=keys)
    dangling = pc.and_(pc.is_null(found), pc.is_valid(values))
    count = pc.sum(dangling).as_py() or 0
    example = str(values.filter(dangling)[0].as_py())[:80] if count else ""
    return Resolved(found.fill_null(-1).to_numpy().astype(np.int32, copy=False), values.null_count, count, example)


def children_of(parent: Rows, time: Ints | None, parents: int) -> Children:
    """Sort the children of each parent by (time, row).

    Args:
        parent: int32 row of the parent per child; -1 = none.
        time: int64 time of each child; None = sorted by row alone.
        parents: Number of parent rows.
    """
    rows, owner = np.arange(len(parent), dtype=np.int32), parent
    if time is not None and not bool((time[1:] >= time[:-1]).all()):
        rows = np.argsort(time, kind="stable").astype(np.int32)
        owner = parent[rows]
    kept = owner >= 0
    if not kept.all():
        rows, owner = rows[kept], owner[kept]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=parents), dtype=np.int64)])
    if not len(rows):
        return Children(indptr, rows)
    # The conversion to CSR is a stable counting sort.
    place = np.arange(len(rows), dtype=np.int32)
    matrix: Any = coo_array((rows, (owner, place)), shape=(parents, len(rows)))
    sorted_rows = matrix.tocsr().data
    return Children(indptr, sorted_rows)
