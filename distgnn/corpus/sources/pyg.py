"""Corpora from PyG graphs in memory, for data that no other source reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from distgnn.corpus.manifest import Manifest
from distgnn.corpus.shard import Piece
from distgnn.corpus.sources.base import Rejected
from distgnn.corpus.writer import build_corpus
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch, row_graph
from distgnn.graph.pyg import from_pyg
from distgnn.graph.schema import Schema

_GRAPHS = 512


class PygPart(NamedTuple):
    """Consecutive graphs; ``first`` is the number of the first one."""

    first: int
    graphs: list[Data]


def _refuse(bad: Tensor, graph: Tensor, first: int, what: str) -> None:
    if bool(bad.any()):
        raise RequestError(f"graph {first + int(graph[int(bad.int().argmax())])}, edge_index: {what}")


def _each_once(batch: GraphBatch, first: int) -> GraphBatch:
    """Keep one direction of each undirected edge; refuse edges without an identical reverse edge."""
    graph = row_graph(batch.edge_ptr)
    src, dst = batch.edges
    _refuse(src == dst, graph, first, "a self-loop; undirected corpora have none, remove it (encoders add their own)")
    keys = torch.minimum(src, dst) * max(batch.num_nodes, 1) + torch.maximum(src, dst)
    order = torch.argsort(keys * 2 + (src > dst), stable=True)
    one_way = "an edge has no reverse edge or is duplicated; store both directions once, or set schema.directed"
    if len(order) % 2:
        keys_sorted, counts = torch.unique(keys, return_counts=True)
        unpaired = keys_sorted[counts != 2][0]
        _refuse(keys == unpaired, graph, first, one_way)
    low, high = order[0::2], order[1::2]
    _refuse((keys[low] != keys[high]) | (src[low] >= dst[low]) | (src[high] <= dst[high]), graph[low], first, one_way)
    same_cat = (batch.edge_cat[low] == batch.edge_cat[high]).all(dim=1)
    same = same_cat & (batch.edge_dense[low] == batch.edge_dense[high]).all(dim=1)
    _refuse(~same, graph[low], first, "the two directions of an edge have different features; set schema.directed")
    counts = torch.bincount(graph[low], minlength=batch.num_graphs)
    return replace(
        batch,
        edges=batch.edges[:, low],
        edge_ptr=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        edge_cat=batch.edge_cat[low],
        edge_dense=batch.edge_dense[low],
        directed=False,
    )


def _column(graphs: Sequence[Data], name: str, required: bool, first: int) -> list[Any] | None:
    if not required:
        return None
    missing = [number for number, graph in enumerate(graphs) if name not in graph]
    if missing:
        raise RequestError(f"graph {first + missing[0]}: the schema has {name!r}, but data.{name} is missing")
    return [value.item() if isinstance(value := graph[name], Tensor) else value for graph in graphs]


def collect(graphs: Sequence[Data], schema: Schema, first: int = 0) -> Piece:
    """Convert PyG graphs to one piece that matches ``schema``.

    See :func:`distgnn.graph.pyg.from_pyg` for the attributes read. In addition ``data.group`` (text) and ``data.split``
    (0, 1, 2) are read if the schema has them. graph_id is ``data.graph_id``, or the running number without it.

    Args:
        graphs: one or more graphs.
        schema: the schema of the corpus.
        first: number of the first graph, for ids and messages.

    Raises:
        RequestError: a graph does not match; the message names it.
    """
    try:
        batch = cast(Any, Batch.from_data_list(list(graphs)))  # pyright: ignore[reportArgumentType]
        packed = from_pyg(batch, schema)
    except RequestError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        where = f"graphs {first}..{first + len(graphs) - 1}"
        raise RequestError(
            f"{where}: the graphs do not all have the same attributes ({' '.join(str(error).split())})"
        ) from error
    if "graph_id" not in batch:
        packed = replace(packed, graph_id=packed.graph_id + first)
    found = 0 if packed.y is None else packed.y.shape[1]
    if schema.labels and found != len(schema.labels):
        raise RequestError(f"graph {first}: data.y has {found} values, but the schema has {len(schema.labels)} labels")
    if schema.center and packed.center is None:
        raise RequestError(f"graph {first}: the schema has a centre, but data.center_index is missing")
    if not schema.directed:
        packed = _each_once(packed, first)
    return Piece(
        packed,
        group=_column(graphs, "group", bool(schema.group), first),
        split=_column(graphs, "split", schema.split, first),
    )


class PygSource:
    """Source over an iterable of PyG Data, which is consumed once."""

    def __init__(self, graphs: Iterable[Data], schema: Schema) -> None:
        self._graphs, self._schema = graphs, schema

    @property
    def schema(self) -> Schema:
        """The given schema."""
        return self._schema

    def parts(self) -> Iterator[PygPart]:
        """Iterate over chunks of the iterable."""
        graphs, first = iter(self._graphs), 0
        while chunk := list(islice(graphs, _GRAPHS)):
            yield PygPart(first, chunk)
            first += len(chunk)

    def total_parts(self) -> None:
        """Return None: an iterable has no known length."""
        return

    def read(self, part: PygPart) -> tuple[Piece, list[Rejected]]:
        """Convert the graphs of a chunk."""
        return collect(part.graphs, self._schema, part.first), []

    def provenance(self) -> dict[str, Any]:
        """Return the name of the source; graphs in memory have no files."""
        return {"source": "pyg"}


def write_corpus(
    graphs: Iterable[Data],
    uri: str,
    schema: Schema,
    *,
    unit_rows: int = 512,
    shard_rows: int = 65_536,
    overwrite: bool = False,
) -> Manifest:
    """Write PyG graphs as a corpus.

    An iterable cannot be resumed, so an unfinished build at ``uri`` is restarted.

    Args:
        graphs: PyG Data objects; see :func:`collect` for the attributes read.
        uri: where the corpus is written.
        schema: features, labels and conventions of the graphs.
        unit_rows: graphs per unit (row group).
        shard_rows: graphs per shard; a multiple of ``unit_rows``.
        overwrite: replace an existing corpus.

    Returns:
        The manifest.

    Raises:
        RequestError: a graph does not match ``schema``, or a corpus already exists.
    """
    source = PygSource(graphs, schema)
    return build_corpus(source, uri, unit_rows=unit_rows, shard_rows=shard_rows, overwrite=overwrite, resume=False)
