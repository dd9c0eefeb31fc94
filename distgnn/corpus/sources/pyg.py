"""Corpora from PyG graphs in memory, for data that no other source reads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from distgnn.corpus.manifest import Manifest
from distgnn.corpus.shard import Piece
from distgnn.corpus.sources.base import SPLITS, Rejected
from distgnn.corpus.writer import build_corpus
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch, row_graph
from distgnn.graph.checked import real
from distgnn.graph.pyg import dense_tensor, from_pyg, pyg_data
from distgnn.graph.schema import Schema
from distgnn.storage.environment import write_environment
from distgnn.storage.uri import text_of

if TYPE_CHECKING:
    from torch_geometric.data import Data

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
    _refuse(
        src == dst,
        graph,
        first,
        "a self-loop; undirected corpora have none (encoders add their own); torch_geometric.utils.remove_self_loops removes it",
    )
    keys = torch.minimum(src, dst) * max(batch.num_nodes, 1) + torch.maximum(src, dst)
    order = torch.argsort(keys * 2 + (src > dst), stable=True)
    one_way = (
        "an edge has no reverse edge or is duplicated; store both directions once (torch_geometric.utils.to_undirected), or"
        " set schema.directed"
    )
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


def single_graphs(graphs: Iterable[Any]) -> Iterator[Data]:
    """Iterate over the graphs of an iterable of Data, of Batch or of lists of them, such as a DataLoader.

    Raises:
        RequestError: an element is something else; the message names it.
    """
    pyg = pyg_data()
    if isinstance(graphs, pyg.Batch):
        graphs = [graphs]
    if isinstance(graphs, pyg.data.BaseData):
        raise RequestError(f"graphs: expected an iterable of PyG Data, found one {type(graphs).__name__}; pass a list")
    for number, item in enumerate(graphs):
        if isinstance(item, pyg.Batch):
            yield from single_graphs(_taken_apart(item, number))
        elif isinstance(item, list | tuple):
            yield from single_graphs(item)
        elif isinstance(item, pyg.Data) and item.get("ptr") is None:
            yield item
        else:
            kind = "a joined batch without its parts" if isinstance(item, pyg.Data) else type(item).__name__
            raise RequestError(f"graphs, element {number}: expected PyG Data or Batch, found {kind}")


def _taken_apart(batch: Any, number: int) -> list[Any]:
    try:
        return batch.to_data_list()
    except (RuntimeError, KeyError, ValueError) as error:
        raise RequestError(
            f"graphs, element {number}: this Batch cannot be taken apart ({error}); pass its graphs"
        ) from error


def _used(graph: Data, schema: Schema) -> Data:
    """Return the attributes that are read, checked, without gradients."""
    nodes = graph.get("num_nodes")
    rows = [value for name in ("x", "x_dense") if (value := dense_tensor(graph, name)) is not None and value.dim()]
    if nodes is None and not rows:
        raise RequestError("data.num_nodes: missing; a PyG graph needs x or num_nodes")
    nodes = len(rows[0]) if nodes is None else nodes
    if isinstance(nodes, Tensor) and nodes.numel() == 1:
        nodes = nodes.item()
    if not isinstance(nodes, int) or nodes < 0:
        raise RequestError(f"data.num_nodes: expected a whole number, found {nodes!r}")
    names = ["x", "x_dense", "edge_index", "edge_attr", "edge_attr_dense", "graph_id", "center_index"]
    values = {name: graph[name] for name in names if graph.get(name) is not None}
    if isinstance(values.get("graph_id"), int):
        values["graph_id"] = torch.tensor([values["graph_id"]])
    if schema.labels:
        values["y"] = _labels(graph, len(schema.labels))
    plain = {name: value.detach() if isinstance(value, Tensor) else value for name, value in values.items()}
    return pyg_data().Data(num_nodes=nodes, **plain)


def _labels(graph: Data, labels: int) -> Tensor:
    y = graph.get("y")
    if y is None:
        raise RequestError(f"data.y is missing, but the schema has {labels} labels; unknown ones are NaN")
    if isinstance(y, int | float | list | tuple | np.ndarray):
        y = torch.from_numpy(real(np.asarray(y).reshape(-1), "data.y", unknown=True))
    if not isinstance(y, Tensor):
        raise RequestError(f"data.y: expected a tensor of {labels} labels, found {type(y).__name__}")
    if y.numel() != labels:
        raise RequestError(f"data.y has {y.numel()} values, but the schema has {labels} labels; unknown ones are NaN")
    return torch.from_numpy(real(y.detach().cpu().reshape(1, -1).numpy(), "data.y", unknown=True))


def _checked(graph: Data, schema: Schema) -> Data:
    used = _used(graph, schema)
    found = from_pyg(used, schema)
    if schema.center and found.center is None:
        raise RequestError("the schema has a centre, but data.center_index is missing")
    for what, values in (("node", found.node_dense), ("edge", found.edge_dense)):
        if not bool(torch.isfinite(values).all()):
            row = int((~torch.isfinite(values)).any(dim=1).int().argmax())
            raise RequestError(
                f"a dense feature of {what} {row} is NaN, infinite or too large for float32; replace it, for example by 0"
            )
    return used


def _group(graph: Data) -> str | None:
    if "group" not in graph:
        raise RequestError("the schema has 'group', but data.group is missing")
    if not isinstance(graph["group"], str | None):
        raise RequestError(f"data.group: expected text or None, found {type(graph['group']).__name__}")
    return graph["group"]


def _split(graph: Data) -> int | None:
    if "split" not in graph:
        raise RequestError("the schema has 'split', but data.split is missing")
    value = graph["split"]
    text = str(value.item() if isinstance(value, Tensor) and value.numel() == 1 else "" if value is None else value)
    if text.lower() not in SPLITS:
        raise RequestError(f"data.split: {text[:80]!r} is not a valid split; use train, val, test or 0, 1, 2")
    return SPLITS[text.lower()]


def collect(graphs: Sequence[Data], schema: Schema, first: int = 0) -> Piece:
    """Convert PyG graphs to one piece that matches ``schema``.

    See :func:`distgnn.graph.pyg.from_pyg` for the attributes read; others are ignored. In addition ``data.group`` (text)
    and ``data.split`` (train, val, test or 0, 1, 2) are read if the schema has them. graph_id is ``data.graph_id``, or
    the running number without it.

    Args:
        graphs: one or more graphs.
        schema: the schema of the corpus.
        first: number of the first graph, for ids and messages.

    Raises:
        RequestError: a graph does not match; the message names it.
    """
    used: list[Data] = []
    groups: list[str | None] = []
    splits: list[int | None] = []
    for number, graph in enumerate(graphs, first):
        try:
            used.append(_checked(graph, schema))
            groups += [_group(graph)] if schema.group else []
            splits += [_split(graph)] if schema.split else []
        except RequestError as error:
            raise RequestError(f"graph {number}: {error}") from error
    packed = _packed(used, schema, first)
    if not schema.directed:
        packed = _each_once(packed, first)
    return Piece(packed, group=groups if schema.group else None, split=splits if schema.split else None)


def _packed(graphs: list[Data], schema: Schema, first: int) -> GraphBatch:
    try:
        batch = pyg_data().Batch.from_data_list(graphs)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        where = f"graphs {first}..{first + len(graphs) - 1}"
        raise RequestError(
            f"{where}: the graphs do not all have the same attributes ({' '.join(str(error).split())})"
        ) from error
    found = from_pyg(batch, schema)
    return found if "graph_id" in batch else replace(found, graph_id=found.graph_id + first)


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
        graphs, first = single_graphs(self._graphs), 0
        while chunk := list(islice(graphs, _GRAPHS)):
            yield PygPart(first, chunk)
            first += len(chunk)

    def total_parts(self) -> None:
        """Return None: an iterable has no known length."""
        return

    def rows(self, part: PygPart) -> int:
        """Return the number of graphs of a chunk."""
        return len(part.graphs)

    def read(self, part: PygPart) -> tuple[Piece, list[Rejected]]:
        """Convert the graphs of a chunk."""
        return collect(part.graphs, self._schema, part.first), []

    def provenance(self) -> dict[str, Any]:
        """Return the name of the source; graphs in memory have no files."""
        return {"source": "pyg"}


def write_corpus(
    graphs: Iterable[Data],
    uri: str | os.PathLike[str],
    schema: Schema,
    *,
    unit_rows: int = 0,
    shard_rows: int = 65_536,
    overwrite: bool = False,
) -> Manifest:
    """Write PyG graphs as a corpus.

    An iterable cannot be resumed, so an unfinished build at ``uri`` is restarted.

    Args:
        graphs: PyG Data objects, or batches of them, such as a DataLoader yields; see :func:`collect` for the attributes
            read.
        uri: where the corpus is written.
        schema: features, labels and conventions of the graphs.
        unit_rows: graphs per unit (row group); 0 = 512, fewer in corpora of fewer than 10,240 graphs, so that there are 20 units.
        shard_rows: graphs per shard; a multiple of ``unit_rows``.
        overwrite: replace an existing corpus.

    Returns:
        The manifest.

    Raises:
        RequestError: a graph does not match ``schema``, or a corpus already exists.
    """
    source = PygSource(graphs, schema)
    return build_corpus(
        source,
        text_of(uri),
        unit_rows=unit_rows,
        shard_rows=shard_rows,
        overwrite=overwrite,
        resume=False,
        describe=lambda folder: write_environment(folder, ""),
    )
