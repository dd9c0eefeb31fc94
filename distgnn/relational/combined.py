"""Columns that stand for keys of several columns: ``chain+store`` holds ``3|7``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as _compute

from distgnn.relational.encode import encode, is_text
from distgnn.relational.schema import Column, Kind, Schema

pc: Any = _compute  # its functions are made at run time
MARK = "+"


def combined_name(columns: Sequence[str]) -> str:
    """Name of the column that stands for a key of several columns."""
    return MARK.join(columns)


def parts_of(name: str, columns: Sequence[str]) -> tuple[str, ...]:
    """Columns that the name ``a+b`` stands for; empty if it is a column itself, or a part is none."""
    parts = tuple(name.split(MARK))
    good = name not in columns and len(parts) > 1 and all(one in columns for one in parts)
    return parts if good else ()


def joined(parts: Iterable[pa.Array]) -> pa.Array:
    """Join the parts of keys as text, by ``|``; null if a part is."""
    return pc.binary_join_element_wise(*map(_escaped, parts), pa.scalar("|", pa.large_string()))


def _escaped(values: pa.Array) -> pa.Array:
    text = values.cast(pa.large_string())
    if not is_text(values.type):
        return text
    return pc.replace_substring(pc.replace_substring(text, "\\", "\\\\"), "|", "\\|")


def with_combined(data: pa.Table, names: Iterable[str]) -> pa.Table:
    """Add the columns ``a+b`` of ``names`` to a table that has ``a`` and ``b``; the parts are read as keys are."""
    for name in names:
        parts = parts_of(name, data.column_names)
        if parts:
            read = (encode(data[part], Column(part, Kind.KEY), part).arrays[""] for part in parts)
            data = data.append_column(pa.field(name, pa.large_string()), joined(read))
    return data


def combined_tables(tables: Mapping[str, pa.Table], schema: Schema) -> dict[str, pa.Table]:
    """Add the columns ``a+b`` that the schema names to the tables."""
    names = {table.name: [column.name for column in table.columns] for table in schema.tables}
    return {name: with_combined(data, names.get(name, ())) for name, data in tables.items()}
