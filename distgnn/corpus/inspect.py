"""Corpus inspection: integrity check (verify), statistics (stat) and single graphs as JSON (cat)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distgnn.corpus.manifest import Manifest
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.shard import check_structure
from distgnn.errors import RequestError, WorkError
from distgnn.graph.batch import GraphBatch, slice_graphs
from distgnn.graph.schema import Feature
from distgnn.storage.folder import Folder

_CHUNK = 8 << 20
_TOP_GROUPS = 10


@dataclass(frozen=True)
class CorpusReport:
    """Result of :func:`verify`.

    Attributes:
        uri: the corpus.
        graphs, units, shards: its numbers.
        problems: one line per problem, naming shard, unit and row; empty if the corpus is intact.
    """

    uri: str
    graphs: int
    units: int
    shards: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems


def verify(uri: str) -> CorpusReport:
    """Check every byte against the SHA-256 digests of the manifest and decode every graph.

    Memory: one unit, and 8 bytes per graph to detect duplicate ids.

    Raises:
        RequestError: there is no readable manifest.
    """
    reader = CorpusReader(uri, labels=True)
    manifest = reader.manifest
    problems: list[str] = []
    ids: list[npt.NDArray[np.int64]] = []
    for number in range(len(manifest.shards)):
        found, shard_ids = _check_shard(reader, number)
        problems += found
        ids += shard_ids
    if ids:
        values, counts = np.unique(np.concatenate(ids), return_counts=True)
        repeated = values[counts > 1]
        if len(repeated):
            problems.append(
                f"{uri}: graph id {int(repeated[0])} occurs more than once ({len(repeated)} such ids); rebuild it"
            )
    return CorpusReport(uri, manifest.graphs, manifest.units, len(manifest.shards), tuple(problems))


def sample(uri: str, count: int) -> list[str]:
    """Check ``count`` evenly spaced shards and return their problems as in :func:`verify`."""
    reader = CorpusReader(uri, labels=True)
    shards = len(reader.manifest.shards)
    numbers = np.unique(np.linspace(0, shards - 1, min(count, shards)).astype(int)).tolist()
    return [problem for number in numbers for problem in _check_shard(reader, number)[0]]


def _check_shard(reader: CorpusReader, number: int) -> tuple[list[str], list[npt.NDArray[np.int64]]]:
    """Return the problems of a shard and the graph ids of its readable units."""
    manifest = reader.manifest
    per_shard = manifest.shard_rows // manifest.unit_rows
    units = range(number * per_shard, min((number + 1) * per_shard, manifest.units))
    try:
        reader.check_shard(number)
        problems, ids = _decode(reader, number, units)
    except (RequestError, WorkError) as error:
        problems, ids = [str(error)], []
    return [*_hash_problems(reader, number), *problems], ids


def _hash_problems(reader: CorpusReader, number: int) -> list[str]:
    entry = reader.manifest.shards[number]
    where = reader.folder.at(entry.name)
    if reader.folder.size(entry.name) != entry.bytes:
        return []  # missing or truncated: reported by decoding
    tries = 1 if reader.folder.local else 2  # bytes may be damaged on the way
    same = any(_digest(reader.folder, entry.name) == entry.sha256 for _ in range(tries))
    return [] if same else [f"{where}: sha256 differs from corpus.json; restore the shard"]


def _digest(folder: Folder, name: str) -> str:
    digest = hashlib.sha256()
    with folder.open(name) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _decode(reader: CorpusReader, number: int, units: range) -> tuple[list[str], list[npt.NDArray[np.int64]]]:
    """Return the problems of a shard's units and the graph ids of the readable ones."""
    manifest, problems, ids = reader.manifest, [], []
    nodes = edges = 0
    for unit in units:
        try:
            graphs = reader.unit(unit)
            check_structure(manifest.schema, graphs, reader.where(unit))
        except (RequestError, WorkError) as error:
            problems.append(str(error))
            continue
        ids.append(graphs.graph_id.numpy())
        nodes, edges = nodes + graphs.num_nodes, edges + graphs.num_edges
    entry = manifest.shards[number]
    if not problems and (nodes, edges) != (entry.nodes, entry.edges):
        counted = f"{nodes} nodes and {edges} edges, but corpus.json records {entry.nodes} and {entry.edges}"
        problems.append(f"{reader.folder.at(entry.name)}: {counted}; rebuild the corpus")
    return problems, ids


def stat(uri: str) -> dict[str, Any]:
    """Return statistics of a corpus as a JSON-serialisable dictionary.

    Sizes come from the manifest; only the label, group and split columns are read.
    """
    reader = CorpusReader(uri, labels=True)
    manifest = reader.manifest
    total = sum(shard.bytes for shard in manifest.shards)
    schema = manifest.schema
    return {
        "uri": uri,
        "graphs": manifest.graphs,
        "shards": len(manifest.shards),
        "units": manifest.units,
        "unit_rows": manifest.unit_rows,
        "bytes": total,
        "bytes_per_graph": round(total / manifest.graphs, 2),
        "nodes": _sizes(manifest, "nodes"),
        "edges": _sizes(manifest, "edges"),
        "directed": schema.directed,
        "center": schema.center,
        "node_features": [_feature_json(feature) for feature in schema.node],
        "edge_features": [_feature_json(feature) for feature in schema.edge],
        "labels": _labels(reader),
        "groups": _groups(reader) if schema.group else None,
        "split": _splits(reader) if schema.split else None,
        "rejected": manifest.rejected,
        "inputs": [asdict(account) for account in manifest.accounts],
        "provenance": manifest.provenance,
    }


def _sizes(manifest: Manifest, kind: str) -> dict[str, Any]:
    """Return total, mean, and a histogram over powers of two such as {"16-31": 12}."""
    counts = sum(getattr(shard, kind) for shard in manifest.shards)
    named = {}
    for power, graphs in enumerate(manifest.histograms.get(kind, [])):
        if graphs:
            low, high = (1 << power) >> 1, (1 << power) - 1
            named[f"{low}-{high}" if high > low else str(high)] = graphs
    return {"total": counts, "mean": round(counts / manifest.graphs, 2), "histogram": named}


def _feature_json(feature: Feature) -> dict[str, Any]:
    return {"name": feature.name, "kind": feature.kind, "size": feature.size, "meaning": feature.meaning}


def _labels(reader: CorpusReader) -> dict[str, dict[str, int]]:
    """Count positive, non-positive and unknown values per label."""
    names = reader.manifest.schema.labels
    counts = np.zeros((3, len(names)), np.int64)
    for unit in range(reader.manifest.units if names else 0):
        y = reader.table(unit, ["y"]).column("y").combine_chunks().flatten().to_numpy().reshape(-1, len(names))
        counts += np.stack([(y > 0).sum(axis=0), (y <= 0).sum(axis=0), np.isnan(y).sum(axis=0)])
    kinds = ("positive", "negative", "unknown")
    return {name: dict(zip(kinds, map(int, counts[:, i]), strict=True)) for i, name in enumerate(names)}


def _groups(reader: CorpusReader) -> dict[str, Any]:
    counts = Counter(reader.column("group").tolist())
    unknown = counts.pop(None, 0)
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_TOP_GROUPS]
    return {"name": reader.manifest.schema.group, "distinct": len(counts), "unknown": unknown, "top": dict(top)}


def _splits(reader: CorpusReader) -> dict[str, int]:
    names = {0: "train", 1: "val", 2: "test"}
    counts = Counter(names.get(part, "unknown") for part in reader.column("split").tolist())
    return dict(sorted(counts.items()))


def cat(uri: str, start: int = 0, count: int = 1) -> Iterator[dict[str, Any]]:
    """Iterate over graphs start:start+count as JSON-serialisable dictionaries.

    Raises:
        RequestError: ``start`` is beyond the end or ``count`` < 1.
    """
    reader = CorpusReader(uri, labels=True)
    manifest = reader.manifest
    if not 0 <= start < manifest.graphs or count < 1:
        raise RequestError(f"{uri}: start={start} count={count} is outside the corpus of {manifest.graphs} graphs")
    stop = min(start + count, manifest.graphs)
    return (graph for unit in _units_of(manifest, start, stop) for graph in _plain_rows(reader, unit, start, stop))


def _units_of(manifest: Manifest, start: int, stop: int) -> range:
    return range(start // manifest.unit_rows, -(-stop // manifest.unit_rows))


def _plain_rows(reader: CorpusReader, unit: int, start: int, stop: int) -> Iterator[dict[str, Any]]:
    schema, graphs, first = reader.manifest.schema, reader.unit(unit), unit * reader.manifest.unit_rows
    names = [name for name, present in (("group", schema.group), ("split", schema.split)) if present]
    rows = reader.table(unit, names).to_pylist() if names else [{}] * graphs.num_graphs
    for row in range(max(start - first, 0), min(stop - first, graphs.num_graphs)):
        yield _plain(reader.manifest, slice_graphs(graphs, row, row + 1)) | rows[row]


def _plain(manifest: Manifest, graph: GraphBatch) -> dict[str, Any]:
    schema = manifest.schema
    result: dict[str, Any] = {
        "graph_id": int(graph.graph_id[0]),
        "num_nodes": graph.num_nodes,
        "edges": graph.edges.T.tolist(),
        "node": _plain_features(schema.node, graph.node_cat, graph.node_dense),
        "edge": _plain_features(schema.edge, graph.edge_cat, graph.edge_dense),
    }
    if graph.center is not None:
        result["center"] = int(graph.center[0])
    if graph.y is not None:
        values = [None if np.isnan(value) else value for value in graph.y[0].tolist()]
        result["y"] = dict(zip(schema.labels, values, strict=True))
    return result


def _plain_features(features: tuple[Feature, ...], cat: torch.Tensor, dense: torch.Tensor) -> dict[str, list[Any]]:
    values, next_cat, next_dense = {}, 0, 0
    for feature in features:
        if feature.kind == "categorical":
            values[feature.name] = cat[:, next_cat].tolist()
            next_cat += 1
        else:
            values[feature.name] = dense[:, next_dense : next_dense + feature.size].tolist()
            next_dense += feature.size
    return values
