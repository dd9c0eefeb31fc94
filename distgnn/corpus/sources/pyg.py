"""PyG graphs in memory -> corpus: the way in for everybody whose data no other builder reads."""

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
from distgnn.corpus.writer import STATE, build_corpus
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch, row_graph
from distgnn.graph.pyg import from_pyg
from distgnn.graph.schema import Schema
from distgnn.storage.folder import open_folder

_GRAPHS = 512


class PygPart(NamedTuple):
    """Consecutive graphs, the first of them number ``first``."""

    first: int
    graphs: list[Data]


def _refuse(bad: Tensor, graph: Tensor, first: int, what: str) -> None:
    if bool(bad.any()):
        raise RequestError(f"graph {first + int(graph[int(bad.int().argmax())])}, edge_index: {what}")


def _each_once(batch: GraphBatch, first: int) -> GraphBatch:
    """Undirected edges stored once; raises RequestError where the two directions of an edge are not both there and alike."""
    graph = row_graph(batch.edge_ptr)
    src, dst = batch.edges
    _refuse(src == dst, graph, first, "a self-loop; undirected corpora hold none, drop it (encoders add their own)")
    keys = torch.minimum(src, dst) * max(batch.num_nodes, 1) + torch.maximum(src, dst)
    order = torch.argsort(keys * 2 + (src > dst), stable=True)
    one_way = "an edge without its reverse, or one repeated; store both directions once, or set schema.directed"
    if len(order) % 2:
        keys_sorted, counts = torch.unique(keys, return_counts=True)
        odd = keys_sorted[counts != 2][0]
        _refuse(keys == odd, graph, first, one_way)
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


def _column(graphs: Sequence[Data], name: str, wanted: bool, first: int) -> list[Any] | None:
    if not wanted:
        return None
    missing = [number for number, graph in enumerate(graphs) if name not in graph]
    if missing:
        raise RequestError(f"graph {first + missing[0]}: the schema promises {name!r} but data.{name} is missing")
    return [value.item() if isinstance(value := graph[name], Tensor) else value for graph in graphs]


def collect(graphs: Sequence[Data], schema: Schema, first: int = 0) -> Piece:
    """PyG graphs as one Piece that fits ``schema``; raises RequestError naming the graph, counted from ``first``.

    See :func:`distgnn.graph.pyg.from_pyg` for the attributes read; besides, ``data.group`` (text) and ``data.split``
    (0, 1, 2) where the schema has them. graph_id = data.graph_id, or the running number where it is absent.
    """
    try:
        batch = cast(Any, Batch.from_data_list(list(graphs)))  # pyright: ignore[reportArgumentType]
        packed = from_pyg(batch, schema)
    except RequestError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        where = f"graphs {first}..{first + len(graphs) - 1}"
        raise RequestError(
            f"{where}: they do not all have the same attributes ({' '.join(str(error).split())})"
        ) from error
    if "graph_id" not in batch:
        packed = replace(packed, graph_id=packed.graph_id + first)
    found = 0 if packed.y is None else packed.y.shape[1]
    if schema.labels and found != len(schema.labels):
        raise RequestError(f"graph {first}: data.y has {found} values where the schema has {len(schema.labels)} labels")
    if schema.center and packed.center is None:
        raise RequestError(f"graph {first}: the schema promises a centre but data.center_index is missing")
    if not schema.directed:
        packed = _each_once(packed, first)
    return Piece(
        packed,
        group=_column(graphs, "group", bool(schema.group), first),
        split=_column(graphs, "split", schema.split, first),
    )


class PygSource:
    """Any iterable of PyG Data, gone through once."""

    def __init__(self, graphs: Iterable[Data], schema: Schema) -> None:
        self._graphs, self._schema = graphs, schema

    @property
    def schema(self) -> Schema:
        """As given."""
        return self._schema

    def parts(self) -> Iterator[PygPart]:
        """Chunks of the iterable."""
        graphs, first = iter(self._graphs), 0
        while chunk := list(islice(graphs, _GRAPHS)):
            yield PygPart(first, chunk)
            first += len(chunk)

    def total_parts(self) -> None:
        """Unknown."""
        return

    def read(self, part: PygPart) -> tuple[Piece, list[Rejected]]:
        """The graphs of a chunk."""
        return collect(part.graphs, self._schema, part.first), []

    def provenance(self) -> dict[str, Any]:
        """Only that the graphs came from memory."""
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
    """Write PyG graphs as a corpus at ``uri``; see :func:`collect` for the attributes read.

    An iterable cannot be taken up where it was left, so an unfinished build at ``uri`` is begun anew.
    Raises RequestError for graphs that do not fit ``schema`` and where a corpus is already there (unless ``overwrite``).
    """
    folder = open_folder(uri)
    if folder.size(STATE) is not None:
        folder.delete(STATE)
    source = PygSource(graphs, schema)
    return build_corpus(source, uri, unit_rows=unit_rows, shard_rows=shard_rows, overwrite=overwrite)
