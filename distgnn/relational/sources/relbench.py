"""Source: a dataset folder of RelBench 3: manifest.yaml, db/TABLE.parquet and tasks/TASK/."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa
import yaml

from distgnn import register
from distgnn.errors import RequestError
from distgnn.relational.schema import Kind, Schema
from distgnn.relational.sources.base import Declared, Input, SourceTask, stamp
from distgnn.relational.sources.database_json import is_folder_with
from distgnn.relational.sources.parquet import ParquetTables, batches_of, types_of
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.records import Name, convert

R = TypeVar("R")
FILE = "manifest.yaml"
_YAML_BYTES = 1 << 20
_SPLITS = ("train", "val", "test")
_KINDS = {
    "binary_classification": ("classification", "auroc"),
    "multiclass_classification": ("classification", "auroc"),
    "regression": ("regression", "mae"),
}
_UNITS = {"day": 1.0, "days": 1.0, "d": 1.0, "hours": 1 / 24, "hour": 1 / 24, "h": 1 / 24, "weeks": 7.0, "week": 7.0}


@dataclass(frozen=True)
class _Table:
    pkey: Name | None = None
    time_col: Name | None = None
    fkeys: dict[Name, Name] = field(default_factory=dict)


@dataclass(frozen=True)
class _Dataset:
    name: Name
    tables: dict[Name, _Table]
    val_timestamp: Name
    test_timestamp: Name


@dataclass(frozen=True)
class _Task:
    name: Name
    kind: Name
    task_type: Name
    entity_table: Name | None = None
    entity_col: Name | None = None
    target_col: Name | None = None
    time_col: Name | None = None
    timedelta: Name | None = None
    description: str | None = None
    remove_columns: tuple[tuple[Name, Name], ...] = ()


@register.database_source("relbench")
class RelBench(ParquetTables):
    """A dataset folder of RelBench 3; its tasks are taken over where they have label files."""

    def __init__(self, source: Input) -> None:
        self.uri = source.uri
        self._folder = open_folder(source.uri)
        self._read = _yaml(self._folder, FILE, _Dataset)
        self.name, self._db = self._read.name, self._folder.sub("db")
        super().__init__(self._db, dict.fromkeys(self._read.tables, ()))

    @staticmethod
    def recognises(uri: str) -> bool:
        """Whether there is a manifest.yaml."""
        return is_folder_with(uri, FILE)

    def declared(self, table: str) -> Declared:
        """Keys and time column of a table."""
        found = self._read.tables[table]
        kinds = {} if found.time_col is None else {found.time_col: Kind.TIME}
        return Declared(found.pkey, dict(found.fkeys), kinds, found.time_col, keys=True, times=True)

    def schema(self) -> Schema | None:
        """None: kinds are measured."""
        return None

    def fingerprint(self) -> list[Any]:
        """Names, sizes and times of the files."""
        return [stamp(self._folder, FILE), *(stamp(self._db, f"{table}.parquet") for table in self.tables())]

    def tasks(self) -> Iterator[SourceTask | str]:
        """Iterate over the tasks that have label files."""
        for name in self._folder.sub("tasks").names():
            folder = self._folder.sub(f"tasks/{name}")
            if folder.size(FILE) is not None:
                yield self._task(name, folder, _yaml(folder, FILE, _Task))

    def _task(self, name: str, folder: Folder, read: _Task) -> SourceTask | str:
        if read.task_type not in _KINDS or not (read.entity_table and read.target_col):
            return f"task {name!r}: tasks of type {read.task_type!r} are not supported"
        if any(folder.size(f"{split}.parquet") is None for split in _SPLITS):
            return f"task {name!r}: has no label files (train.parquet, val.parquet, test.parquet)"
        key = self._read.tables.get(read.entity_table, _Table()).pkey
        if key is None:
            return f"task {name!r}: table {read.entity_table!r} has no primary key"
        rows = pa.concat_tables([_labels(folder, split, read, key) for split in _SPLITS])
        return SourceTask(name, self._facts(read, key), rows)

    def _facts(self, read: _Task, key: str) -> dict[str, Any]:
        kind, metric = _KINDS[read.task_type]
        hidden = [f"{table}.{column}" for table, column in read.remove_columns]
        own = [f"{read.entity_table}.{read.target_col}"] if read.kind == "autocomplete" else []
        days = _days(read.timedelta)
        split = {"by": "time", "val_from": self._read.val_timestamp, "test_from": self._read.test_timestamp}
        return {
            "entity_table": read.entity_table,
            "entity_key": key,
            "kind": kind,
            "metric": metric,
            "rule": " ".join((read.description or "").split())[:1000],
            "split": split | ({} if days is None else {"label_window_days": days}),
            "hide": {"entity_row": [], "everywhere": sorted({*hidden, *own})},
        }


def _labels(folder: Folder, split: str, read: _Task, key: str) -> pa.Table:
    name = f"{split}.parquet"
    columns = (read.entity_col or key, *([read.time_col] if read.time_col else []), read.target_col or "")
    data = pa.Table.from_batches(batches_of(folder, name, columns), types_of(folder, name, columns))
    if split != "test":  # its labels may be held back
        data = data.filter(data[columns[-1]].is_valid())
    time = data[read.time_col] if read.time_col else pa.nulls(data.num_rows, pa.timestamp("us"))
    arrays = [data[columns[0]], time.cast(pa.timestamp("us")), data[columns[-1]], pa.array([split] * data.num_rows)]
    return pa.table(arrays, names=[key, "timestamp", "label", "split"])


def _days(text: str | None) -> float | None:
    if text is None:
        return None
    number, _, unit = text.strip().partition(" ")
    try:
        days = float(number) * _UNITS[unit.strip().lower() or "days"]
    except (ValueError, KeyError) as error:
        raise RequestError(f"timedelta {text[:80]!r} is not understood; write it as days, such as '60 days'") from error
    return days if math.isfinite(days) else None


class _Plain(yaml.SafeLoader):
    """Loader of plain YAML: times stay text, and aliases, by which a small file unfolds to a large one, are refused."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as in the base class
        letter: [one for one in found if one[0] != "tag:yaml.org,2002:timestamp"]
        for letter, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not supported")
        return super().compose_node(parent, index)


def _yaml(folder: Folder, name: str, kind: type[R]) -> R:
    where, remedy = folder.at(name), "write it as RelBench 3 does"
    raw = folder.read(name, _YAML_BYTES)
    try:
        data = yaml.load(raw, _Plain)  # a SafeLoader
    except (yaml.YAMLError, RecursionError, UnicodeError, ValueError) as error:
        raise RequestError(f"{where}: not YAML ({' '.join(str(error).split())[:200]}); {remedy}") from error
    if not isinstance(data, dict):
        raise RequestError(f"{where}: not a manifest; {remedy}")
    return convert(
        {key: data[key] for key in _fields(kind) if key in data}, kind, where, "a manifest of RelBench", remedy
    )


def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(kind.__dataclass_fields__)
