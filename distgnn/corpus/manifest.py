"""Corpus manifest (``corpus.json``): schema, shard list, sizes and digests.

It is written last, so its presence means that the corpus is complete.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from distgnn.config.base import from_json, read_json
from distgnn.corpus.account import Account
from distgnn.errors import RequestError
from distgnn.graph.schema import Schema
from distgnn.storage.folder import Folder

NAME = "corpus.json"
VERSION = 1


@dataclass(frozen=True)
class Shard:
    """One Parquet file.

    Attributes:
        name: file name relative to the corpus.
        graphs: number of graphs (likewise ``nodes`` and ``edges``).
        bytes: file size.
        sha256: hexadecimal digest of the file.
    """

    name: str
    graphs: int
    nodes: int
    edges: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Format version 1.

    Every shard but the last holds exactly ``shard_rows`` graphs, every unit (row group) but the last ``unit_rows``.

    Attributes:
        histograms: "nodes" and "edges" to counts per power of two; entry i counts graphs with 2**(i-1) <= n < 2**i.
        rejected: number of input rows that yielded no graph.
        provenance: input files and options of the build.
        accounts: what became of the rows of input files whose rows are not graphs, such as tables of edges.
    """

    schema: Schema
    graphs: int
    unit_rows: int
    shard_rows: int
    shards: tuple[Shard, ...]
    histograms: dict[str, list[int]] = field(default_factory=dict)
    rejected: int = 0
    provenance: dict[str, Any] = field(default_factory=dict)
    accounts: tuple[Account, ...] = ()
    version: int = VERSION

    @property
    def units(self) -> int:
        """Number of units (row groups)."""
        return -(-self.graphs // self.unit_rows)

    def locate(self, unit: int) -> tuple[int, int]:
        """Return the shard number of a unit and its row group within the shard."""
        per_shard = self.shard_rows // self.unit_rows
        return unit // per_shard, unit % per_shard

    def rows_of(self, unit: int) -> int:
        """Return the number of graphs in a unit."""
        return min(self.unit_rows, self.graphs - unit * self.unit_rows)

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON without ``accounts``, the identity of the corpus."""
        return hashlib.sha256(replace(self, accounts=()).to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Serialise to canonical JSON."""
        data = asdict(self) | {"schema": self.schema.to_json()}
        if not self.accounts:
            del data["accounts"]
        return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, raw: bytes, where: str) -> Manifest:
        """Parse and check a manifest.

        Raises:
            RequestError: not a consistent manifest of version 1; ``where`` starts the message.
        """
        try:
            data = read_json(raw)
            version = data["version"]
            if version != VERSION:
                raise RequestError(
                    f"{where}: format version {version} is unknown; this distgnn reads version {VERSION}"
                )
        except RequestError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise RequestError(f"{where}: not a corpus manifest ({error}); rebuild the corpus") from error
        try:
            manifest = from_json(cls, data | {"schema": {}}, NAME)
            manifest = replace(manifest, schema=Schema.from_json(data.get("schema", {})))
        except RequestError as error:
            raise RequestError(f"{where}: not a corpus manifest ({error}); rebuild the corpus") from error
        manifest._check(where)
        return manifest

    def _check(self, where: str) -> None:
        if self.graphs == 0 and not self.shards:
            raise RequestError(f"{where}: the corpus holds no graphs; rebuild it from an input that is not empty")
        rows = [shard.graphs for shard in self.shards]
        regular = self.unit_rows > 0 and self.shard_rows > 0 and self.shard_rows % self.unit_rows == 0
        full = all(count == self.shard_rows for count in rows[:-1]) and 0 < min(rows[-1:], default=0) <= self.shard_rows
        if not (regular and full and sum(rows) == self.graphs):
            raise RequestError(f"{where}: shard and unit sizes do not add up; rebuild the corpus")


def read_manifest(folder: Folder) -> Manifest:
    """Read the manifest of a complete corpus.

    Raises:
        RequestError: there is none, or it is invalid.
    """
    if folder.size(NAME) is None:
        unfinished = "it holds an unfinished build; rerun the same build command to continue it"
        hint = unfinished if folder.size("_build.json") is not None else "build one with 'distgnn corpus build'"
        raise RequestError(f"{folder.uri}: no corpus here ({NAME} is missing); {hint}")
    return Manifest.from_bytes(folder.read(NAME), folder.at(NAME))
