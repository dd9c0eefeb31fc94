"""Corpus construction: rows in input order form units, units form shards, and the manifest is written last.

The state of the build is saved after each shard, so that an interrupted build can be continued with identical output.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distgnn.config.build import MOST_UNIT_ROWS
from distgnn.corpus import manifest as manifests
from distgnn.corpus.account import Account
from distgnn.corpus.manifest import MANIFEST_BYTES, Histogram, Manifest, Shard
from distgnn.corpus.shard import arrow_schema, check_structure, check_values, pack
from distgnn.corpus.sources.base import Accounts, CountsRows, Rejected, Source
from distgnn.errors import RequestError, WorkError, printable
from distgnn.graph.schema import Schema
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.lock import locked
from distgnn.storage.records import Count, Name, parse_object, read_record

STATE = "_build.json"
_BINS = 34
_LEAST_UNITS = 20
_FILES = re.compile(r"shard-[0-9]{5,}\.parquet|rejected-(?:[0-9]{5,}|inputs)\.tsv")
_REJECTED = "file\trow\treason\ttext"
Progress = Callable[[int, int | None, int], None]
_INPUTS = "rejected-inputs.tsv"
Describe = Callable[[Folder], object]
Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@dataclass
class BuildState:
    """Progress of a build.

    Attributes:
        fingerprint: digest of inputs, schema and options.
        part: part that holds the first row not yet in a shard.
        skip: number of that row within the part.
        shards: finished shards.
        rejected: number of rejected rows so far.
        read: number of rows read so far.
        counted: whether ``read`` counts from the start; False in builds that an earlier version started.
        histograms: as in the manifest.
    """

    fingerprint: Name
    part: Count = 0
    skip: Count = 0
    shards: list[Shard] = field(default_factory=list)
    rejected: Count = 0
    read: Count = 0
    counted: bool = False
    histograms: dict[Name, Histogram] = field(default_factory=lambda: {"nodes": [0] * _BINS, "edges": [0] * _BINS})

    @classmethod
    def load(cls, folder: Folder, fingerprint: str) -> BuildState:
        """Load the saved state of the same build, or start a new one.

        Raises:
            RequestError: the folder holds the state of another build.
        """
        if folder.size(STATE) is None:
            return cls(fingerprint, counted=True)
        state = read_record(folder, STATE, cls, "a valid build state", "use --overwrite", MANIFEST_BYTES)
        if state.fingerprint != fingerprint and not state.shards:  # nothing is lost
            return cls(fingerprint, counted=True)
        if state.fingerprint != fingerprint:
            raise RequestError(
                f"{folder.uri}: holds an unfinished build with other inputs or options; use overwrite or another out"
            )
        return state


def chosen_unit_rows(rows: int) -> int:
    """Return the rows per unit of a corpus whose first shard has ``rows`` rows.

    It is the largest power of two up to 512 that leaves 20 units."""
    return min(1 << max(rows // _LEAST_UNITS, 1).bit_length() - 1, MOST_UNIT_ROWS)


_CLEARING = json.dumps(asdict(BuildState(""))).encode()
"""The state of a folder whose corpus is being deleted."""


class CorpusWriter:
    """Writes tables as shards: ``add`` takes rows in order; ``close`` writes the rest and the manifest."""

    def __init__(
        self,
        folder: Folder,
        schema: Schema,
        unit_rows: int,
        shard_rows: int,
        state: BuildState,
        describe: Describe | None = None,
    ) -> None:
        if unit_rows < 0:
            raise RequestError(f"unit_rows must be at least 1, or 0 to choose it, found {unit_rows}")
        most = unit_rows or MOST_UNIT_ROWS
        if shard_rows < 1 or shard_rows % most:
            near = max(shard_rows // most, 1) * most
            raise RequestError(
                f"shard_rows={shard_rows} must be a multiple of unit_rows={most}; give shard_rows={near} too"
            )
        self.folder, self.schema, self.state = folder, schema, state
        self.shard_rows, self._given, self._describe = shard_rows, unit_rows, describe
        self._tables: list[pa.Table] = []
        self._rows = 0
        self._rejected: list[Rejected] = []

    def add(self, part: int, table: pa.Table, rejected: Sequence[Rejected], read: int) -> None:
        """Append the rows of part number ``part``, which has ``read`` input rows; full shards are written immediately.

        Raises:
            WorkError: an input row was neither stored nor rejected, or more than once.
        """
        if table.num_rows + len(rejected) != read:
            raise WorkError(
                f"{self.folder.uri}, part {part}: {read:,} rows read, but {table.num_rows:,} stored and"
                f" {len(rejected):,} rejected; a defect of the corpus source"
            )
        skip = self.state.skip if part == self.state.part else 0
        if skip == 0:  # else the part's rejected rows were written with the shard that ended within it
            self._rejected += rejected
            self.state.read += read
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

    def _unit_rows(self, rows: int) -> int:
        """Return the rows per unit of this corpus, whose next shard has ``rows`` rows; the first shard decides."""
        return self._given or chosen_unit_rows(self.state.shards[0].graphs if self.state.shards else rows)

    def _write_shard(self) -> None:
        table = pa.concat_tables(self._tables).combine_chunks()
        unit_rows = self._unit_rows(table.num_rows)
        number = len(self.state.shards)
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(
            sink, arrow_schema(self.schema), compression="zstd", compression_level=3, write_page_checksum=True
        ) as writer:
            for start in range(0, table.num_rows, unit_rows):
                writer.write_table(table.slice(start, unit_rows), row_group_size=unit_rows)
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

    def _why_none(self) -> str:
        if not self.state.rejected:
            return "no rows were read; check the input"
        return f"{self.state.rejected:,} rows read, all rejected; {self.folder.at(_rejected_name(0))} lists the reasons"

    def _write_rejected(self, number: int) -> None:
        self._write_rows(_rejected_name(number), self._rejected)
        self.state.rejected += len(self._rejected)
        self._rejected = []

    def _write_rows(self, name: str, rows: Sequence[Rejected]) -> None:
        if rows:
            lines = [_REJECTED, *("\t".join(item) for item in rows)]
            self.folder.write(name, (printable("\n".join(lines)) + "\n").encode())

    def close(
        self, provenance: dict[str, Any], accounts: Sequence[tuple[Account, Sequence[Rejected]]] = ()
    ) -> Manifest:
        """Write the last shard, the manifest, and the rows of ``accounts`` that could not be read.

        Raises:
            RequestError: there is no graph at all.
            WorkError: the rows stored and rejected are not the rows read.
        """
        if self._rows:
            self._write_shard()
        self._write_rejected(len(self.state.shards))
        if not self.state.shards:
            raise RequestError(f"{self.folder.uri}: the input contains no usable graph ({self._why_none()})")
        stored = sum(shard.graphs for shard in self.state.shards)
        if self.state.counted and self.state.read != stored + self.state.rejected:
            raise WorkError(
                f"{self.folder.uri}: {self.state.read:,} rows read, but {stored:,} stored and {self.state.rejected:,}"
                " rejected; build it again with --overwrite"
            )
        result = Manifest(
            schema=self.schema,
            graphs=stored,
            unit_rows=self._unit_rows(0),
            shard_rows=self.shard_rows,
            shards=tuple(self.state.shards),
            histograms={kind: np.trim_zeros(counts, "b") for kind, counts in self.state.histograms.items()},
            rejected=self.state.rejected,
            provenance=provenance,
            accounts=tuple(account for account, _ in accounts),
        )
        self._write_rows(_INPUTS, [row for _, rows in accounts for row in rows])
        if self._describe is not None:
            self._describe(self.folder)
        self.folder.write(manifests.NAME, result.to_bytes())
        if self.folder.size(STATE) is not None:
            self.folder.delete(STATE)
        return result


@dataclass(frozen=True)
class _ReadPart:
    """Reads one part of a source into a checked table; small enough to send to a worker."""

    source: Source
    schema: Schema

    def __call__(self, part: Any) -> tuple[pa.Table, list[Rejected], int]:
        """Return the graphs, the rejected rows, and the number of rows read."""
        piece, rejected = self.source.read(part)
        stored = piece.graphs.num_graphs if piece else 0
        read = self.source.rows(part) if isinstance(self.source, CountsRows) else stored + len(rejected)
        if piece is None:
            return arrow_schema(self.schema).empty_table(), rejected, read
        where = f"{self.source.provenance()['source']} input"
        check_values(self.schema, piece.graphs, where)
        check_structure(self.schema, piece.graphs, where)
        return pack(self.schema, piece), rejected, read


def _rejected_name(number: int) -> str:
    return f"rejected-{number:05d}.tsv"


def prepare_folder(uri: str, overwrite: bool, resume: bool = True) -> Folder:
    """Open the folder of a new corpus. Only files of a corpus of ours are deleted or written over.

    Args:
        uri: the folder.
        overwrite: delete an existing corpus.
        resume: keep what an unfinished build has written.

    Raises:
        RequestError: a complete corpus exists and ``overwrite`` is False, or the folder holds such files of others.
    """
    folder = open_folder(uri)
    complete, begun = folder.size(manifests.NAME) is not None, folder.size(STATE) is not None
    if complete and not overwrite:
        if begun and _is_ours(folder):  # it was killed after the last file
            folder.delete(STATE)
        raise RequestError(f"{uri}: a corpus already exists; use overwrite or another out")
    if complete and not _is_ours(folder):
        where = folder.at(manifests.NAME)
        raise RequestError(f"{where}: not the manifest of a corpus, so it is not overwritten; use another out")
    found = [name for name in folder.names() if _FILES.fullmatch(name)]
    rejected = not complete and not begun and found == [_rejected_name(0)] and _lists_rejected(folder)
    if found and not complete and not begun and not rejected:
        raise RequestError(f"{uri}: the folder holds other things ({found[0]}), no corpus of distgnn; use another out")
    clearing = begun and not complete and folder.read(STATE) == _CLEARING
    if overwrite or rejected or clearing or (begun and not resume):
        _clear(folder, [manifests.NAME] if complete else [], found)
    return folder


def _clear(folder: Folder, manifest: list[str], found: list[str]) -> None:
    """Delete a corpus or an unfinished build; meanwhile a state marks its files as ours, and that they are to go."""
    if manifest:
        folder.write(STATE, _CLEARING)
    for name in (*manifest, *found):
        folder.delete(name)
    if folder.size(STATE) is not None:
        folder.delete(STATE)


def _is_ours(folder: Folder) -> bool:
    """Return whether the manifest is one of ours, whatever its version."""
    try:
        raw = folder.read(manifests.NAME, MANIFEST_BYTES)
        return {"version", "shards", "unit_rows"} <= set(parse_object(raw, "", ""))
    except (ValueError, TypeError):
        return False


def _lists_rejected(folder: Folder) -> bool:
    """Whether the folder holds what a build wrote in which every row was rejected."""
    return (folder.read_if_there(_rejected_name(0)) or b"").startswith(_REJECTED.encode())


def build_corpus(
    source: Source,
    uri: str,
    *,
    unit_rows: int = 0,
    shard_rows: int = 65_536,
    overwrite: bool = False,
    resume: bool = True,
    mapper: Mapper = map,
    progress: Progress | None = None,
    describe: Describe | None = None,
) -> Manifest:
    """Build a corpus, or continue an interrupted build of the same inputs and options.

    Memory is bounded by one shard and the parts in flight.

    Args:
        source: the data source.
        uri: where the corpus is written.
        unit_rows: graphs per unit (row group); 0 = :func:`chosen_unit_rows`.
        shard_rows: graphs per shard; a multiple of ``unit_rows``.
        overwrite: replace an existing corpus.
        resume: continue an interrupted build; otherwise start it again.
        mapper: an ordered map, such as ``map`` or one that runs on Ray.
        progress: called after each part with (parts done, total parts or None, graphs written or buffered).
        describe: writes beside the corpus how it was made, before the manifest makes it whole.

    Returns:
        The manifest.

    Raises:
        RequestError: the input is unusable, or a corpus already exists.
    """
    identity = {"source": source.provenance(), "schema": source.schema.to_json(), "rows": [unit_rows, shard_rows]}
    fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    with locked(open_folder(uri)):
        folder = prepare_folder(uri, overwrite, resume)
        state = BuildState.load(folder, fingerprint)
        writer = CorpusWriter(folder, source.schema, unit_rows, shard_rows, state, describe)
        folder.write(STATE, json.dumps(asdict(state)).encode())  # marks the files that follow as ours
        try:
            return _written(source, writer, mapper, progress)
        finally:
            if not any(name.startswith("shard-") for name in folder.names()) and folder.size(STATE) is not None:
                folder.delete(STATE)  # nothing was written


def _written(source: Source, writer: CorpusWriter, mapper: Mapper, progress: Progress | None) -> Manifest:
    state = writer.state
    first = state.part
    done = sum(shard.graphs for shard in state.shards) - state.skip
    results = mapper(_ReadPart(source, writer.schema), islice(source.parts(), first, None))
    for number, (table, rejected, read) in enumerate(results, start=first):
        writer.add(number, table, rejected, read)
        done += table.num_rows
        if progress:
            progress(number + 1, source.total_parts(), done)
    return writer.close(source.provenance(), source.accounts() if isinstance(source, Accounts) else ())
