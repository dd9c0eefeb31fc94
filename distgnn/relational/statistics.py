"""Statistics of databases, and warnings about tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute

from distgnn.graph.keyed import draw, key
from distgnn.graph.purposes import RelationalDraw
from distgnn.relational.database import Database
from distgnn.relational.encode import UNKNOWN
from distgnn.relational.links import Ints
from distgnn.relational.measure import holds_times
from distgnn.relational.names import names_birth
from distgnn.relational.schema import Column, ForeignKey, Kind, Table
from distgnn.relational.tasks import ALWAYS, SPLITS, Task, TaskRows

pc: Any = _compute  # its functions are made at run time
_YEAR_1900 = -2_208_988_800_000_000
_GIVES_AWAY, _MISSING_GIVES_AWAY, _RATES_DIFFER, _FEW = 0.99, 0.75, 0.5, 20
_HUB = 1_000_000
_NAMED, _LOST, _CUTS = 5, 0.3, 16


def statistics(database: Database) -> dict[str, Any]:
    """Return JSON facts: tables with kinds and time ranges, foreign keys with their fan-out, and what looks wrong."""
    schema = database.schema
    links = [_link_facts(database, key) for key in schema.foreign_keys]
    tables = [_table_facts(database, table) for table in schema.tables]
    return {
        "name": schema.name,
        "rows": sum(table["rows"] for table in tables),
        "tables": tables,
        "foreign_keys": links,
        "warnings": [
            *(w for table in schema.tables for w in _time_warnings(database, table)),
            *undated(database),
            *_link_warnings(links),
        ],
    }


def undated(database: Database) -> Iterator[str]:
    """Iterate over warnings of tables that have no time although some of their columns look like times."""
    for table in database.schema.tables:
        if table.time is not None:
            continue
        found = [column.name for column in table.columns if _looks_timely(database, table.name, column)]
        if found:
            names = ", ".join(found[:_NAMED]) + (", ..." if len(found) > _NAMED else "")
            yield (
                f"{table.name}: has no time, so all its rows are visible always, but {names} looks like times;"
                " if one says when a row became known, name it in the schema file"
            )


def _looks_timely(database: Database, table: str, column: Column) -> bool:
    """Whether a column holds times, or texts that are; births and what is known only from then on do not count."""
    if names_birth(column.name):
        return False
    if column.kind is Kind.TIME:
        return not (column.late and column.known_at == column.name)
    if column.kind is Kind.CATEGORY:
        return holds_times(pa.chunked_array([pa.array(database.categories(table, column.name), pa.large_string())]))
    if column.kind is Kind.TEXT:
        return holds_times(pa.chunked_array([database.text(table, column.name)]))
    return False


def _table_facts(database: Database, table: Table) -> dict[str, Any]:
    time = database.time(table.name)
    kinds = Counter(column.kind.value for column in table.columns)
    return {
        "table": table.name,
        "rows": database.rows(table.name),
        "key": table.key,
        "time": table.time,
        "time_of": key.parent if (key := database.schema.time_key(table.name)) else None,
        "time_range": None if time is None else _range(time),
        "columns": dict(kinds),
        "late": [column.name for column in table.columns if column.late],
    }


def _range(times: Ints) -> list[str] | None:
    known = times[times != UNKNOWN]
    return [str(np.datetime64(int(one), "us")) for one in (known.min(), known.max())] if len(known) else None


def _link_facts(database: Database, key: ForeignKey) -> dict[str, Any]:
    parent, counts = database.parent(key), np.diff(database.children(key).indptr)
    own, other = database.time(key.table), database.time(key.parent)
    older = 0
    if own is not None and other is not None and len(other):
        theirs = other[np.maximum(parent, 0)]
        older = int(((parent >= 0) & (own != UNKNOWN) & (theirs != UNKNOWN) & (own < theirs)).sum())
    return {
        "key": str(key),
        "rows": len(parent),
        "no_parent": int((parent < 0).sum()),
        "most_children": int(counts.max()) if len(counts) else 0,
        "childless": int((counts == 0).sum()),
        "older_than_parent": older,
    }


def _time_warnings(database: Database, table: Table) -> Iterator[str]:
    now = int(datetime.now(UTC).timestamp() * 1e6)
    for column in table.columns:
        if column.kind is Kind.TIME:
            times = database.times(table.name, column.name)
            known = times[times != UNKNOWN]
            for count, what in (
                (int((known < _YEAR_1900).sum()), "before 1900"),
                (int((known > now).sum()), "in the future"),
            ):
                if count:
                    yield f"{table.name}.{column.name}: {count:,} times are {what}"
    if not database.rows(table.name):
        yield f"{table.name}: the table is empty"


def _link_warnings(links: list[dict[str, Any]]) -> Iterator[str]:
    for link in links:
        if link["older_than_parent"]:
            yield f"{link['key']}: {link['older_than_parent']:,} rows are older than their parent"
        if link["most_children"] >= _HUB:
            yield f"{link['key']}: a row has {link['most_children']:,} children; samples keep only some of them"


def task_warnings(database: Database, task: Task, rows: TaskRows) -> list[str]:
    """Return warnings about a task: late columns that are shown, splits of one label, and columns that give the label away.

    Columns of the entity row are scored one by one on the training rows: against the label, whether it is above its median, or
    whether it is the most frequent class. What the task hides is left out.
    """
    table = database.schema.table(task.table)
    hidden = {column for name, column in task.hide if name == task.table} | set(task.hide_entity)
    if "*" in hidden:
        return []
    shown = [column for column in table.columns if column.name not in hidden]
    found = [
        f"{task.table}.{column.name} is known late, and the entity row shows it; hide it (hide_entity)"
        for column in shown
        if column.late and column.late_after is None and not column.known_at
    ]
    found += [*_late_elsewhere(database, task), *_outside(database, task, rows)]
    found += [*_removed(database, task, rows), *_one_label(rows, task.name)]
    train = rows.split == 0
    label, entity = rows.label[train], rows.entity[train]
    if task.kind == "regression" and len(label):
        label = (label > np.median(label)).astype(np.float64)
    elif task.kind == "multiclass" and len(label):
        values, counts = np.unique(label, return_counts=True)
        label = (label == values[counts.argmax()]).astype(np.float64)
    if len(label) < _FEW or (label == label[0]).all():
        return found
    return found + [line for column in shown for line in _given_away(database, table, column, entity, label)]


def _late_elsewhere(database: Database, task: Task) -> Iterator[str]:
    """Warn about late columns of other tables whose delay is unknown: rows before the cut-off show them."""
    for table in database.schema.tables:
        late = [column.name for column in table.columns if column.late and column.late_after is None]
        columns = [name for name in late if not database.schema.column(table.name, name).known_at]
        shown = [one for one in columns if not {(table.name, one), (table.name, "*")} & set(task.hide)]
        if shown and table.name != task.table:
            names = ", ".join(shown)
            yield f"{table.name}: {names}: known late, not said when: rows before the cut-off show them; hide what tells the label"


def _removed(database: Database, task: Task, rows: TaskRows) -> Iterator[str]:
    """Warn if the time of the entities removes many of those that have earlier child rows: it may be their last update."""
    own, name = database.time(task.table), database.schema.table(task.table).time
    cuts = rows.time[rows.time != ALWAYS]
    if own is None or not len(cuts) or database.schema.time_key(task.table) is not None:
        return
    distinct = np.unique(cuts)
    looked = distinct[np.linspace(0, len(distinct) - 1, min(len(distinct), _CUTS)).astype(np.int64)]
    asked = {int(cut): np.isin(np.arange(len(own)), rows.entity[rows.time == cut]) for cut in looked}
    for link in database.schema.children(task.table):
        time, parent = database.time(link.table), database.parent(link)
        if time is None:
            continue
        first, kept = np.full(len(own), ALWAYS), (parent >= 0) & (time != UNKNOWN)
        np.minimum.at(first, parent[kept], time[kept])
        active = {cut: first < cut for cut in asked}
        lost = sum(int((active[cut] & (own >= cut) & ~asked[cut]).sum()) for cut in asked)
        if lost > _LOST * sum(int(one.sum()) for one in active.values()):
            share = lost / sum(int(one.sum()) for one in active.values())
            yield (
                f"{task.name}: {share:.0%} of the rows of {task.table} that have earlier rows in {link.table} are not asked about,"
                f" since their own {name} is later than the cut-off; if it is overwritten, it chooses them by the future: give"
                " the table another time in the schema file, or none"
            )


def _one_label(rows: TaskRows, name: str) -> Iterator[str]:
    for place, split in enumerate(SPLITS):
        label = rows.label[(rows.split == place) & ~np.isnan(rows.label)]
        if len(label) and (label == label[0]).all():
            yield f"{name}: all {len(label):,} labels of {split} are {label[0]:g}"


def _outside(database: Database, task: Task, rows: TaskRows) -> Iterator[str]:
    """Warn about cut-offs before the first row, and label windows past the last row of the database."""
    times = [time for table in database.schema.tables if (time := database.time(table.name)) is not None]
    known = [time[time != UNKNOWN] for time in times if (time != UNKNOWN).any()]
    cuts = rows.time[(rows.time != ALWAYS) & ~np.isnan(rows.label)]
    if not known or not len(cuts):
        return
    first, last = min(int(time.min()) for time in known), max(int(time.max()) for time in known)
    for count, what in (
        (int((cuts <= first).sum()), "cut-offs are before the first row of the database: nothing is known there"),
        (
            int((cuts > last + 1 - task.horizon).sum()) if task.horizon else 0,
            "label windows reach past the end of the data",
        ),
    ):
        if count:
            yield f"{task.name}: {count:,} {what}"


def _given_away(
    database: Database, table: Table, column: Column, entity: np.ndarray, label: np.ndarray
) -> Iterator[str]:
    values, missing = _scores(database, table, column, entity, label)
    name = f"{table.name}.{column.name}"
    if values is not None and (score := auroc(values, label)) >= _GIVES_AWAY:
        yield f"{name} alone separates the labels (AUROC {score:.3f}); if it is known only later, hide it"
    count = int(missing.sum())
    if 0 < count < len(missing):
        inside, outside = float(label[missing].mean()), float(label[~missing].mean())
        pure = count >= _FEW and abs(inside - outside) >= _RATES_DIFFER
        if pure or auroc(missing, label) >= _MISSING_GIVES_AWAY:
            rates = f"{inside:.0%} of the {count:,} rows without it are positive, {outside:.0%} of the others"
            yield f"{name}: whether it is missing tells the label ({rates}); if it is known only later, hide it"


def _scores(
    database: Database, table: Table, column: Column, entity: np.ndarray, label: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return a score per row, None for keys, text and a single category, and which values are missing."""
    if column.kind is Kind.NUMBER:
        numbers = database.numbers(table.name, column.name)[entity]
        return np.nan_to_num(numbers, nan=-np.inf), np.isnan(numbers)
    if column.kind is Kind.TIME:
        times = database.times(table.name, column.name)[entity]
        return times, times == UNKNOWN
    if column.kind is Kind.CATEGORY:
        codes = database.codes(table.name, column.name)[entity]
        return None if (codes == codes[0]).all() else _means(codes + 1, label), codes < 0
    arrow = database.text if column.kind is Kind.TEXT else database.key_values
    return None, np.asarray(pc.is_null(arrow(table.name, column.name)))[entity]


def _means(codes: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the mean label of each row's category in the other half of the rows, with one row of the overall mean added."""
    half = (draw(key(0, RelationalDraw.HALVES), np.arange(len(codes))) & np.uint64(1)).astype(np.int64)
    scores = np.empty(len(codes))
    for one in (0, 1):
        other = half != one
        sums, counts = (np.bincount(codes[other], weight, codes.max() + 1) for weight in (label[other], None))
        scores[half == one] = ((sums + label.mean()) / (counts + 1))[codes[half == one]]
    return scores


def auroc(score: np.ndarray, label: np.ndarray) -> float:
    """Return the area under the ROC curve of a score or of its negative, whichever is larger."""
    positive = int((label == 1).sum())
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # ties share the mean of their ranks
    area = (ranks[label == 1].sum() - positive * (positive + 1) / 2) / (positive * (len(label) - positive))
    return float(max(area, 1 - area))
