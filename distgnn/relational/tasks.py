"""Prediction tasks of a database: what is asked about which entity at which time, and what may not be seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as _compute
from msgspec import Meta

from distgnn.errors import RequestError
from distgnn.relational.database import Database
from distgnn.relational.encode import encode
from distgnn.relational.links import Ints, Rows, resolve
from distgnn.relational.schema import Column, Kind, Schema
from distgnn.relational.sources.database_json import described_tasks
from distgnn.relational.sources.parquet import batches_of, types_of
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.records import Name, Text, convert

pc: Any = _compute  # its functions are made at run time
ALWAYS = np.iinfo(np.int64).max
"""Cut-off of a task row without time: all rows are visible."""
DAY = 86_400_000_000
"""Microseconds of a day."""
FILE, FOLDER = "tasks.json", "tasks"
SPLITS = ("train", "val", "test")
Labels = Literal["binary", "multiclass", "regression"]


@dataclass(frozen=True)
class HiddenInSplits:
    """Columns that may not be seen in rows of some splits, for tasks without time."""

    columns: tuple[tuple[str, str], ...]
    splits: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """A prediction task.

    Attributes:
        name: Its name.
        database: Name of the database.
        table: Table of the entities.
        key: Primary key of this table.
        kind: What the labels are.
        horizon: Length of the label window [time, time + horizon) in microseconds; 0 if there is none.
        hide: (table, column) that no row may show; the column "*" is the whole table.
        hide_entity: Columns of ``table`` that the entity row itself may not show.
        hide_splits: Columns hidden in rows of some splits, by the split of the row as an entity of this task; None = none.
        metric: "auroc" or "mae".
        rule: What is asked, in words or as a rule.
        classes: Names of the labels 0, 1, ... of a multiclass task; empty if they have none.
    """

    name: str
    database: str
    table: str
    key: str
    kind: Labels
    horizon: int = 0
    hide: tuple[tuple[str, str], ...] = ()
    hide_entity: tuple[str, ...] = ()
    hide_splits: HiddenInSplits | None = None
    metric: str = "auroc"
    rule: str = ""
    classes: tuple[str, ...] = ()


class TaskRows(NamedTuple):
    """Rows of a task, in the order of its table.

    Attributes:
        entity: int32 [N], row of the entity in its table.
        time: int64 [N], cut-off in microseconds since 1970 UTC: only rows with a smaller time may be seen.
            The largest int64 if the row has none.
        label: float64 [N]; NaN = unknown, in rows of test only.
        split: int8 [N], 0 train, 1 val, 2 test.
    """

    entity: Rows
    time: Ints
    label: npt.NDArray[np.float64]
    split: npt.NDArray[np.int8]


@dataclass(frozen=True)
class _Split:
    by: Name
    val_from: Name | None = None
    test_from: Name | None = None
    label_window_days: Annotated[float, Meta(ge=0, le=1e6)] | None = None


@dataclass(frozen=True)
class _Hidden:
    columns: tuple[Name, ...]
    splits: tuple[Literal["train", "val", "test"], ...]


@dataclass(frozen=True)
class _Hide:
    entity_row: tuple[Name, ...] = ()
    everywhere: tuple[Name, ...] = ()
    rows_of_splits: _Hidden | None = None


@dataclass(frozen=True)
class _Task:
    entity_table: Name
    entity_key: Name
    kind: Literal["classification", "regression", "binary", "multiclass"]
    split: _Split
    hide: _Hide = field(default_factory=_Hide)
    metric: Name = "auroc"
    rule: Text = ""
    visible_rows: Text = ""
    classes: tuple[Text, ...] = ()
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None = None


def task_names(uri: str) -> tuple[str, ...]:
    """Names of the tasks that tasks.json of a folder describes; empty if there is none."""
    return tuple(described_tasks(open_folder(uri)))


def load_task(database: Database, name: str) -> tuple[Task, TaskRows]:
    """Load a task of a database.

    Args:
        database: The database.
        name: Name of the task.

    Returns:
        The task and its rows.

    Raises:
        RequestError: There is no such task, it names tables or columns that the database has not, an entity is unknown, or a
            label is missing.
    """
    folder = open_folder(database.uri)
    described = described_tasks(folder)
    if name not in described:
        raise RequestError(f"{database.uri}: no task {name!r}; the tasks are {', '.join(described) or '(none)'}")
    where = f"{folder.at(FILE)}: task {name!r}"
    read = convert(described[name], _Task, where, "a task")
    rows = _rows(folder, name, read, database)
    return _task(name, read, rows, database.schema, where), rows


def verify_tasks(folder: Folder) -> list[str]:
    """Check the rows of all tasks of a store against their digests; returns one line per problem."""
    problems = []
    for name, facts in described_tasks(folder).items():
        try:
            read = convert(facts, _Task, f"{folder.at(FILE)}: task {name!r}", "a task")
            _check_digest(folder, f"{FOLDER}/{name}.parquet", read.sha256)
        except RequestError as error:
            problems.append(str(error))
    return problems


def _check_digest(folder: Folder, file: str, sha256: str | None) -> None:
    """Raise RequestError if the file differs from the digest; tasks of a folder with database.json have none."""
    if sha256 is not None and folder.read_checked(file, sha256) is None:
        raise RequestError(
            f"{folder.at(file)}: the bytes differ from the digest in {FILE}; restore it or add the task again"
        )


def _task(name: str, read: _Task, rows: TaskRows, schema: Schema, where: str) -> Task:
    entity = schema.table(read.entity_table)
    if entity.key != read.entity_key:
        raise RequestError(f"{where}: {read.entity_key!r} is not the primary key of {entity.name!r} ({entity.key!r})")
    for column in read.hide.entity_row:
        entity.column(column)
    kind: Labels = read.kind if read.kind != "classification" else _kind_of(rows.label)
    hidden = read.hide.rows_of_splits
    return Task(
        name=name,
        database=schema.name,
        table=entity.name,
        key=read.entity_key,
        kind=kind,
        horizon=round((read.split.label_window_days or 0) * DAY),
        hide=hidden_columns(read.hide.everywhere, schema, where),
        hide_entity=read.hide.entity_row,
        hide_splits=hidden and HiddenInSplits(hidden_columns(hidden.columns, schema, where), hidden.splits),
        metric=read.metric,
        rule=read.rule,
        classes=read.classes,
    )


def _kind_of(labels: npt.NDArray[np.float64]) -> Labels:
    return "binary" if bool(np.isin(labels[~np.isnan(labels)], (0, 1)).all()) else "multiclass"


def hidden_columns(names: tuple[str, ...], schema: Schema, where: str) -> tuple[tuple[str, str], ...]:
    """Split names ``table.column`` and ``table.*``; RequestError if the schema has no such column."""
    pairs = []
    for name in names:
        fits = [one for one in schema.tables if name.startswith(f"{one.name}.")]
        table = max(fits, key=lambda one: len(one.name), default=None)  # "t.x.c" is of table "t.x", if there is one
        if table is None:
            raise RequestError(f"{where}: hides {name!r}, which is no table.column of the database; correct it")
        column = name[len(table.name) + 1 :]
        pairs.append((table.name, column if column == "*" else table.column(column).name))
    return tuple(pairs)


def _rows(folder: Folder, name: str, read: _Task, database: Database) -> TaskRows:
    file = f"{FOLDER}/{name}.parquet"
    _check_digest(folder, file, read.sha256)
    columns = (read.entity_key, "timestamp", "label", "split")
    data = pa.Table.from_batches(batches_of(folder, file, columns), types_of(folder, file, columns))
    return task_rows(data, read.entity_table, database, folder.at(file))


def task_rows(data: pa.Table, table: str, database: Database, where: str) -> TaskRows:
    """Convert a table (entity key, timestamp, label, split) to rows of a task. Labels of test rows may be missing.

    Raises:
        RequestError: An entity or a split is unknown, a label is missing, or a row is there twice.
    """
    keys, stamps, labels, splits = (data.column(place) for place in range(4))
    entity = _entities(keys, table, database, where)
    times = encode(stamps, Column("timestamp", Kind.TIME), f"{where}: timestamp").arrays[""].to_numpy()
    label = encode(labels, Column("label", Kind.NUMBER), f"{where}: label").arrays[""].to_numpy()
    split = pc.index_in(splits.combine_chunks(), value_set=pa.array(SPLITS, splits.type))
    if split.null_count:
        row = int(np.argmax(split.is_null().to_numpy(zero_copy_only=False)))
        raise RequestError(f"{where}: row {row}: the split is {splits[row].as_py()!r}, not train, val or test")
    unknown = np.isnan(label) & (split.to_numpy() != SPLITS.index("test"))
    if unknown.any():
        raise RequestError(f"{where}: row {int(np.argmax(unknown))} has no label, and is none of test; drop such rows")
    cut = np.where(times == np.iinfo(np.int64).min, ALWAYS, times)
    _check_once(entity, cut, where)
    return TaskRows(entity, cut, label, split.to_numpy().astype(np.int8))


def _entities(keys: pa.ChunkedArray, table: str, database: Database, where: str) -> Rows:
    values = encode(keys, Column("key", Kind.KEY), where).arrays[""]
    found = resolve(values, database.keys(table))
    missing = found.nulls + found.dangling
    if missing:
        row = int(np.argmax(found.parent < 0))
        raise RequestError(
            f"{where}: {missing} rows name entities that {table!r} has not (row {row}: {values[row].as_py()!r}); drop them"
        )
    return found.parent


def _check_once(entity: Rows, time: Ints, where: str) -> None:
    order = np.lexsort((time, entity))
    same = (np.diff(entity[order]) == 0) & (np.diff(time[order]) == 0)
    if same.any():
        first, again = sorted(int(row) for row in order[int(np.argmax(same)) :][:2])
        raise RequestError(
            f"{where}: rows {first} and {again} have the same entity and time ({int(same.sum())} such rows); keep one label each"
        )
