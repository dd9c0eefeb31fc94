"""Tasks that users add to a store: TOML files with rules or tables of labels."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distgnn.errors import RequestError
from distgnn.relational.database import Database
from distgnn.relational.encode import UNKNOWN
from distgnn.relational.label_tables import kind_of_labels, read_labels
from distgnn.relational.labels import DAY, Labelled, TaskSpec, labels_of_rule, split_at_random, split_by_time
from distgnn.relational.manifest import Finding
from distgnn.relational.schema import Kind
from distgnn.relational.schema_file import read_toml
from distgnn.relational.sources.base import SourceTask
from distgnn.relational.sources.database_json import TASKS, described_tasks
from distgnn.relational.tasks import SPLITS, hidden_columns
from distgnn.storage.folder import Folder
from distgnn.storage.records import convert
from distgnn.storage.uri import join, parent

_LEAST_TIMES = 3


class MadeTask(NamedTuple):
    """A task made from its description.

    Attributes:
        task: Its entry of tasks.json and its rows.
        findings: What was left out, and what was chosen.
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
    made = _of_rule(database, spec, where) if spec.rule else _of_table(database, spec, file, where)
    own = sorted({*spec.hide_entity, *made.hidden})
    for column in own:
        entity.column(column)
    chosen = _split(made, spec, where)
    labelled = chosen.labelled
    _check_labels(labelled, where)
    kind = kind_of_labels(labelled.label, made.classes, spec.kind, where, rule=bool(spec.rule))
    told = [Finding(kind.told, where, len(labelled.label))] if kind.told else []
    facts = {
        "entity_table": spec.entity,
        "entity_key": entity.key,
        "kind": kind.kind,
        "metric": "mae" if kind.kind == "regression" else "auroc",
        "rule": spec.rule or f"labels of {spec.table}",
        "split": {"by": chosen.by, "label_window_days": chosen.horizon / DAY} | _borders(chosen.borders),
        "hide": {"entity_row": own, "everywhere": list(spec.hide)} | _rows_hidden(made, spec.entity, chosen),
        "classes": list(kind.classes),
    }
    rows = _rows(database, spec.entity, labelled._replace(label=kind.label), chosen.split)
    return MadeTask(SourceTask(name, facts, rows), labelled.findings + told)


class _Made(NamedTuple):
    """Labels of a task before they are split; ``split`` is None unless their table has one."""

    labelled: Labelled
    horizon: int
    classes: tuple[str, ...] = ()
    split: np.ndarray | None = None
    hidden: tuple[str, ...] = ()


class _Chosen(NamedTuple):
    """A split: by "time" with the first cut-offs of val and test, or by "hash"."""

    labelled: Labelled
    split: np.ndarray
    by: str
    horizon: int
    borders: tuple[int, int] | None = None


def _of_rule(database: Database, spec: TaskSpec, where: str) -> _Made:
    rule, labelled = labels_of_rule(database, spec, where)
    classes: tuple[str, ...] = ()
    own = bool(rule.column) and rule.compare is None
    if own and database.schema.column(rule.table, rule.column).kind is Kind.CATEGORY:
        classes = tuple(database.categories(rule.table, rule.column))
    return _Made(labelled, rule.horizon, classes, hidden=(rule.column,) if rule.function == "value" else ())


def _of_table(database: Database, spec: TaskSpec, file: str, where: str) -> _Made:
    uri = spec.table if "/" in spec.table else join(parent(file)[0], spec.table)
    found = read_labels(database, spec, uri, where)
    return _Made(found.labelled, round(spec.horizon_days * DAY), found.classes, found.split)


def _split(made: _Made, spec: TaskSpec, where: str) -> _Chosen:
    """Take the split of the table, else split by time; at random where the labels have no times, or fewer than three."""
    labelled, timeless = made.labelled, bool((made.labelled.time == UNKNOWN).all())
    count = len(labelled.label)
    if made.split is not None:
        told = [Finding("rows have no time: nothing in time is checked", where, count)] if timeless and count else []
        return _Chosen(labelled._replace(findings=labelled.findings + told), made.split, "time", made.horizon)
    asked = spec.val_from or spec.test_from
    if asked and timeless and count:
        raise RequestError(f"{where}: val_from and test_from need times, and the labels have none; remove them")
    times = len(np.unique(labelled.time))
    if not count or asked or (spec.rule and not timeless) or times >= _LEAST_TIMES:
        split, rest, borders = split_by_time(labelled, made.horizon, spec, where) if count else _none(labelled)
        return _Chosen(rest, split, "time", made.horizon, borders)
    what = "rows have no time" if timeless else f"rows have {times} different times"
    told = Finding(f"{what}: split at random by their entities, nothing in time is checked", where, count)
    labelled = labelled._replace(findings=[*labelled.findings, told])
    return _Chosen(labelled, split_at_random(labelled), "hash", made.horizon if timeless else 0)


def _rows_hidden(made: _Made, entity: str, chosen: _Chosen) -> dict[str, Any]:
    """Without times, other rows of val and test are visible: they may not show the column that is asked about."""
    if not made.hidden or chosen.by == "time":
        return {}
    return {"rows_of_splits": {"columns": [f"{entity}.{one}" for one in made.hidden], "splits": ["val", "test"]}}


def _none(labelled: Labelled) -> tuple[np.ndarray, Labelled, None]:
    return np.zeros(0, np.int8), labelled, None


def _borders(borders: tuple[int, int] | None) -> dict[str, str]:
    if borders is None:
        return {}
    texts = [str(np.datetime64(one, "us")) for one in borders]
    return {"val_from": texts[0], "test_from": texts[1]}


def _check_labels(labelled: Labelled, where: str) -> None:
    """Raise RequestError unless there are two different labels."""
    label = labelled.label[~np.isnan(labelled.label)]
    if not len(label):
        lines = "; ".join(one.line().removeprefix(f"{where}: ") for one in labelled.findings)
        raise RequestError(f"{where}: no row is left ({lines or 'there is none'}); look at its keys, dates and filter")
    if (label == label[0]).all():
        raise RequestError(f"{where}: all {len(label):,} labels are {label[0]:g}; change the rule")


def _rows(database: Database, table: str, labelled: Labelled, split: np.ndarray) -> pa.Table:
    keys = database.keys(table).take(pa.array(labelled.entity))
    times = pa.array(labelled.time, mask=labelled.time == UNKNOWN).cast(pa.timestamp("us"))
    splits = pa.array(SPLITS).take(pa.array(split))
    names = [database.schema.table(table).key or "", "timestamp", "label", "split"]
    return pa.table([keys, times, pa.array(labelled.label, from_pandas=True), splits], names=names)


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
