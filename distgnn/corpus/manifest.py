"""Corpus manifest (``corpus.json``): schema, shard list, sizes and digests.

It is written last, so its presence means that the corpus is complete.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

from msgspec import Meta

from distgnn.corpus.account import Account
from distgnn.errors import RequestError
from distgnn.graph.schema import Schema
from distgnn.storage.folder import Folder, absence
from distgnn.storage.records import Count, Digest, Name, Positive, Small, check_version, convert, parse_object

NAME = "corpus.json"
VERSION = 1
Histogram = Annotated[list[Count], Meta(max_length=64)]
_WHAT, _REMEDY = "a corpus manifest", "rebuild the corpus"
MANIFEST_BYTES = 256 << 20
_MIN_VOCABULARY = 1 << 20
"""Categories that a feature of any corpus may have."""
_GRAPHS_PER_BYTE = 64
"""Most graphs for each byte of a shard; the ids and sizes of real graphs need more than a byte."""


@dataclass(frozen=True)
class Shard:
    """One Parquet file.

    Attributes:
        name: file name relative to the corpus.
        graphs: number of graphs (likewise ``nodes`` and ``edges``).
        bytes: file size.
        sha256: hexadecimal digest of the file.
    """

    name: Name
    graphs: Count
    nodes: Count
    edges: Count
    bytes: Count
    sha256: Digest


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
    graphs: Count
    unit_rows: Positive
    shard_rows: Positive
    shards: tuple[Shard, ...]
    histograms: dict[Name, Histogram] = field(default_factory=dict)
    rejected: Count = 0
    provenance: dict[str, Any] = field(default_factory=dict)
    accounts: tuple[Account, ...] = ()
    version: Small = VERSION

    def __repr__(self) -> str:
        return f"Manifest(graphs={self.graphs}, labels={self.schema.labels}, rejected={self.rejected})"

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
        data = parse_object(raw, where, _WHAT, _REMEDY)
        check_version(data, VERSION, where, _WHAT, _REMEDY)
        schema = data.get("schema", {})
        manifest = convert(data | {"schema": {}}, cls, where, _WHAT, _REMEDY)
        try:
            manifest = replace(manifest, schema=Schema.from_json(schema))
        except RequestError as error:
            raise RequestError(f"{where}: not {_WHAT} ({error}); {_REMEDY}") from error
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
        self._check_features(where)
        for shard in self.shards:
            if shard.graphs > _GRAPHS_PER_BYTE * shard.bytes:
                raise RequestError(
                    f"{where}: {shard.graphs} graphs cannot be in the {shard.bytes} bytes of {shard.name!r}; {_REMEDY}"
                )

    def _check_features(self, where: str) -> None:
        """Refuse vocabularies beyond what the corpus can use, since encoders allocate an embedding per category."""
        used = {"node": sum(shard.nodes for shard in self.shards), "edge": sum(shard.edges for shard in self.shards)}
        for kind, rows in used.items():
            for feature in getattr(self.schema, kind):
                if feature.kind == "categorical" and feature.size > max(_MIN_VOCABULARY, rows):
                    raise RequestError(
                        f"{where}: the {kind} feature {feature.name!r} has {feature.size} categories for {rows} {kind}s; {_REMEDY}"
                    )


def read_manifest(folder: Folder) -> Manifest:
    """Read the manifest of a complete corpus.

    Raises:
        RequestError: there is none, or it is invalid.
    """
    if folder.size(NAME) is None:
        unfinished = "it holds an unfinished build; rerun the same build command to continue it"
        hint = unfinished if folder.size("_build.json") is not None else "build one with 'distgnn corpus build'"
        raise RequestError(f"{folder.uri}: no corpus here ({NAME} is missing); {hint}{absence(folder)}")
    return Manifest.from_bytes(folder.read(NAME, MANIFEST_BYTES), folder.at(NAME))
