"""Schema files: TOML that a user edits. Proposals are marked by comments with the figures that speak for them."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from msgspec import Meta

from distgnn.errors import RequestError
from distgnn.relational.draft_keys import OVERWRITTEN, Draft
from distgnn.relational.schema import Column, ForeignKey, Kind, Schema, Table, Unit, check_schema
from distgnn.storage.folder import open_folder
from distgnn.storage.records import Name, convert
from distgnn.storage.uri import parent

_BYTES = 16 << 20
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_DAY = 86_400_000_000
_HEAD = """# Schema of a database, drafted by distgnn. Lines marked "proposed" are guesses: check them, edit the file, then build:
#   distgnn database build --input INPUT --out STORE --schema THIS_FILE
# Kinds: number, category, text, time, key. A column or table that is left out is not built.
# Options of a column: { kind = "time", unit = "s" } (s, ms, us, ns since 1970; julian); { kind = "number", nulls = ["?"] };
#   { kind = "time", formats = ["%d/%m/%Y"] } (beside ISO 8601); { kind = "number", formats = [","] } (the decimal mark: 1.234,50);
#   { kind = "number", late = true, known_at = "delivered" } or { ..., late = true, late_after_days = 30 }: known only later.
# time = the column that says when a row became known, or a foreign key: with its parent row; without it rows are visible always.
"""


@dataclass(frozen=True)
class _Column:
    kind: Kind
    late: bool = False
    late_after_days: Annotated[float, Meta(ge=0, le=1e7)] | None = None
    known_at: Name = ""
    unit: Unit = Unit.NONE
    nulls: tuple[Name, ...] = ()
    formats: tuple[Name, ...] = ()


@dataclass(frozen=True)
class _Table:
    columns: dict[Name, Any]
    key: Name = ""
    time: Name = ""
    foreign_keys: dict[Name, Name] = field(default_factory=dict)


@dataclass(frozen=True)
class _File:
    name: Name
    tables: dict[Name, _Table]


def read_toml(uri: str, what: str) -> dict[str, Any]:
    """Read a TOML file of bounded size; RequestError if it is none."""
    folder, name = parent(uri)
    raw = open_folder(folder).read(name, _BYTES)
    try:
        return tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"{uri}: not {what} ({' '.join(str(error).split())[:200]}); correct the line") from error


def read_schema(uri: str) -> Schema:
    """Read a schema file.

    Raises:
        RequestError: It is missing, not TOML, or names columns that it does not list.
    """
    read = convert(read_toml(uri, "a schema file"), _File, uri, "a schema file")
    tables = tuple(_table(name, table, uri) for name, table in read.tables.items())
    links = tuple(
        ForeignKey(name, c, parent) for name, table in read.tables.items() for c, parent in table.foreign_keys.items()
    )
    schema = Schema(read.name, tables, links)
    check_schema(schema, uri)
    return schema


def _table(name: str, read: _Table, where: str) -> Table:
    columns = tuple(_column(column, facts, f"{where}: {name}.{column}") for column, facts in read.columns.items())
    return Table(name, read.key or None, read.time or None, columns)


def _column(name: str, facts: Any, where: str) -> Column:
    one = convert({"kind": facts} if isinstance(facts, str) else facts, _Column, where, "a column")
    after = None if one.late_after_days is None else round(one.late_after_days * _DAY)
    if not one.late and (after is not None or one.known_at):
        raise RequestError(f"{where}: known_at and late_after_days need late = true; add it")
    return Column(name, one.kind, one.late, after, one.known_at, one.unit, one.nulls, one.formats)


def written(draft: Draft) -> str:
    """Return the contents of a schema file for a draft."""
    lines = [_HEAD, f"name = {_text(draft.schema.name)}"]
    lines += [f"# left out: {_comment(note)}" for note in draft.notes]
    for table in draft.schema.tables:
        lines += ["", *_table_lines(table, draft)]
    return "\n".join(lines) + "\n"


def _table_lines(table: Table, draft: Draft) -> Iterator[str]:
    name = _bare(table.name)
    yield f"[tables.{name}]"
    for field_name, value in (("key", table.key), ("time", table.time)):
        figures = draft.proposed.get(f"{table.name}.{field_name}")
        if value is not None or figures:
            yield f"{field_name} = {_text(value or '')}{_marked(figures)}"
    if table.time is None:
        yield "# no time: its rows are visible always"
    links = [link for link in draft.schema.foreign_keys if link.table == table.name]
    possible = [link for link in draft.possible if link.table == table.name]
    if links or possible:
        yield f"[tables.{name}.foreign_keys]"
    for link in links:
        yield f"{_bare(link.column)} = {_text(link.parent)}{_marked(draft.proposed.get(f'{table.name}.{link.column}'))}"
    for link in possible:
        yield f"# {_bare(link.column)} = {_text(link.parent)}  # possible: {_comment(draft.possible[link])}"
    for column in table.columns:
        figures = draft.unlinked.get(f"{table.name}.{column.name}")
        if figures is not None:
            yield f"# no table was found for {_comment(column.name)}" + (f": {_comment(figures)}" if figures else "")
    yield f"[tables.{name}.columns]"
    linked = {link.column for link in links}
    for column in table.columns:
        figures = None if column.name in linked else draft.proposed.get(f"{table.name}.{column.name}")
        yield f"{_bare(column.name)} = {_facts(column)}{_marked(figures)}"
    for column in draft.overwritten.get(table.name, ()):
        yield f"# {_bare(column.name)} = {_facts(column)}  # left out: {OVERWRITTEN}"


def _facts(column: Column) -> str:
    facts = [f"kind = {_text(column.kind.value)}"]
    if column.unit is not Unit.NONE:
        facts.append(f"unit = {_text(column.unit.value)}")
    if column.nulls:
        facts.append(f"nulls = [{', '.join(map(_text, column.nulls))}]")
    if column.formats:
        facts.append(f"formats = [{', '.join(map(_text, column.formats))}]")
    if column.late:
        facts.append("late = true" + (f", known_at = {_text(column.known_at)}" if column.known_at else ""))
    return _text(column.kind.value) if len(facts) == 1 else f"{{ {', '.join(facts)} }}"


def _marked(figures: str | None) -> str:
    return f"  # proposed: {_comment(figures)}" if figures else ""


def _comment(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _bare(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
