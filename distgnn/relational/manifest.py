"""Manifest of a store (store.json): schema, files with their digests, and what was found while it was built."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from distgnn.errors import RequestError
from distgnn.relational.schema import Schema, check_schema
from distgnn.storage.folder import Folder
from distgnn.storage.records import Count, Digest, Name, Small, Text, check_version, convert, parse_object

STORE = "store.json"
FORMAT, VERSION = "distgnn-database", 1
LEFT_OUT = "left out"
"""Of a finding whose ``where`` says what of the source was left out, and why."""
_BYTES = 256 << 20
_WHAT = "the manifest of a database store"


@dataclass(frozen=True)
class Stored:
    """A file: the array ``part`` of a column. Parts of a foreign key are "parent", "indptr", "rows" and "time"."""

    table: Name
    column: Name
    part: Name
    file: Name
    sha256: Digest
    bytes: Count


@dataclass(frozen=True)
class Finding:
    """Something in the data that was counted, not refused.

    Attributes:
        what: What it is, such as "dangling keys".
        where: Table, column or key.
        count: How many there are.
        example: One of them; "" if there is none to show.
    """

    what: Name
    where: Name
    count: Count
    example: Text = ""

    def line(self) -> str:
        """One line for people."""
        if self.what == LEFT_OUT:
            return f"{self.what}: {self.where}"
        return f"{self.where}: {self.count:,} {self.what}" + (
            f" (such as {self.example[:60]!r})" if self.example else ""
        )


@dataclass(frozen=True)
class Manifest:
    """A parsed store.json.

    Attributes:
        schema: The schema.
        rows: Rows by table.
        arrays: All files.
        findings: What was counted while the store was built.
        proposed: Figures by place of what was proposed and accepted without a schema file.
        source: Kind of the source.
    """

    schema: Schema
    rows: Mapping[Name, Count]
    arrays: tuple[Stored, ...]
    findings: tuple[Finding, ...]
    proposed: Mapping[Name, Text]
    source: Name
    format: Name = FORMAT
    version: Small = VERSION

    def to_bytes(self) -> bytes:
        """Contents of store.json."""
        return json.dumps(asdict(self), indent=1).encode()

    @property
    def key(self) -> str:
        """Identity of the contents: sha256 of store.json, which holds the digests of all files."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def read_manifest(folder: Folder) -> Manifest:
    """Read the manifest of a store.

    Raises:
        RequestError: There is none, or it is malformed.
    """
    where, remedy = folder.at(STORE), "restore it or build the database again"
    raw = folder.read_if_there(STORE, _BYTES)
    if raw is None:
        raise RequestError(
            f"{folder.uri}: not a database store ({STORE} is missing); build one with distgnn database build"
        )
    data = parse_object(raw, where, _WHAT, remedy)
    if data.get("format") != FORMAT:
        raise RequestError(f"{where}: not {_WHAT}; {remedy}")
    check_version(data, VERSION, where, _WHAT, remedy)
    manifest = convert(data, Manifest, where, _WHAT, remedy)
    check_schema(manifest.schema, where)
    missing = [table.name for table in manifest.schema.tables if table.name not in manifest.rows]
    if missing:
        raise RequestError(f"{where}: no number of rows of table {missing[0]!r}; {remedy}")
    return manifest
