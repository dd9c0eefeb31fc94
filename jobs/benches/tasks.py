"""Benchmark tasks: sampling of L2P tasks for a unit at once, against a per-graph PyG transform."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.utils import negative_sampling

from distgnn.corpus.reader import CorpusReader
from distgnn.graph.batch import concat_graphs, slice_graphs
from distgnn.graph.pyg import to_pyg
from distgnn.objectives.l2p.task_sampler import TaskBuilder

from .data import molecules
from .measure import Options, Side, line, measure


def bench_tasks(options: Options) -> Iterator[dict[str, Any]]:
    """Measure sampling on one core by sorts and hashes against a per-graph PyG transform and collation."""
    torch.set_num_threads(1)
    with molecules(2048) as (case, uri):
        reader = CorpusReader(uri)
        units = [reader.unit(i) for i in range(reader.manifest.units)]
    builder, epochs = TaskBuilder(children=1, support=10, query=5), cycle(range(10**6))
    data = [to_pyg(slice_graphs(units[0], i, i + 1))[0] for i in range(256)]

    def by_unit() -> float:
        epoch = next(epochs)
        for unit in units:
            builder(unit, 0, epoch)
        return sum(unit.num_graphs for unit in units)

    def by_unit_batched() -> float:
        epoch = next(epochs)
        for unit in units:
            ready = replace(unit, extras=builder(unit, 0, epoch))
            for start in range(0, unit.num_graphs, 64):
                concat_graphs([slice_graphs(ready, start, min(start + 64, unit.num_graphs))])
        return sum(unit.num_graphs for unit in units)

    def pyg() -> float:
        for start in range(0, len(data), 64):
            Batch.from_data_list([pyg_transform(graph) for graph in data[start : start + 64]])
        return len(data)

    seconds = measure(
        [Side("tasks", by_unit), Side("batched", by_unit_batched), Side("pyg", pyg)], 3 if options.quick else 9
    )
    rates = {name: [1 / s for s in values] for name, values in seconds.items()}
    yield line("tasks", case, "tasks of a unit, one core", "graphs/s", rates["tasks"])
    yield line("tasks", case, "tasks and batches of 64", "graphs/s", rates["batched"], ("pyg_per_graph", rates["pyg"]))


def pyg_transform(graph: Data) -> Data:
    """Sample 15 edges, split 10 + 5, and as many non-edges, as a PyG transform does."""
    edges: Tensor = graph["edge_index"]
    picked = edges[:, torch.randperm(edges.shape[1])[:15]]
    negatives = negative_sampling(edges, graph.num_nodes, num_neg_samples=15)
    result = graph.clone()
    result.support_index, result.query_index = picked[:, :10], picked[:, 10:]
    result.support_negative_index, result.query_negative_index = negatives[:, :10], negatives[:, 10:]
    return result
