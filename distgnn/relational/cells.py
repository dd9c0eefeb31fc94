"""Cells of a database as numbers, by row and cut-off."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as _compute

from distgnn.relational.sampling import ALWAYS, NEVER
from distgnn.relational.schema import Column, Kind
from distgnn.relational.visibility import Visibility

pc: Any = _compute  # its functions are made at run time
Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
DAY = 86_400_000_000
_CATEGORIES = 5


@dataclass(frozen=True)
class Cell:
    """One number of a cell.

    Attributes:
        column: Name of the column.
        kind: Kind of the column.
        detail: The category that an indicator stands for, else empty.
        share: Share of that category, else 0.
    """

    column: str
    kind: Kind
    detail: str = ""
    share: float = 0.0


class Cells:
    """Reader of cells. Categories are counted over rows before ``until``, so that later rows do not matter.

    Args:
        visibility: What the task shows.
        until: Cut-off of the statistics, microseconds.
    """

    def __init__(self, visibility: Visibility, until: int = NEVER) -> None:
        self.visibility, self.until = visibility, until
        self._common: dict[tuple[str, str], list[tuple[int, str, float]]] = {}
        self._lengths: dict[tuple[str, str], Float] = {}

    def read(self, table: str, rows: Int, cutoff: Int, *, is_entity_row: bool) -> tuple[list[Cell], Float]:
        """Return the visible cells of ``rows`` as [rows, cells]; NaN where a cell is null or hidden."""
        cells: list[Cell] = []
        values: list[Float] = []
        for column in self.visibility.columns(table, is_entity_row=is_entity_row):
            hidden = self.visibility.hides(table, column.name, rows, cutoff)
            for cell, value in self._column(table, column, rows, cutoff):
                cells.append(cell)
                values.append(np.where(hidden, np.nan, value))
        return cells, np.stack(values, 1) if values else np.empty((rows.size, 0))

    def _column(self, table: str, column: Column, rows: Int, cutoff: Int) -> list[tuple[Cell, Float]]:
        database = self.visibility.database
        cell = Cell(column.name, column.kind)
        if column.kind == Kind.NUMBER:
            return [(cell, np.asarray(database.numbers(table, column.name))[rows].astype(np.float64))]
        if column.kind == Kind.TIME:
            return [(cell, age(np.asarray(database.times(table, column.name))[rows], cutoff))]
        if column.kind == Kind.TEXT:
            return [(cell, self._length(table, column.name)[rows])]
        codes = np.asarray(database.codes(table, column.name))[rows]
        found = []
        for code, name, share in self.common(table, column.name):
            found.append((Cell(column.name, column.kind, name, share), np.where(codes < 0, np.nan, codes == code)))
        return found

    def common(self, table: str, column: str) -> list[tuple[int, str, float]]:
        """The most frequent categories of a column before ``until``: (code, name, share)."""
        if (table, column) not in self._common:
            self._common[table, column] = self._count(table, column)
        return self._common[table, column]

    def _count(self, table: str, column: str) -> list[tuple[int, str, float]]:
        database = self.visibility.database
        codes, time = np.asarray(database.codes(table, column)), database.time(table)
        seen = codes[(codes >= 0) & (time < self.until)] if time is not None else codes[codes >= 0]
        names = database.categories(table, column)
        counts = np.bincount(seen, minlength=len(names))
        order = np.argsort(-counts, kind="stable")[:_CATEGORIES]
        kept = [int(code) for code in order if counts[code]]
        if len(kept) == 2:  # one indicator says both
            kept = kept[:1]
        return [(code, str(names[code]), float(counts[code] / max(seen.size, 1))) for code in kept]

    def _length(self, table: str, column: str) -> Float:
        if (table, column) not in self._lengths:
            lengths = pc.utf8_length(self.visibility.database.text(table, column))
            self._lengths[table, column] = lengths.to_numpy(zero_copy_only=False).astype(np.float64)
        return self._lengths[table, column]

    @cached_property
    def fan_out(self) -> dict[str, float]:
        """Mean number of children before ``until`` of each foreign key, as log(1 + children)."""
        schema = self.visibility.database.schema
        counts = {table.name: self._earlier(table.name) for table in schema.tables}
        return {
            f"{key.table}.{key.column}": float(np.log1p(counts[key.table] / max(counts[key.parent], 1)))
            for key in schema.foreign_keys
        }

    def _earlier(self, table: str) -> int:
        time = self.visibility.database.time(table)
        return self.visibility.database.rows(table) if time is None else int((time < self.until).sum())


def age(time: Int, cutoff: Int) -> Float:
    """Signed log of the days from each time to its cut-off; years since 1970 where there is no cut-off, NaN where no time."""
    timeless = cutoff == NEVER
    days = np.where(timeless, time, np.where(timeless, 0, cutoff) - np.where(time == ALWAYS, 0, time)) / DAY
    value = np.where(timeless, days / 365.25, np.sign(days) * np.log1p(np.abs(days)))
    return np.where(time == ALWAYS, np.nan, value)
