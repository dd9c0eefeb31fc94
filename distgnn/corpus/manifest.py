"""corpus.json: everything a reader must know before it opens a shard. Written last, so its presence means the corpus is whole."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from distgnn.corpus.storage import Folder
from distgnn.errors import RequestError
from distgnn.graph.schema import Schema

NAME = "corpus.json"
VERSION = 1


@dataclass(frozen=True)
class Shard:
    """One Parquet file: its relative name, what it holds and how its bytes hash."""

    name: str
    graphs: int
    nodes: int
    edges: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Format v1. Every shard but the last holds exactly ``shard_rows`` graphs and every unit but the last ``unit_rows``.

    ``histograms`` maps "nodes" and "edges" to counts per power of two: entry i counts graphs with 2**(i-1) <= n < 2**i.
    """

    schema: Schema
    graphs: int
    unit_rows: int
    shard_rows: int
    shards: tuple[Shard, ...]
    histograms: dict[str, list[int]] = field(default_factory=dict)
    rejected: int = 0
    provenance: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION

    @property
    def units(self) -> int:
        """How many units (row groups) the corpus has."""
        return -(-self.graphs // self.unit_rows)

    def locate(self, unit: int) -> tuple[int, int]:
        """(shard, row group inside it) of a unit, by arithmetic."""
        per_shard = self.shard_rows // self.unit_rows
        return unit // per_shard, unit % per_shard

    def rows_of(self, unit: int) -> int:
        """How many graphs a unit holds."""
        return min(self.unit_rows, self.graphs - unit * self.unit_rows)

    def digest(self) -> str:
        """sha256 of the canonical JSON: the identity of the corpus."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        data = asdict(self) | {"schema": self.schema.to_json()}
        return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, raw: bytes, where: str) -> Manifest:
        """Parse and check; raises RequestError naming ``where`` for anything that is not a consistent v1 manifest."""
        try:
            data = json.loads(raw)
            version = data["version"]
            if version != VERSION:
                raise RequestError(
                    f"{where}: format version {version} is unknown; this distgnn reads version {VERSION}"
                )
            shards = tuple(Shard(**item) for item in data.pop("shards"))
            manifest = cls(schema=Schema.from_json(data.pop("schema")), shards=shards, **data)
            manifest._check(where)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RequestError(f"{where}: not a corpus manifest ({error}); rebuild the corpus") from error
        return manifest

    def _check(self, where: str) -> None:
        rows = [shard.graphs for shard in self.shards]
        regular = self.unit_rows > 0 and self.shard_rows > 0 and self.shard_rows % self.unit_rows == 0
        if not regular or sum(rows) != self.graphs or any(r != self.shard_rows for r in rows[:-1]):
            raise RequestError(f"{where}: shard and unit sizes do not add up; rebuild the corpus")
        if self.graphs == 0:
            raise RequestError(f"{where}: the corpus holds no graphs; nothing to do")


def read_manifest(folder: Folder) -> Manifest:
    """The manifest of a whole corpus; raises RequestError where there is none."""
    if folder.size(NAME) is None:
        unfinished = "an unfinished build lies there; run the same build command again to continue it"
        hint = unfinished if folder.size("_build.json") is not None else "build one with 'distgnn corpus build'"
        raise RequestError(f"{folder.uri}: no corpus here ({NAME} is missing); {hint}")
    return Manifest.from_bytes(folder.read(NAME), f"{folder.uri}/{NAME}")
