"""Benchmark objectives: training steps of every objective with every encoder, and preparation of extras on one core."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from distgnn import register
from distgnn.config import EncoderConfig, PretrainConfig
from distgnn.config.pretrain import UNTRAINED
from distgnn.corpus.manifest import read_manifest
from distgnn.corpus.reader import CorpusReader
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch, slice_graphs
from distgnn.graph.pyg import to_pyg
from distgnn.graph.subgraph import keep_nodes
from distgnn.models.encoder import build_encoder
from distgnn.objectives.attrmasking import MaskingConfig
from distgnn.objectives.base import Objective
from distgnn.objectives.build import build_objective
from distgnn.objectives.contextpred import NAME, ContextConfig, RootDistances
from distgnn.objectives.masking import MaskBuilder, hidden_rows
from distgnn.storage.folder import open_folder

from .data import molecules, proteins, step_batches
from .l2p_step import KINDS
from .measure import Options, Side, finish, line, measure
from .transforms import context_transform, masking_transform


def bench_objectives(options: Options) -> Iterator[dict[str, Any]]:
    """Measure steps of 64 graphs on the device, then preparation."""
    torch.set_num_threads(os.cpu_count() or 1)
    base = EncoderConfig(layers=2, width=32) if options.quick else EncoderConfig()
    runs = 3 if options.quick else 9
    with molecules(2048) as (case, uri), proteins() as other:
        for kind in KINDS:
            yield from step_lines(uri, case, replace(base, kind=kind), options.device, runs)
        torch.set_num_threads(1)  # as in the process that reads
        yield from masking_lines(uri, case, runs)
        for name, folder in [(case, uri), *([other] if other else [])]:
            yield from context_lines(folder, name, runs)


def step_lines(uri: str, name: str, encoder: EncoderConfig, device: str, runs: int) -> Iterator[dict[str, Any]]:
    """Measure forward and backward passes of each objective that the corpus supports."""
    schema = read_manifest(open_folder(uri)).schema
    for kind in (*register.objective.names(), UNTRAINED):
        config = PretrainConfig(corpus=uri, objective=kind, encoder=encoder)  # pyright: ignore[reportArgumentType]
        try:
            objective = build_objective(config, schema)
        except RequestError:  # such as supervised pre-training on a corpus without labels
            continue
        if objective is not None:
            work = training_step(config, objective.to(device), device)
            rates = [1 / s for s in measure([Side(kind, work)], runs)[kind]]
            case = f"{name}, {kind}, {encoder.kind} {encoder.layers}x{encoder.width}"
            yield line("objectives", case, "training step, batch 64", "graphs/s", rates)


def training_step(config: PretrainConfig, objective: Objective, device: str) -> Callable[[], float]:
    """Return a function that does a forward and backward pass over the next batch and returns its number of graphs."""
    schema = read_manifest(open_folder(config.corpus)).schema
    encoder = build_encoder(schema, config.encoder, 0).to(device)
    batches = cycle([batch.to(device) for batch in step_batches(config.corpus, objective.prepare, 4)])

    def work() -> float:
        encoder.zero_grad()
        objective.zero_grad()
        batch = next(batches)
        objective.losses(encoder, batch, 0, 0).total.backward()
        finish(device)
        return batch.num_graphs

    return work


def context_lines(uri: str, name: str, runs: int) -> Iterator[dict[str, Any]]:
    """Measure roots and context subgraphs of ContextPred: units at once against one networkx graph at a time."""
    config = ContextConfig()
    prepare = RootDistances(config.outer)

    def by_unit(unit: GraphBatch, epoch: int) -> GraphBatch:
        distance = prepare(unit, 0, epoch)[NAME].values
        return keep_nodes(unit, (distance > config.inner) & (distance <= config.outer))

    rates = preparation_rates(uri, by_unit, lambda graph: context_transform(graph, config), runs)
    metric = "ContextPred's contexts, one core"
    yield line("objectives", name, metric, "graphs/s", rates["by_unit"], ("networkx_per_graph", rates["by_graph"]))


def masking_lines(uri: str, name: str, runs: int) -> Iterator[dict[str, Any]]:
    """Measure masked nodes and their labels of AttrMasking: units at once against one PyG graph at a time."""
    config = MaskingConfig()
    prepare = MaskBuilder("node", config.rate)

    def by_unit(unit: GraphBatch, epoch: int) -> tuple[Tensor, Tensor]:
        hidden = hidden_rows(replace(unit, extras=prepare(unit, 0, epoch)), "node")
        return unit.node_cat[hidden], unit.node_dense[hidden]

    if not read_manifest(open_folder(uri)).schema.node:
        return
    rates = preparation_rates(uri, by_unit, lambda graph: masking_transform(graph, config), runs)
    metric = "AttrMasking's hidden nodes, one core"
    yield line("objectives", name, metric, "graphs/s", rates["by_unit"], ("pyg_per_graph", rates["by_graph"]))


def preparation_rates(
    uri: str, by_unit: Callable[[GraphBatch, int], object], by_graph: Callable[[Data], Data], runs: int
) -> dict[str, list[float]]:
    """Measure the preparation of graphs; reading and conversion to Data are not timed.

    Args:
        uri: The corpus.
        by_unit: Prepares a unit, given the epoch.
        by_graph: Prepares one graph.
        runs: Number of runs.

    Returns:
        Graphs per second of "by_unit" and "by_graph".
    """
    reader, epochs = CorpusReader(uri), cycle(range(10**6))
    units = [reader.unit(number) for number in range(min(reader.manifest.units, 4))]
    data = [to_pyg(slice_graphs(units[0], i, i + 1))[0] for i in range(min(256, units[0].num_graphs))]

    def units_at_once() -> float:
        epoch = next(epochs)
        for unit in units:
            by_unit(unit, epoch)
        return sum(unit.num_graphs for unit in units)

    def one_by_one() -> float:
        return len([by_graph(graph) for graph in data])  # pyright: ignore[reportArgumentType]

    seconds = measure([Side("by_unit", units_at_once), Side("by_graph", one_by_one)], runs)
    return {name: [1 / s for s in values] for name, values in seconds.items()}
