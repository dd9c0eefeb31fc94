"""Rows of tasks: labels from a rule, compiled to SQL for DuckDB, or from a table; splits by time."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute
from msgspec import Meta

from distgnn.errors import RequestError
from distgnn.graph.keyed import draw, key, unit_interval
from distgnn.graph.purposes import RelationalDraw
from distgnn.relational.database import Database
from distgnn.relational.encode import UNKNOWN
from distgnn.relational.links import Ints, Rows
from distgnn.relational.manifest import Finding
from distgnn.relational.rules import Rule, parse_rule, path_to
from distgnn.relational.schema import Kind
from distgnn.storage.records import Name, Text

pc: Any = _compute  # its functions are made at run time
DAY = 86_400_000_000
_MOST_ROWS = 50_000_000
_TRAIN, _VAL = 0.7, 0.85


@dataclass(frozen=True)
class TaskSpec:
    """A task as a user writes it, in TOML.

    Attributes:
        entity: Table of the entities.
        rule: The labels, see :data:`~distgnn.relational.rules.GRAMMAR`; "" = they come from ``table``.
        table: CSV or Parquet file with columns entity key, time (if there is one), label and, if it has one, split.
        every_days: Distance of the cut-offs of a rule.
        start: First cut-off; "" = one step after the first row of the rule's table.
        until: Last cut-off; "" = the last one whose window is complete.
        val_from: Cut-offs from here on are validation; "" = the last 30 % of the cut-offs are validation and test.
        test_from: Cut-offs from here on are test.
        ask_at: One more cut-off of a rule, later than the others, whose labels are not known yet: its rows are test rows without a
            label, to be predicted; "" = none.
        seen: Only entities that have a row of this table before the cut-off; "" = all.
        horizon_days: Length of the label window of ``table``.
        kind: "binary", "multiclass" or "regression"; "" = by the labels.
        hide: table.column or table.* that no row may show.
        hide_entity: Columns that the entity row may not show.
    """

    entity: Name
    rule: Text = ""
    table: Name = ""
    every_days: Annotated[float, Meta(gt=0, le=1e6)] = 30.0
    start: Name = ""
    until: Name = ""
    val_from: Name = ""
    test_from: Name = ""
    ask_at: Name = ""
    seen: Name = ""
    horizon_days: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    kind: Literal["", "binary", "multiclass", "regression"] = ""
    hide: tuple[Name, ...] = ()
    hide_entity: tuple[Name, ...] = ()


class Labelled(NamedTuple):
    """Labels before they are split.

    Attributes:
        entity: Row of the entity, int32.
        time: Cut-off, int64 microseconds.
        label: float64; NaN = unknown.
        findings: What was left out.
    """

    entity: Rows
    time: Ints
    label: np.ndarray
    findings: list[Finding]


def moment(text: str, what: str) -> int:
    """Return an ISO date or time as microseconds since 1970 UTC; RequestError if it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise RequestError(f"{what}: {text[:80]!r} is no date; write it as 2024-01-31") from error
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    return round((aware - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)


def labels_of_rule(database: Database, spec: TaskSpec, where: str) -> tuple[Rule, Labelled]:
    """Compute the labels of a rule at its cut-offs.

    The window of a label is [cut-off, cut-off + horizon). Windows that reach past the last row of the rule's table are left
    out, as are entities that are not yet known at the cut-off.
    """
    rule = parse_rule(spec.rule, database.schema)
    if rule.function == "value":
        return rule, _own_values(database, rule, spec, where)
    owner = np.arange(database.rows(rule.table), dtype=np.int32)
    for link in path_to(spec.entity, rule, database.schema):
        owner = _climb(owner, database.parent(link))
    time = database.time(rule.table)
    if time is None or not (time != UNKNOWN).any():
        raise RequestError(f"{where}: table {rule.table!r} has no row with a time")
    known = time[time != UNKNOWN]
    end = int(known.max()) + 1
    cuts, late = _cut_offs(spec, int(known.min()), end, rule.horizon, where)
    entities = _population(database, spec, cuts, where)
    found = _query(database, rule, owner, time, entities)
    findings = (
        [Finding("cut-offs whose label window reaches past the end of the data, left out", where, late)] if late else []
    )
    return rule, _with_asked(database, spec, _without_nulls(found, findings, where), where)


def _with_asked(database: Database, spec: TaskSpec, labelled: Labelled, where: str) -> Labelled:
    """Add the rows without labels at ``ask_at``."""
    if not spec.ask_at:
        return labelled
    cut = moment(spec.ask_at, f"{where}: ask_at")
    if len(labelled.time) and cut <= int(labelled.time.max()):
        raise RequestError(f"{where}: ask_at is not after the last cut-off with labels; choose a later time")
    asked = np.sort(np.asarray(_population(database, spec, np.array([cut]), where)["entity"]))
    entity = np.concatenate([labelled.entity, asked])
    time = np.concatenate([labelled.time, np.full(asked.size, cut)])
    label = np.concatenate([labelled.label, np.full(asked.size, np.nan)])
    return Labelled(entity, time, label, labelled.findings)


def _climb(owner: Rows, parent: Rows) -> Rows:
    """Return the parent of each owner; -1 stays."""
    if not len(parent):
        return np.full_like(owner, -1)
    return np.where(owner < 0, np.int32(-1), parent[np.maximum(owner, 0)])


def _cut_offs(spec: TaskSpec, first: int, end: int, horizon: int, where: str) -> tuple[Ints, int]:
    """Return the cut-offs, and how many were left out because their window is incomplete."""
    step = round(spec.every_days * DAY)
    start = moment(spec.start, f"{where}: start") if spec.start else (first // DAY + 1) * DAY + step
    until = moment(spec.until, f"{where}: until") if spec.until else end
    if start <= first:
        raise RequestError(f"{where}: the first cut-off is not after the first row of the data; choose a later start")
    if (until - start) // step > 1_000_000:
        raise RequestError(f"{where}: more than 1,000,000 cut-offs; choose a larger every_days")
    cuts = np.arange(start, until + 1, step, dtype=np.int64)
    whole = cuts + horizon <= end if horizon else cuts < end
    if not whole.any():
        raise RequestError(
            f"{where}: no label window ends before the end of the data; choose an earlier start or a shorter window"
        )
    return cuts[whole], int((~whole).sum())


def _population(database: Database, spec: TaskSpec, cuts: Ints, where: str) -> pa.Table:
    """Return the pairs (entity, cut) of entities that are known at the cut-off."""
    rows = database.rows(spec.entity)
    own = database.time(spec.entity)
    since = np.full(rows, UNKNOWN) if own is None else own.copy()
    if spec.seen:
        seen = Rule("count", spec.seen, "", (), None, 0, "")
        owner = np.arange(database.rows(spec.seen), dtype=np.int32)
        for link in path_to(spec.entity, seen, database.schema):
            owner = _climb(owner, database.parent(link))
        time = database.time(spec.seen)
        if time is None:
            raise RequestError(f"{where}: seen: table {spec.seen!r} has no time column; choose another table")
        first, never = np.full(rows, np.iinfo(np.int64).max), owner < 0
        np.minimum.at(first, owner[~never], time[~never])
        since = np.maximum(since, first)
    order = np.argsort(since, kind="stable")
    counts = np.searchsorted(since[order], cuts, side="left")  # since < cut
    if int(counts.sum()) > _MOST_ROWS:
        raise RequestError(f"{where}: {int(counts.sum()):,} rows; choose fewer cut-offs (every_days)")
    entity = np.concatenate([order[:count] for count in counts]).astype(np.int32)
    return pa.table({"entity": entity, "cut": np.repeat(cuts, counts)})


def _query(database: Database, rule: Rule, owner: Rows, time: Ints, population: pa.Table) -> pa.Table:
    names = {one.column for one in rule.conditions}
    columns = {f"c {name}": plain_values(database, rule.table, name) for name in names}
    value = (
        plain_values(database, rule.table, rule.column, codes=True)
        if rule.column
        else pa.nulls(len(time), pa.float64())
    )
    _check_categories(database, rule)
    known = (owner >= 0) & (time != UNKNOWN)
    events = pa.table(
        {"entity": pa.array(owner), "time": pa.array(time), "row": np.arange(len(time)), "value": value, **columns}
    ).filter(pa.array(known))
    renamed = events.rename_columns(
        [name.removeprefix("c ") if name.startswith("c ") else f"_{name}_" for name in events.column_names]
    )
    end = f"AND e.time < p.cut + {rule.horizon}" if rule.horizon else ""
    query = f"""SELECT p.entity, p.cut, CAST({rule.aggregate} AS DOUBLE) AS label
    FROM population p LEFT JOIN
      (SELECT _entity_ AS entity, _time_ AS time, _row_ AS row, _value_ AS value FROM events WHERE {rule.where}) e
    ON e.entity = p.entity AND e.time >= p.cut {end}
    GROUP BY p.entity, p.cut ORDER BY p.cut, p.entity"""
    with closing(duckdb.connect(config={"enable_external_access": "false"})) as connection:
        connection.register("population", population)
        connection.register("events", renamed)
        try:
            return connection.sql(query).to_arrow_table()
        except duckdb.Error as error:
            reason = " ".join(str(error).partition("LINE ")[0].split())[:300]
            raise RequestError(f"rule on {rule.table!r}: {reason}; look at its filter") from error


def _check_categories(database: Database, rule: Rule) -> None:
    """Raise RequestError if a filter names a category that the column has not: it would hold for no row, or for all."""
    for one in rule.conditions:
        if one.operator.startswith("IS") or database.schema.column(rule.table, one.column).kind is not Kind.CATEGORY:
            continue
        names = database.categories(rule.table, one.column)
        texts = (literal[1:-1].replace("''", "'") for literal in one.literals)
        missing = next((text for text in texts if text not in names), None)
        if missing is not None:
            listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise RequestError(f"rule on {rule.table!r}: {one.column} is never {missing!r}; its values are {listed}")


def plain_values(database: Database, table: str, name: str, codes: bool = False) -> pa.Array:
    """Return a column with nulls, categories as text (or as codes), times as timestamps."""
    kind = database.schema.column(table, name).kind
    if kind is Kind.NUMBER:
        return pa.array(database.numbers(table, name), from_pandas=True)
    if kind is Kind.TIME:
        times = database.times(table, name)
        return pa.array(times, mask=times == UNKNOWN).cast(pa.timestamp("us"))
    if kind is not Kind.CATEGORY:
        return database.text(table, name) if kind is Kind.TEXT else database.key_values(table, name)
    found = database.codes(table, name)
    marked = pa.array(found, mask=found < 0)
    return (
        marked.cast(pa.float64())
        if codes
        else pa.array(database.categories(table, name), pa.large_string()).take(marked)
    )


def _own_values(database: Database, rule: Rule, spec: TaskSpec, where: str) -> Labelled:
    """Return the entity's own column as labels, at the time of its row; without a time if its table has none."""
    if rule.table != spec.entity or rule.conditions:
        raise RequestError(f"{where}: value takes a column of the entity table {spec.entity!r}, without a filter")
    time = database.asked(rule.table)
    label = np.asarray(plain_values(database, rule.table, rule.column, codes=True).cast(pa.float64()).fill_null(np.nan))
    if rule.compare is not None:
        with closing(duckdb.connect()) as connection:
            connection.register(
                "found", pa.table({"value": pa.array(label, from_pandas=True), "row": np.arange(len(label))})
            )
            query = (
                f"SELECT CAST(value {rule.compare[0]} {rule.compare[1]!r} AS DOUBLE) AS label FROM found ORDER BY row"
            )
            label = np.asarray(connection.sql(query).to_arrow_table()["label"].fill_null(np.nan))
    stamps = np.full(len(label), UNKNOWN) if time is None else time
    dated = np.ones(len(label), bool) if time is None else time != UNKNOWN
    lost = int((~dated).sum())
    findings = [Finding("rows without a time, left out", where, lost)] if lost else []
    table = pa.table(
        {"entity": np.arange(len(label), dtype=np.int32), "cut": stamps, "label": pa.array(label, from_pandas=True)}
    )
    return _without_nulls(table.filter(pa.array(dated)), findings, where)


def _without_nulls(found: pa.Table, findings: list[Finding], where: str) -> Labelled:
    missing = found["label"].null_count
    if missing:
        findings = [*findings, Finding("rows without a value, left out", where, missing)]
        found = found.filter(found["label"].is_valid())
    entity, time, label = (np.asarray(found[name]) for name in ("entity", "cut", "label"))
    return Labelled(entity, time, label, findings)


def split_by_time(
    labelled: Labelled, horizon: int, spec: TaskSpec, where: str
) -> tuple[np.ndarray, Labelled, tuple[int, int]]:
    """Split rows by their cut-off.

    Rows of train (val) whose label window reaches into val (test) are left out. Rows without a label are test rows.

    Returns:
        The split of each row (0 train, 1 val, 2 test), the rows, and the first cut-offs of val and test.
    """
    known = ~np.isnan(labelled.label)
    cuts = np.unique(labelled.time[known])
    middle = max(min(int(_TRAIN * len(cuts)), len(cuts) - 2), 0)
    last = max(min(max(int(_VAL * len(cuts)), middle + 1), len(cuts) - 1), 0)
    default = [int(cuts[place]) for place in (middle, last)] if len(cuts) else [0, 0]
    val = moment(spec.val_from, f"{where}: val_from") if spec.val_from else default[0]
    test = moment(spec.test_from, f"{where}: test_from") if spec.test_from else default[1]
    if val >= test:
        raise RequestError(
            f"{where}: val_from must be before test_from; set both, or choose more than {len(cuts)} cut-offs"
        )
    split = np.where(known, np.searchsorted([val, test], labelled.time, side="right"), 2).astype(np.int8)
    border = np.array([val, test, np.iinfo(np.int64).max])[split]
    kept = labelled.time <= border - horizon if horizon else np.ones(len(split), bool)
    found = labelled.findings
    if not kept.all():
        found = [
            *found,
            Finding("rows whose label window reaches into the next split, left out", where, int((~kept).sum())),
        ]
    rest = Labelled(labelled.entity[kept], labelled.time[kept], labelled.label[kept], found)
    return split[kept], rest, (val, test)


def split_at_random(labelled: Labelled) -> np.ndarray:
    """Split rows by a keyed hash of their entity: 70 % train, 15 % val, 15 % test. Rows without a label are test rows."""
    chance = unit_interval(draw(key(0, RelationalDraw.SPLIT), labelled.entity.astype(np.int64)))
    split = np.searchsorted([_TRAIN, _VAL], chance, side="right").astype(np.int8)
    return np.where(np.isnan(labelled.label), np.int8(2), split)
