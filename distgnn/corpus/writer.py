"""Writing a corpus: rows in input order become units, units become shards, and the manifest closes the work.

After each shard the state of the build is saved beside it, so a stopped build continues and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distgnn.config.base import from_json, read_json
from distgnn.corpus import manifest as manifests
from distgnn.corpus.manifest import Manifest, Shard
from distgnn.corpus.shard import arrow_schema, check_structure, check_values, pack
from distgnn.corpus.sources.base import Rejected, Source
from distgnn.errors import RequestError
from distgnn.graph.schema import Schema
from distgnn.storage.folder import Folder, open_folder

STATE = "_build.json"
_BINS = 34
Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@dataclass
class BuildState:
    """How far a build has come: finished shards, and the first row (part, row within it) that is in none of them."""

    fingerprint: str
    part: int = 0
    skip: int = 0
    shards: list[Shard] = field(default_factory=list)
    rejected: int = 0
    histograms: dict[str, list[int]] = field(default_factory=lambda: {"nodes": [0] * _BINS, "edges": [0] * _BINS})

    @classmethod
    def load(cls, folder: Folder, fingerprint: str) -> BuildState:
        """The saved state of the same build, or a fresh one; refuses to mix two different builds in one folder."""
        if folder.size(STATE) is None:
            return cls(fingerprint)
        try:
            state = from_json(cls, read_json(folder.read(STATE)), STATE)
        except (ValueError, RequestError) as error:
            raise RequestError(f"{folder.at(STATE)}: not the state of a build ({error}); use --overwrite") from error
        if state.fingerprint != fingerprint:
            raise RequestError(
                f"{folder.uri}: an unfinished build with other inputs or options lies there; use --overwrite or another --out"
            )
        return state


class CorpusWriter:
    """Cuts tables into shards. ``add`` takes rows in order; ``close`` writes the rest and the manifest."""

    def __init__(self, folder: Folder, schema: Schema, unit_rows: int, shard_rows: int, state: BuildState) -> None:
        if unit_rows < 1 or shard_rows % unit_rows:
            raise RequestError(f"shard_rows={shard_rows} must be a multiple of unit_rows={unit_rows}")
        self.folder, self.schema, self.state = folder, schema, state
        self.unit_rows, self.shard_rows = unit_rows, shard_rows
        self._tables: list[pa.Table] = []
        self._rows = 0
        self._rejected: list[Rejected] = []

    def add(self, part: int, table: pa.Table, rejected: Sequence[Rejected]) -> None:
        """Take the rows of part number ``part``; whole shards are written at once."""
        skip = self.state.skip if part == self.state.part else 0
        if skip == 0:  # the rejected rows of a part that was cut by a shard's end went into that shard's list
            self._rejected += rejected
        table = table.slice(skip)
        while self._rows + table.num_rows >= self.shard_rows:
            take = self.shard_rows - self._rows
            self._tables.append(table.slice(0, take))
            table, skip = table.slice(take), skip + take
            self._write_shard()
            self.state.part, self.state.skip = part, skip
            self.folder.write(STATE, json.dumps(asdict(self.state)).encode())
        self._tables.append(table)
        self._rows += table.num_rows

    def _write_shard(self) -> None:
        table = pa.concat_tables(self._tables).combine_chunks()
        number = len(self.state.shards)
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(
            sink, arrow_schema(self.schema), compression="zstd", compression_level=3, write_page_checksum=True
        ) as writer:
            for start in range(0, table.num_rows, self.unit_rows):
                writer.write_table(table.slice(start, self.unit_rows), row_group_size=self.unit_rows)
        data = sink.getvalue()
        name = f"shard-{number:05d}.parquet"
        self.folder.write(name, data)
        nodes = table.column("num_nodes").to_numpy().astype(np.int64)
        edges = table.column("src").combine_chunks().value_lengths().to_numpy().astype(np.int64)
        for kind, counts in (("nodes", nodes), ("edges", edges)):
            bins = np.bincount(np.frexp(counts)[1], minlength=_BINS)
            self.state.histograms[kind] = [int(a + b) for a, b in zip(self.state.histograms[kind], bins, strict=True)]
        digest = hashlib.sha256(data).hexdigest()
        self.state.shards.append(Shard(name, table.num_rows, int(nodes.sum()), int(edges.sum()), data.size, digest))
        self._write_rejected(number)
        self._tables, self._rows = [], 0

    def _write_rejected(self, number: int) -> None:
        if self._rejected:
            lines = ["file\trow\treason\ttext", *("\t".join(item) for item in self._rejected)]
            self.folder.write(f"rejected-{number:05d}.tsv", ("\n".join(lines) + "\n").encode())
        self.state.rejected += len(self._rejected)
        self._rejected = []

    def close(self, provenance: dict[str, Any]) -> Manifest:
        """Write the last shard and the manifest; raises RequestError where there was no graph at all."""
        if self._rows:
            self._write_shard()
        if not self.state.shards:
            raise RequestError(f"{self.folder.uri}: the input holds no usable graph ({len(self._rejected)} rejected)")
        self._write_rejected(len(self.state.shards))
        result = Manifest(
            schema=self.schema,
            graphs=sum(shard.graphs for shard in self.state.shards),
            unit_rows=self.unit_rows,
            shard_rows=self.shard_rows,
            shards=tuple(self.state.shards),
            histograms={kind: np.trim_zeros(counts, "b") for kind, counts in self.state.histograms.items()},
            rejected=self.state.rejected,
            provenance=provenance,
        )
        self.folder.write(manifests.NAME, result.to_bytes())
        if self.folder.size(STATE) is not None:
            self.folder.delete(STATE)
        return result


@dataclass(frozen=True)
class _ReadPart:
    """Reads one part of a source into a checked table; small enough to send to a worker."""

    source: Source
    schema: Schema

    def __call__(self, part: Any) -> tuple[pa.Table, list[Rejected]]:
        piece, rejected = self.source.read(part)
        if piece is None:
            return arrow_schema(self.schema).empty_table(), rejected
        where = f"{self.source.provenance()['source']} input"
        check_values(self.schema, piece.graphs, where)
        check_structure(self.schema, piece.graphs, where)
        return pack(self.schema, piece), rejected


def prepare_folder(uri: str, overwrite: bool) -> Folder:
    """The folder a corpus goes to; refuses one that holds a whole corpus unless ``overwrite``, which empties it."""
    folder = open_folder(uri)
    whole = folder.size(manifests.NAME) is not None
    if whole and not overwrite:
        raise RequestError(f"{uri}: a corpus is already there; use --overwrite or another --out")
    if overwrite:
        ours = [name for name in folder.names() if name.startswith(("shard-", "rejected-")) or name == STATE]
        for name in ([manifests.NAME] if whole else []) + ours:
            folder.delete(name)
    return folder


def build_corpus(
    source: Source,
    uri: str,
    *,
    unit_rows: int = 512,
    shard_rows: int = 65_536,
    overwrite: bool = False,
    mapper: Mapper = map,
    progress: Callable[[int, int | None, int], None] | None = None,
) -> Manifest:
    """Build the corpus of ``source`` at ``uri``; continue it where an earlier run of the same build was stopped.

    mapper: an ordered map (``map``, or one that runs on Ray); memory stays bounded by a shard and the parts in flight.
    progress: called after each part with (parts done, parts in all or None, graphs written or buffered).
    """
    folder = prepare_folder(uri, overwrite)
    identity = {"source": source.provenance(), "schema": source.schema.to_json(), "rows": [unit_rows, shard_rows]}
    fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    state = BuildState.load(folder, fingerprint)
    writer = CorpusWriter(folder, source.schema, unit_rows, shard_rows, state)
    first = state.part
    done = sum(shard.graphs for shard in state.shards) - state.skip
    results = mapper(_ReadPart(source, source.schema), islice(source.parts(), first, None))
    for number, (table, rejected) in enumerate(results, start=first):
        writer.add(number, table, rejected)
        done += table.num_rows
        if progress:
            progress(number + 1, source.total_parts(), done)
    return writer.close(source.provenance())
