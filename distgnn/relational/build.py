"""Builds of stores: tables are staged, then each column and each foreign key is one step that a killed build need not repeat."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from distgnn.errors import RequestError
from distgnn.relational.arrow_files import read_array, read_table, write_array, write_table
from distgnn.relational.combined import parts_of
from distgnn.relational.database import check_rows, link_arrays
from distgnn.relational.encode import encode
from distgnn.relational.links import Ints, check_key, resolve
from distgnn.relational.manifest import LEFT_OUT, STORE, Finding, Manifest, Stored
from distgnn.relational.schema import Column, ForeignKey, Schema, Table
from distgnn.relational.sources.base import Rejects, Source
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.records import Count, Digest, Name, read_record

JOURNAL, STAGE = "_build.json", "_stage"
_MANY = 10_000


@dataclass(frozen=True)
class _Step:
    """A finished step: the files it wrote as (file, sha256, bytes), the rows it read, and what it found."""

    files: tuple[tuple[Name, Digest, Count], ...] = ()
    rows: Count = 0
    findings: tuple[Finding, ...] = ()


@dataclass
class _Journal:
    format: Name = "distgnn-database-build"
    key: Name = ""
    steps: dict[str, _Step] = field(default_factory=dict)


class Build:
    """An unfinished store at ``folder``, which a later process may continue.

    Args:
        folder: The target.
        source: The source.
        identity: JSON values; an unfinished build with others is not continued.
    """

    def __init__(self, folder: Folder, source: Source, identity: Any) -> None:
        self.folder, self.source = folder, source
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self._journal = self._read(key)
        self._save()
        self._chosen = ""
        self._names = {table: number for number, table in enumerate(source.tables())}

    def _read(self, key: str) -> _Journal:
        if self.folder.size(JOURNAL) is not None:
            found = read_record(self.folder, JOURNAL, _Journal, "the journal of a build", "use --overwrite")
            if found.key == key:
                return found
        return _Journal(key=key)

    def _step(self, name: str, folder: Folder, make: Callable[[], _Step]) -> _Step:
        """Run a step unless the journal has it and its files are there."""
        done = self._journal.steps.get(name)
        if done and all(folder.size(file) == size for file, _, size in done.files):
            return done
        done = make()
        self._journal.steps[name] = done
        self._save()
        return done

    def _save(self) -> None:
        self.folder.write(JOURNAL, json.dumps(asdict(self._journal)).encode())

    @contextmanager
    def staged(self) -> Iterator[tuple[Folder, dict[str, pa.Table], list[Finding]]]:
        """Copy the tables of the source to local Arrow files, and open them."""
        with TemporaryDirectory(prefix="distgnn-") as temporary:
            stage = self.folder.sub(STAGE) if self.folder.local else open_folder(temporary)
            tables, findings = {}, []
            for name in self.source.tables():
                if not self.source.types(name).names:
                    findings.append(Finding(LEFT_OUT, f"{name}: none of its columns can be read", 1))
                    continue
                step = self._step(f"stage {name}", stage, lambda name=name: self._stage(stage, name))
                tables[name] = read_table(stage, f"t{self._names[name]:04d}.arrow")
                findings += step.findings
            if not tables:
                raise RequestError(f"{self.source.uri}: holds no table with columns that can be read; check the input")
            yield stage, tables, findings

    def _stage(self, stage: Folder, name: str) -> _Step:
        file = f"t{self._names[name]:04d}.arrow"
        digest, size = write_table(stage, file, self.source.types(name), self.source.batches(name))
        count, example = self.source.rejected.get(name, (0, "")) if isinstance(self.source, Rejects) else (0, "")
        return _Step(
            ((file, digest, size),), findings=(Finding("rejected rows", name, count, example),) if count else ()
        )

    def column(self, table: Table, column: Column, data: pa.Table) -> tuple[list[Stored], list[Finding]]:
        """Encode and write one column."""
        where = f"{table.name}.{column.name}"
        base = f"t{self._names[table.name]:04d}-c{table.columns.index(column):04d}"

        def make() -> _Step:
            encoded = encode(data[column.name], column, f"{self.source.uri}: {where}")
            if column.name == table.key:
                check_key(encoded.arrays[""], f"{self.source.uri}: {where}")
            files = [
                (_file(base, part), *write_array(self.folder, _file(base, part), a))
                for part, a in encoded.arrays.items()
            ]
            return _Step(tuple(files), data.num_rows, tuple(_column_findings(where, encoded, column)))

        step = self._step(f"column {where} {self._chosen}", self.folder, make)
        return _stored(table.name, column.name, step), list(step.findings)

    def link(
        self, key: ForeignKey, schema: Schema, files: dict[tuple[str, str, str], str]
    ) -> tuple[list[Stored], list[Finding]]:
        """Resolve a foreign key and write its index."""
        child, parent = schema.table(key.table), schema.table(key.parent)

        def read(table: str, column: str) -> pa.Array:
            return read_array(self.folder, files[table, column, ""])

        def time(table: str) -> Ints | None:
            column, above = schema.table(table).time, schema.time_key(table)
            if column is None:
                return None
            return read_array(self.folder, files[table, column, "time" if above else ""]).to_numpy()

        def make() -> _Step:
            keys = read(parent.name, parent.key or "")
            values = read(child.name, key.column)
            resolved = resolve(values, keys)
            base = f"t{self._names[child.name]:04d}-c{child.columns.index(child.column(key.column)):04d}"
            arrays = link_arrays(schema, key, resolved, time, len(keys))
            written = [
                (_file(base, part), *write_array(self.folder, _file(base, part), a)) for part, a in arrays.items()
            ]
            found = Finding("dangling keys", str(key), resolved.dangling, resolved.example)
            missing = Finding("missing keys", str(key), resolved.nulls)
            other = len(values) - values.null_count if values.type != keys.type else 0
            mixed = Finding("keys compared as text, since one side is integers", str(key), other)
            return _Step(tuple(written), findings=tuple(one for one in (found, missing, mixed) if one.count))

        step = self._step(f"link {key} {self._chosen}", self.folder, make)
        return _stored(key.table, key.column, step), list(step.findings)

    def finish(
        self, schema: Schema, tables: dict[str, pa.Table], findings: list[Finding], proposed: dict[str, str], kind: str
    ) -> Manifest:
        """Write all columns and foreign keys, then the manifest."""
        self._chosen = hashlib.sha256(json.dumps(schema.to_json()).encode()).hexdigest()[:16]
        rows = {
            one.name: check_rows(tables[one.name].num_rows, f"{self.source.uri}: {one.name}") for one in schema.tables
        }
        findings = findings + [Finding("rows (an empty table)", name, 0) for name, count in rows.items() if not count]
        arrays: list[Stored] = []
        for table in schema.tables:
            for column in table.columns:
                stored, found = self.column(table, column, tables[table.name])
                arrays, findings = arrays + stored, findings + found
        files = {(item.table, item.column, item.part): item.file for item in arrays}
        for key in schema.links_by_time():
            stored, found = self.link(key, schema, files)
            arrays, findings = arrays + stored, findings + found
            files |= {(item.table, item.column, item.part): item.file for item in stored}
        manifest = Manifest(schema, rows, tuple(arrays), tuple(findings), proposed, kind)
        self.folder.write(STORE, manifest.to_bytes())
        return manifest


def check_columns(schema: Schema, source: Source) -> None:
    """Raise RequestError unless the source has all tables and columns of the schema."""
    known = source.tables()
    for table in schema.tables:
        if table.name not in known:
            raise RequestError(
                f"{source.uri}: has no table {table.name!r} of the schema; it has {', '.join(known[:20])}"
            )
        have = source.types(table.name).names
        missing = [one.name for one in table.columns if one.name not in have and not parts_of(one.name, have)]
        if missing:
            raise RequestError(
                f"{source.uri}: table {table.name!r} has no readable column {missing[0]!r} of the schema; remove it"
            )


def remove_build(folder: Folder) -> None:
    """Delete the journal and the staged tables of a build."""
    if folder.local and STAGE in folder.names():
        folder.delete_folder(STAGE)
    if folder.size(JOURNAL) is not None:
        folder.delete(JOURNAL)


def _file(base: str, part: str) -> str:
    return f"{base}-{part}.arrow" if part else f"{base}.arrow"


def _stored(table: str, column: str, step: _Step) -> list[Stored]:
    parts = [(file.removesuffix(".arrow").split("-")[2:] or [""])[0] for file, _, _ in step.files]
    return [Stored(table, column, part, *one) for part, one in zip(parts, step.files, strict=True)]


def _column_findings(where: str, encoded: Any, column: Column) -> Iterator[Finding]:
    if encoded.unreadable:
        yield Finding(
            f"values are no {column.kind.value} and count as missing", where, encoded.unreadable, encoded.example
        )
    names = encoded.arrays.get("categories")
    if names is not None and len(names) > _MANY:
        yield Finding("categories (text may suit better)", where, len(names))
    if encoded.missing and encoded.missing == len(encoded.arrays[""]):
        yield Finding("values, all missing", where, encoded.missing)
