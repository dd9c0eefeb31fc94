"""Tasks that users add to a store: TOML files with rules or tables of labels."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute
import pyarrow.parquet as pq

from distgnn.corpus.sources.files import plain_name
from distgnn.errors import RequestError
from distgnn.relational.database import Database
from distgnn.relational.encode import UNKNOWN, encode
from distgnn.relational.labels import DAY, Labelled, TaskSpec, labels_of_rule, split_by_time
from distgnn.relational.links import resolve
from distgnn.relational.manifest import Finding
from distgnn.relational.schema import Column, Kind
from distgnn.relational.schema_file import read_toml
from distgnn.relational.sources.base import Input, SourceTask
from distgnn.relational.sources.database_json import TASKS, described_tasks
from distgnn.relational.sources.files import Files
from distgnn.relational.sources.parquet import batches_of, types_of
from distgnn.relational.tasks import SPLITS, hidden_columns
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.records import convert
from distgnn.storage.uri import join, parent

pc: Any = _compute  # its functions are made at run time


class MadeTask(NamedTuple):
    """A task made from its description.

    Attributes:
        task: Its entry of tasks.json and its rows.
        findings: What was left out.
    """

    task: SourceTask
    findings: list[Finding]


def read_specs(uri: str) -> dict[str, TaskSpec]:
    """Read the tasks of a TOML file: one table [tasks.NAME] for each.

    Raises:
        RequestError: The file is missing, or a field is unknown or of the wrong type.
    """
    data = read_toml(uri, "a file of tasks").get("tasks")
    if not isinstance(data, dict) or not data:
        raise RequestError(f"{uri}: describes no tasks; write each as a table [tasks.NAME]")
    return {name: convert(one, TaskSpec, f"{uri}: task {name!r}", "a task") for name, one in data.items()}


def make_task(database: Database, name: str, spec: TaskSpec, file: str) -> MadeTask:
    """Compute the rows of a task.

    Args:
        database: The database.
        name: Name of the task.
        spec: Its description.
        file: Where the description is from; a relative ``table`` is in the same folder.

    Raises:
        RequestError: The rule or the table is wrong, or all labels are the same.
    """
    where = f"{file}: task {name!r}"
    if bool(spec.rule) == bool(spec.table):
        raise RequestError(f"{where}: give either rule or table")
    entity = database.schema.table(spec.entity)
    hidden_columns(spec.hide, database.schema, where)
    own, categories = list(spec.hide_entity), []
    if spec.rule:
        rule, labelled = labels_of_rule(database, spec, where)
        horizon, given, multiclass = rule.horizon, None, False
        if rule.function == "value":
            own.append(rule.column)
        if rule.column and rule.compare is None and entity is not None:
            if database.schema.column(rule.table, rule.column).kind is Kind.CATEGORY:
                categories = database.categories(rule.table, rule.column)
            multiclass = len(categories) > 2  # of two, the task is whether it is the second
    else:
        horizon, multiclass = round(spec.horizon_days * DAY), False
        labelled, given = _table_labels(database, spec, file, where)
    for column in own:
        entity.column(column)
    split, labelled, borders = (
        (given, labelled, None) if given is not None else split_by_time(labelled, horizon, spec, where)
    )
    kind = _kind(labelled.label, multiclass, where)
    facts = {
        "entity_table": spec.entity,
        "entity_key": entity.key,
        "kind": kind,
        "metric": "mae" if kind == "regression" else "auroc",
        "rule": spec.rule or f"labels of {spec.table}",
        "split": {"by": "time", "label_window_days": horizon / DAY} | _borders(borders),
        "hide": {"entity_row": sorted({*own}), "everywhere": list(spec.hide)},
        "classes": categories,
    }
    return MadeTask(SourceTask(name, facts, _rows(database, spec.entity, labelled, split)), labelled.findings)


def _borders(borders: tuple[int, int] | None) -> dict[str, str]:
    if borders is None:
        return {}
    texts = [str(np.datetime64(one, "us")) for one in borders]
    return {"val_from": texts[0], "test_from": texts[1]}


def _kind(labels: np.ndarray, multiclass: bool, where: str) -> str:
    label = labels[~np.isnan(labels)]
    if not len(label):
        raise RequestError(f"{where}: no row is left; look at its dates and its filter")
    if (label == label[0]).all():
        raise RequestError(f"{where}: all {len(label):,} labels are {label[0]:g}; change the rule")
    if multiclass:
        return "multiclass"
    return "binary" if bool(np.isin(label, (0, 1)).all()) else "regression"


def _rows(database: Database, table: str, labelled: Labelled, split: np.ndarray) -> pa.Table:
    keys = database.keys(table).take(pa.array(labelled.entity))
    times = pa.array(labelled.time, mask=labelled.time == UNKNOWN).cast(pa.timestamp("us"))
    splits = pa.array(SPLITS).take(pa.array(split))
    names = [database.schema.table(table).key or "", "timestamp", "label", "split"]
    return pa.table([keys, times, pa.array(labelled.label, from_pandas=True), splits], names=names)


def _table_labels(database: Database, spec: TaskSpec, file: str, where: str) -> tuple[Labelled, np.ndarray | None]:
    """Read labels; rows of unknown entities, there twice or without a label (but of test) are counted and left out."""
    uri = spec.table if "/" in spec.table else join(parent(file)[0], spec.table)
    data = _read_table(uri)
    if data.num_columns not in (3, 4):
        raise RequestError(f"{uri}: has {data.num_columns} columns; write entity key, time, label and, if known, split")
    keys = encode(data.column(0), Column("key", Kind.KEY), uri).arrays[""]
    owner = resolve(keys, database.keys(spec.entity))
    time = encode(data.column(1), Column("time", Kind.TIME), uri).arrays[""].to_numpy()
    label = encode(data.column(2), Column("label", Kind.NUMBER), uri).arrays[""].to_numpy()
    split = _given_split(data, uri)
    asked = np.zeros(len(label), bool) if split is None else split == SPLITS.index("test")
    findings, kept = [], np.ones(len(label), bool)
    once = np.zeros(len(label), bool)
    once[np.unique(np.stack([owner.parent.astype(np.int64), time]), axis=1, return_index=True)[1]] = True
    reasons = (
        ("labels of unknown entities, left out", owner.parent >= 0),
        ("rows without a label, left out", ~np.isnan(label) | asked),
        ("rows with the entity and time of an earlier row, left out", once),
    )
    for what, good in reasons:
        count = int((kept & ~good).sum())
        kept &= good
        findings += [Finding(what, where, count, owner.example if "unknown" in what else "")] if count else []
    found = Labelled(owner.parent[kept], time[kept], label[kept], findings)
    return found, None if split is None else split[kept]


def _given_split(data: pa.Table, uri: str) -> np.ndarray | None:
    if data.num_columns < 4:
        return None
    split = pc.index_in(data.column(3).cast(pa.large_string()), value_set=pa.array(SPLITS, pa.large_string()))
    if split.null_count:
        raise RequestError(f"{uri}: {split.null_count} rows have another split than train, val, test; correct them")
    return np.asarray(split).astype(np.int8)


def _read_table(uri: str) -> pa.Table:
    place, name = parent(uri)
    folder = open_folder(place)
    if folder.size(name) is None:
        raise RequestError(f"{uri}: no such file of labels; check the path")
    if plain_name(name).endswith(".parquet"):
        return pa.Table.from_batches(batches_of(folder, name), types_of(folder, name))
    table = name.partition(".")[0]
    source = Files(Input(place))
    return pa.Table.from_batches(source.batches(table), source.types(table))


def save_tasks(folder: Folder, tasks: list[SourceTask]) -> None:
    """Write tasks to a store; those of the same name are replaced."""
    written: dict[str, Any] = {}
    for task in tasks:
        if not task.name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise RequestError(f"task {task.name!r}: a name has letters, digits, '-', '_' and '.' only; rename it")
        buffer = io.BytesIO()
        pq.write_table(task.rows, buffer, compression="zstd")
        folder.write(f"tasks/{task.name}.parquet", buffer.getvalue())
        written[task.name] = task.facts | {"sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}
    facts = described_tasks(folder) | written
    if facts:
        folder.write(TASKS, json.dumps(facts, indent=1).encode())
