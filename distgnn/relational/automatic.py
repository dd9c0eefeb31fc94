"""Tasks made from a schema without a declaration: cells to fill in, and what happens to an entity in the next days."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distgnn.graph.keyed import draw, key, permutation, unit_interval
from distgnn.graph.purposes import RelationalDraw
from distgnn.relational.cells import DAY
from distgnn.relational.database import Database
from distgnn.relational.sampling import ALWAYS, NEVER, is_visible, lower_bound, visible_range
from distgnn.relational.schema import ForeignKey, Kind, Table
from distgnn.relational.sources.base import SourceTask
from distgnn.relational.tasks import SPLITS, HiddenInSplits, Labels, Task, TaskRows

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
_ROWS = 1200
LEAST = 120
"""Rows of an automatic task for pre-training."""
_IN_SPLIT = 30
"""Rows that each split of a stored task has at least."""
LEAST_STORED = int(_IN_SPLIT / 0.15)
"""Rows of a stored task."""
_WINDOWS = (7, 30, 90, 180, 365, 730)
_NAME = 80
_CELLS, _COUNTS = 2, 3
"""How often each column, and each foreign key, is asked about."""


@dataclass(frozen=True)
class Made:
    """An automatic task."""

    task: Task
    rows: TaskRows


def automatic_tasks(database: Database, most: int, seed: int = 0, least: int = LEAST) -> list[Made]:
    """Make tasks from the schema of a database, at most ``most`` of at least ``least`` rows, chosen by ``seed``."""
    schema = database.schema
    makers: list[tuple[Callable[..., Made | None], Table, Any]] = [
        (_cell, table, column.name)
        for table in schema.tables
        for column in table.columns
        if _askable(table, column.name)
    ]
    makers = [maker for maker in makers for _ in range(_CELLS)]
    timed = [fk for fk in schema.foreign_keys if schema.table(fk.table).time]
    makers += [(_future, schema.table(fk.parent), (fk, "")) for fk in timed for _ in range(_COUNTS)]
    makers += [
        (_future, schema.table(fk.parent), (fk, column.name))
        for fk in timed
        for column in schema.table(fk.table).columns
        if column.kind in (Kind.NUMBER, Kind.CATEGORY)
    ]
    found: list[Made] = []
    for place in permutation(key(seed, RelationalDraw.AUTOMATIC), len(makers)):
        if len(found) >= most:
            break
        maker, table, what = makers[int(place)]
        made = maker(database, table, what, key(seed, RelationalDraw.AUTOMATIC, int(place)), int(place))
        found += [made] if made is not None and made.rows.entity.size >= least else []
    return found


def _askable(table: Table, name: str) -> bool:
    kind = table.column(name).kind
    return kind in (Kind.NUMBER, Kind.CATEGORY) and table.key is not None


def _cell(database: Database, table: Table, column: str, draws: int, number: int) -> Made | None:
    """Fill in cells of one column: a number (its value, or whether it is above a quantile) or a category (one of the frequent)."""
    chance = unit_interval(draw(draws, np.arange(4)))
    known, label, kind, what = _cell_labels(database, table, column, chance)
    rows = np.flatnonzero(known)
    rows = rows[permutation(draws, rows.size)[:_ROWS]]
    time = database.asked(table.name)
    cut = np.full(rows.size, NEVER) if time is None else np.asarray(time)[rows]
    fine = cut != ALWAYS
    hidden = HiddenInSplits(((table.name, column),), ("val", "test")) if time is None else None
    told = {"hide_entity": (column,), "hide_splits": hidden, "rule": f"{table.name}.{column}: {what}"}
    task = _task(database, table, f"automatic-{number}", kind, **told)
    return _made(task, rows[fine], cut[fine], label[rows][fine])


def _cell_labels(
    database: Database, table: Table, column: str, chance: Float
) -> tuple[npt.NDArray[np.bool_], Float, Labels, str]:
    """Return which cells are known, their labels, the kind of these, and what is asked."""
    if table.column(column).kind == Kind.NUMBER:
        values = np.asarray(database.numbers(table.name, column)).astype(np.float64)
        known = np.isfinite(values)
        if chance[0] < 0.35 or not known.any():
            return known, np.sign(values) * np.log1p(np.abs(values)), "regression", "signed log of the value"
        least = np.quantile(values[known], 0.2 + 0.7 * chance[1])
        return known, (values > least).astype(np.float64), "binary", f"above {least:g}"
    codes = np.asarray(database.codes(table.name, column))
    chosen, name = _frequent(database, table.name, column, float(chance[1]))
    return codes >= 0, (codes == chosen).astype(np.float64), "binary", f"is {name!r}"


def _future(database: Database, table: Table, what: tuple[ForeignKey, str], draws: int, number: int) -> Made | None:
    """What the new child rows of an entity that had one before add up to in a window: their number, or that of one category, or the
    sum of a column; as a number, or whether it is above zero or the median."""
    foreign_key, column = what
    time = np.asarray(database.time(foreign_key.table))
    times = time[time != ALWAYS]
    if table.key is None or not times.size:
        return None
    chance = unit_interval(draw(draws, np.arange(4)))
    span = float(np.quantile(times, 0.98) - np.quantile(times, 0.02))
    windows = [days for days in _WINDOWS if days * DAY < span / 4] or [max(int(span / 8 / DAY), 1)]
    window = windows[int(chance[0] * len(windows))] * DAY
    entity, cut = _asked(database, foreign_key, draws, window)
    start, stop = visible_range(database, foreign_key, entity, cut)
    seen = (stop > start) & is_visible(database, table.name, entity, cut)
    entity, cut, stop = entity[seen], cut[seen], stop[seen]
    rows = np.asarray(database.children(foreign_key).rows)
    end = np.asarray(database.children(foreign_key).indptr)[entity + 1]
    worth, name = _worth(database, foreign_key.table, column, float(chance[3]))
    before = np.concatenate([[0.0], np.cumsum(worth[rows])])
    amount = before[lower_bound(time, rows, stop, end, cut + window)] - before[stop]
    kind: Labels = "regression" if chance[1] < 0.3 else "binary"
    summed = bool(column) and database.schema.column(foreign_key.table, column).kind == Kind.NUMBER
    usual = np.median(amount) if (summed or chance[2] < 0.4) and amount.size else 0
    label = np.sign(amount) * np.log1p(np.abs(amount)) if kind == "regression" else (amount > usual).astype(np.float64)
    told = "signed log" if kind == "regression" else f"more than {usual:g}"
    rule = f"{told} of {name} ({foreign_key.column}) within {window // DAY} days"
    return _made(_task(database, table, f"automatic-{number}", kind, horizon=window, rule=rule), entity, cut, label)


def _worth(database: Database, table: str, column: str, chance: float) -> tuple[Float, str]:
    """What each row of a table adds: 1, or its value, or 1 if it is of one frequent category; and its name."""
    if not column:
        return np.ones(database.rows(table)), f"new {table}"
    if database.schema.column(table, column).kind == Kind.NUMBER:
        values = np.nan_to_num(database.numbers(table, column), posinf=0.0, neginf=0.0)
        return values.astype(np.float64), f"new {table}.{column}"
    codes = np.asarray(database.codes(table, column))
    chosen, name = _frequent(database, table, column, chance)
    return (codes == chosen).astype(np.float64), f"new {table} with {column} = {name!r}"


def _frequent(database: Database, table: str, column: str, chance: float) -> tuple[int, str]:
    """One of the four most frequent categories of a column, and its name."""
    codes = np.asarray(database.codes(table, column))
    counts = np.bincount(codes[codes >= 0], minlength=1)
    common = np.argsort(-counts, kind="stable")[:4]
    chosen = int(common[int(chance * common.size)])
    return chosen, database.categories(table, column)[chosen][:80] if (codes >= 0).any() else ""


def _asked(database: Database, foreign_key: ForeignKey, draws: int, window: int) -> tuple[Int, Int]:
    """Entities and times to ask about: entities of random child rows, so that active ones come more often."""
    time = np.asarray(database.time(foreign_key.table))
    parent = np.asarray(database.parent(foreign_key))
    fine = np.flatnonzero((parent >= 0) & (time != ALWAYS) & (time + window <= time.max()))
    chosen = fine[permutation(key(draws, RelationalDraw.ASKED_ROWS), fine.size)[:_ROWS]]
    waited = unit_interval(draw(key(draws, RelationalDraw.ASKED_TIMES), chosen)) * window
    cut = np.minimum(time[chosen] + 1 + waited.astype(np.int64), time.max() - window)
    return parent[chosen].astype(np.int64), cut


def _task(database: Database, table: Table, name: str, kind: Labels, **options: object) -> Task:
    declared = {"metric": "mae" if kind == "regression" else "auroc", **options}
    return Task(name, database.schema.name, table.name, str(table.key), kind, **declared)  # type: ignore[arg-type]


def _made(task: Task, entity: Int, cut: Int, label: Float) -> Made | None:
    """The task, unless it has no rows or one rare class. The last 30 % by time (or of a random order) are validation rows."""
    if not entity.size:
        return None
    share = label.mean() if task.kind == "binary" else 0.5
    if not 0.04 <= share <= 0.96 or np.unique(label).size < 2:
        return None
    order = np.argsort(cut, kind="stable")
    split = np.zeros(entity.size, np.int8)
    split[order[int(0.7 * entity.size) :]] = 1
    return Made(task, TaskRows(entity.astype(np.int32), cut.astype(np.int64), label, split))


def _is_large(label: Float) -> bool:
    return label.size >= _IN_SPLIT and np.unique(label).size > 1


def _plain_name(rule: str) -> str:
    """Name of a stored task: its rule in letters, digits, "_", "." and "-"."""
    return re.sub(r"[^\w.]+", "-", rule)[:_NAME].strip("-.")


def stored_task(database: Database, made: Made) -> SourceTask | None:
    """Return an automatic task as stores keep tasks: 70 % of the rows train, 15 % each val and test, by time.

    It is named by its rule. Rows of train (val) whose label window reaches into val (test) are left out, and repeated rows of
    an entity and time. None if a split has fewer than 30 rows then, or one label.
    """
    task, rows = made.task, made.rows
    once = np.unique(np.stack([rows.time, rows.entity.astype(np.int64)]), axis=1, return_index=True)[1]
    time, entity, label = rows.time[once], rows.entity[once], rows.label[once]
    cuts = np.concatenate([time[[int(0.7 * time.size), int(0.85 * time.size)]], [NEVER]])
    place = np.arange(time.size)
    timeless = bool((time == NEVER).all())
    by_place = np.searchsorted([int(0.7 * time.size), int(0.85 * time.size)], place, "right")
    split = by_place if timeless else np.searchsorted(cuts[:2], time, "right")
    kept = np.ones(time.size, bool) if timeless else time <= cuts[split] - task.horizon
    if not all(_is_large(label[kept & (split == one)]) for one in range(3)):
        return None
    keys = database.keys(task.table).take(pa.array(entity[kept]))
    stamps = pa.array(time[kept], mask=time[kept] == NEVER).cast(pa.timestamp("us"))
    arrays = [keys, stamps, pa.array(label[kept]), pa.array(SPLITS).take(pa.array(split[kept]))]
    hidden = task.hide_splits
    facts = {
        "entity_table": task.table,
        "entity_key": task.key,
        "kind": task.kind,
        "metric": task.metric,
        "rule": task.rule,
        "split": {"by": "hash" if timeless else "time", "label_window_days": task.horizon / DAY},
        "hide": {
            "entity_row": list(task.hide_entity),
            "everywhere": [],
            "rows_of_splits": hidden
            and {"columns": [".".join(pair) for pair in hidden.columns], "splits": list(hidden.splits)},
        },
    }
    return SourceTask(_plain_name(task.rule), facts, pa.table(arrays, names=[task.key, "timestamp", "label", "split"]))
