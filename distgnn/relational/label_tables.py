"""Tables of labels: which column holds what, how times and labels are read, and what kind of task they make."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute

from distgnn.corpus.sources.files import plain_name
from distgnn.errors import RequestError
from distgnn.relational.database import Database
from distgnn.relational.encode import UNKNOWN, as_text, encode
from distgnn.relational.labels import Labelled, TaskSpec
from distgnn.relational.links import resolve
from distgnn.relational.manifest import Finding
from distgnn.relational.measure import MARKS, measured
from distgnn.relational.schema import Column, Kind
from distgnn.relational.sources.base import Input
from distgnn.relational.sources.files import Files
from distgnn.relational.sources.parquet import batches_of, types_of
from distgnn.relational.tasks import SPLITS
from distgnn.storage.folder import open_folder
from distgnn.storage.uri import parent

pc: Any = _compute  # its functions are made at run time
TaskKind = Literal["binary", "multiclass", "regression"]
_MISSING = ("\\N", "?", "NA", "N/A", "n/a", "#N/A", "NULL", "null", "nan", "NaN")
_POSITIVE = ("1", "yes", "y", "true", "t", "on", "ja", "j", "wahr", "oui", "o", "si", "sí", "s", "positive", "pos")
_CLASSES, _FEW = 1000, 20


class LabelTable(NamedTuple):
    """Rows of a table of labels.

    Attributes:
        labelled: Entities, times (the smallest int64 = none) and labels; codes of ``classes``, if the labels are texts.
        split: Split of each row; None if the table has none.
        classes: Texts of the labels 0, 1, ...; empty if they are numbers.
    """

    labelled: Labelled
    split: np.ndarray | None
    classes: tuple[str, ...]


class _Columns(NamedTuple):
    key: pa.ChunkedArray
    time: pa.ChunkedArray | None
    label: pa.ChunkedArray
    split: pa.ChunkedArray | None


def read_labels(database: Database, spec: TaskSpec, uri: str, where: str) -> LabelTable:
    """Read labels; rows of unknown entities, there twice, without a time or without a label (but of test) are counted and left out.

    Args:
        database: The database.
        spec: The task.
        uri: The table: CSV or Parquet.
        where: The task, for findings.

    Raises:
        RequestError: The table has other columns, its times are none, or its labels are neither numbers nor classes.
    """
    columns = _columns(_read_table(uri), uri)
    owner = resolve(encode(columns.key, Column("key", Kind.KEY), uri).arrays[""], database.keys(spec.entity))
    time, times_lost, findings = _times(columns.time, len(columns.key), uri, where)
    label, labels_lost, classes = _labels(columns.label, uri)
    split = None if columns.split is None else _splits(columns.split, uri)
    asked = np.zeros(len(label), bool) if split is None else split == SPLITS.index("test")
    once = np.zeros(len(label), bool)
    once[np.unique(np.stack([owner.parent.astype(np.int64), time]), axis=1, return_index=True)[1]] = True
    dated = (time != UNKNOWN) | bool((time == UNKNOWN).all())
    kept = np.ones(len(label), bool)
    reasons = (
        ("labels of unknown entities, left out", owner.parent >= 0, owner.example),
        ("times that cannot be read, left out", ~times_lost, _example(columns.time, times_lost)),
        ("rows without a time, left out", dated, ""),
        ("labels that cannot be read, left out", ~labels_lost, _example(columns.label, labels_lost)),
        ("rows without a label, left out", ~np.isnan(label) | asked, ""),
        ("rows with the entity and time of an earlier row, left out", once, ""),
    )
    for what, good, example in reasons:
        count = int((kept & ~good).sum())
        kept &= good
        findings += [Finding(what, where, count, example)] if count else []
    labelled = Labelled(owner.parent[kept], time[kept], label[kept], findings)
    return LabelTable(labelled, None if split is None else split[kept], classes)


def _columns(data: pa.Table, uri: str) -> _Columns:
    """Tell the columns apart: entity key, time (if there is one), label and split (if there is one)."""
    count = data.num_columns
    split = data.column(count - 1) if count in (3, 4) and (count == 4 or _names_splits(data.column(2))) else None
    places = count - (split is not None)
    if places not in (2, 3):
        raise RequestError(f"{uri}: has {count} columns; write entity key, time, label and, if known, split")
    return _Columns(data.column(0), data.column(1) if places == 3 else None, data.column(places - 1), split)


def _names_splits(values: pa.ChunkedArray) -> bool:
    return set(pc.unique(values.cast(pa.large_string())).to_pylist()) <= set(SPLITS)


def _splits(values: pa.ChunkedArray, uri: str) -> np.ndarray:
    split = pc.index_in(values.cast(pa.large_string()), value_set=pa.array(SPLITS, pa.large_string()))
    if split.null_count:
        raise RequestError(f"{uri}: {split.null_count} rows have another split than train, val, test; correct them")
    return np.asarray(split).astype(np.int8)


def _times(
    values: pa.ChunkedArray | None, count: int, uri: str, where: str
) -> tuple[np.ndarray, np.ndarray, list[Finding]]:
    """Return the times of the rows, which of them cannot be read, and how they are read."""
    if values is None or values.null_count == len(values):
        return np.full(count, UNKNOWN), np.zeros(count, bool), []
    found = measured("time", values)
    if found.column.kind is not Kind.TIME:
        raise RequestError(
            f"{uri}: the second column holds no times (such as {_first(values)}); write 2024-01-31, or leave it out"
        )
    time = encode(values, found.column, uri).arrays[""].to_numpy()
    told = [Finding(f"times are read so: {found.guess}", where, count)] if found.guess else []
    return time, _written(values) & (time == UNKNOWN), told


def _labels(values: pa.ChunkedArray, uri: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return numbers or codes of classes, which labels cannot be read, and the classes."""
    found = measured("label", values).column
    if found.kind is Kind.TIME:
        raise RequestError(f"{uri}: the labels are times (such as {_first(values)}); write numbers or classes")
    if found.kind is Kind.NUMBER:
        label = encode(values, found, uri).arrays[""].to_numpy()
        return label, _written(values) & np.isnan(label), ()
    text = pc.utf8_trim_whitespace(as_text(values))
    text = pc.if_else(pc.is_in(text, value_set=pa.array(_MISSING, pa.large_string())), None, text)
    names = pc.unique(text).drop_null().to_pylist()
    if len(names) > _CLASSES:
        raise RequestError(f"{uri}: {len(names):,} different labels such as {names[0]!r} are no classes; write numbers")
    two = len(names) == 2
    names.sort(key=lambda name: (two and name.lower() in _POSITIVE, name))
    codes = pc.index_in(text, value_set=pa.array(names, pa.large_string()))
    label = np.asarray(codes.cast(pa.float64()).fill_null(np.nan))
    return label, np.zeros(len(label), bool), tuple(names)


def _written(values: pa.ChunkedArray) -> np.ndarray:
    """Which values are neither missing nor marks of missing values."""
    marks = pa.array(MARKS, pa.large_string())
    return np.asarray(pc.and_(pc.is_valid(values), pc.invert(pc.is_in(as_text(values), value_set=marks))))


def _example(values: pa.ChunkedArray | None, chosen: np.ndarray) -> str:
    return "" if values is None or not chosen.any() else str(values[int(np.argmax(chosen))].as_py())[:80]


def _first(values: pa.ChunkedArray) -> str:
    return repr(str(values.drop_null()[0].as_py())[:40]) if len(values) > values.null_count else "none"


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


class LabelKind(NamedTuple):
    """What the labels of a task are.

    Attributes:
        kind: The kind of the task.
        label: float64; codes of ``classes``, if these are named.
        classes: Names of the labels 0, 1, ...
        told: What was chosen, if the user may want another kind; "" if there is no doubt.
    """

    kind: TaskKind
    label: np.ndarray
    classes: tuple[str, ...]
    told: str = ""


def kind_of_labels(label: np.ndarray, classes: tuple[str, ...], asked: str, where: str, *, rule: bool) -> LabelKind:
    """Choose the kind of a task.

    Numbers 0 and 1 are two classes, and so are two other whole numbers of a table; other numbers are a regression. Texts are
    classes.

    Args:
        label: Labels, not all the same; NaN = unknown.
        classes: Names of the labels 0, 1, ...; empty if they are numbers.
        asked: Kind that the user wants; "" = by the labels.
        where: The task, for messages.
        rule: Whether the labels are from a rule, whose numbers are counts and sums.
    """
    values = np.unique(label[~np.isnan(label)])
    if classes:
        return _kind_of_classes(label, classes, asked, where, rule=rule)
    plain, whole = bool(np.isin(values, (0, 1)).all()), bool((values == np.floor(values)).all())
    if asked == "regression" or (not asked and not plain and (rule or len(values) > 2 or not whole)):
        few = not asked and not rule and whole and len(values) <= _FEW
        told = f"labels are {len(values)} whole numbers from {values[0]:g} to {values[-1]:g}, taken as numbers"
        return LabelKind(
            "regression",
            label,
            (),
            f'{told} (kind = "regression"); for classes, write kind = "multiclass"' if few else "",
        )
    if asked == "binary" and len(values) != 2:
        raise RequestError(f"{where}: kind is binary, but there are {len(values)} different labels; change the kind")
    if len(values) > _CLASSES:
        raise RequestError(f'{where}: {len(values):,} different labels are no classes; use kind = "regression"')
    if plain and asked != "multiclass":
        return LabelKind("binary", label, ())
    names = tuple(f"{value:g}" for value in values)
    codes = np.where(np.isnan(label), np.nan, np.searchsorted(values, label))
    kind: TaskKind = "multiclass" if asked == "multiclass" else "binary"
    told = f"labels are {names[0]} and {names[1]}, taken as two classes of which {names[1]} is asked about"
    return LabelKind(
        kind, codes, names, "" if asked else f'{told} (kind = "binary"); for numbers, write kind = "regression"'
    )


def _kind_of_classes(label: np.ndarray, classes: tuple[str, ...], asked: str, where: str, *, rule: bool) -> LabelKind:
    if asked == "regression":
        raise RequestError(
            f"{where}: kind is regression, but the labels are texts such as {classes[0]!r}; change the kind"
        )
    if asked == "binary" and len(classes) != 2:
        raise RequestError(f"{where}: kind is binary, but there are {len(classes)} different labels; change the kind")
    if len(classes) > 2 or asked == "multiclass":
        return LabelKind("multiclass", label, classes)
    first, last = (repr(classes[place]) for place in (0, len(classes) - 1))
    told = f"labels are {first} and {last}, of which {last} is asked about"
    return LabelKind("binary", label, classes, "" if rule else told)
