"""What a task shows of a database: rows before the cut-off, without the cells that it hides."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from distgnn.relational.database import Database
from distgnn.relational.sampling import Int, Step
from distgnn.relational.schema import Column, Kind
from distgnn.relational.tasks import SPLITS, Task, TaskRows

_MOST_PATHS = 160


@dataclass(frozen=True)
class Visibility:
    """What may be read for a task.

    Attributes:
        database: The database.
        entity: The entity table.
        hide: (table, column) that no row shows; column ``*`` = the whole table.
        hide_entity: Columns that the entity row does not show.
        masked: For (table, column), bool [rows]: rows that do not show it.

    A late column (:attr:`Column.late`) shows a cell only before whose cut-off it was known. Where the schema does not say when
    that is, rows before the cut-off show it and the entity row does not.
    """

    database: Database
    entity: str
    hide: frozenset[tuple[str, str]] = frozenset()
    hide_entity: frozenset[str] = frozenset()
    masked: dict[tuple[str, str], npt.NDArray[np.bool_]] = field(default_factory=dict)
    _known: dict[tuple[str, str], Int | None] = field(default_factory=dict, repr=False)

    @cached_property
    def paths(self) -> tuple[tuple[Step, ...], ...]:
        """Paths of at most two steps from the entity table, shorter ones first, at most 160; none goes straight back."""
        found: list[tuple[Step, ...]] = [()]
        for path in self._longer(()):
            found.append(path)
        for path in list(found[1:]):
            found += self._longer(path)
        return tuple(found[:_MOST_PATHS])

    def _longer(self, path: tuple[Step, ...]) -> list[tuple[Step, ...]]:
        at = path[-1].target if path else self.entity
        steps = [Step(fk, down) for fk in self.database.schema.foreign_keys for down in (False, True)]
        fits = (step for step in steps if step.source == at and self._may_follow(path, step))
        return [(*path, step) for step in fits]

    def _may_follow(self, path: tuple[Step, ...], step: Step) -> bool:
        key = step.foreign_key
        if (step.target, "*") in self.hide or (key.table, key.column) in self.hide:
            return False
        if not path:
            return step.down or key.column not in self.hide_entity
        back = path[-1].foreign_key == key and path[-1].down and not step.down
        return not back

    def columns(self, table: str, *, is_entity_row: bool) -> list[Column]:
        """Columns of ``table`` that show values, without keys."""
        declared = self.database.schema.table(table)
        keys = {fk.column for fk in self.database.schema.foreign_keys if fk.table == table} | {declared.key}
        return [
            column
            for column in declared.columns
            if column.kind != Kind.KEY
            and column.name not in keys
            and column.name != declared.time
            and (table, column.name) not in self.hide
            and not (is_entity_row and (column.name in self.hide_entity or self._is_unknown(table, column)))
        ]

    def _is_unknown(self, table: str, column: Column) -> bool:
        return column.late and self.known(table, column.name) is None

    def known(self, table: str, column: str) -> Int | None:
        """Time from which each cell of a late column is known; None where the schema does not say."""
        if (table, column) not in self._known:
            self._known[table, column] = self.database.known(table, column)
        return self._known[table, column]

    def hides(self, table: str, column: str, rows: Int, cutoff: Int) -> npt.NDArray[np.bool_]:
        """Whether each of ``rows`` does not show its cell in ``column`` before its ``cutoff``."""
        hidden = np.zeros(rows.size, bool)
        if (mask := self.masked.get((table, column))) is not None:
            hidden |= mask[rows]
        if (known := self.known(table, column)) is not None:
            hidden |= known[rows] >= cutoff
        return hidden


def of_task(database: Database, task: Task, rows: TaskRows) -> Visibility:
    """What a declared task shows."""
    masked = {}
    if task.hide_splits:
        splits = [SPLITS.index(split) for split in task.hide_splits.splits]
        hidden = np.zeros(database.rows(task.table), bool)
        hidden[rows.entity[np.isin(rows.split, splits)]] = True
        masked = dict.fromkeys(task.hide_splits.columns, hidden)
    return Visibility(database, task.table, frozenset(task.hide), frozenset(task.hide_entity), masked)
