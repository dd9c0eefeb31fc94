"""Benchmark scaling: time of a second-order L2P step as one setting grows.

Steps s and t, child tasks k and the width are varied on molecules, 64 graphs per step; the size of graphs on synthetic graphs,
with about the same number of nodes per step. The smallest setting is the baseline.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from distgnn.config import EncoderConfig
from distgnn.corpus.manifest import read_manifest
from distgnn.graph.batch import GraphBatch
from distgnn.graph.schema import Schema
from distgnn.models.encoder import build_encoder
from distgnn.objectives.l2p.objective import L2P, L2PConfig
from distgnn.storage.folder import open_folder

from .data import molecules, step_batches
from .measure import Options, Side, finish, line, measure


def bench_scaling(options: Options) -> Iterator[dict[str, Any]]:
    """Measure the settings."""
    torch.set_num_threads(os.cpu_count() or 1)
    encoder, config = EncoderConfig(layers=2, width=32) if options.quick else EncoderConfig(), L2PConfig()
    runs = 3 if options.quick else 9
    with molecules(2048) as (case, uri):
        schema = read_manifest(open_folder(uri)).schema
        many = {k: step_batches(uri, L2P(L2PConfig(children=k)).prepare, 1)[0] for k in (1, 2, 4)}
    widths = (32, 64, 128) if options.quick else (64, 150, 300, 600)
    sizes, nodes = ((10, 30, 100), 600) if options.quick else ((10, 30, 100, 300), 1800)
    axes: dict[str, dict[int, Side]] = {
        "s": {s: _side(many[1], schema, encoder, replace(config, node_steps=s), options) for s in range(4)},
        "t": {t: _side(many[1], schema, encoder, replace(config, graph_steps=t), options) for t in range(4)},
        "k": {k: _side(many[k], schema, encoder, replace(config, children=k), options) for k in many},
        "width": {w: _side(many[1], schema, replace(encoder, width=w), config, options) for w in widths},
        "nodes": {n: _side(synthetic_graphs(nodes // n, n), Schema(), encoder, config, options) for n in sizes},
    }
    for axis, sides in axes.items():
        name = case if axis != "nodes" else f"synthetic graphs, {nodes} nodes per step"
        yield from axis_lines(f"{name}, gin {encoder.layers}x{encoder.width}", axis, sides, runs)


def axis_lines(case: str, axis: str, sides: dict[int, Side], runs: int) -> Iterator[dict[str, Any]]:
    """Measure the settings of an axis against the first, the baseline."""
    seconds = measure([Side(f"{axis}={value}", side.work) for value, side in sides.items()], runs)
    (smallest, base), *others = ((name, [1e3 * s for s in samples]) for name, samples in seconds.items())
    for name, ms in others:
        yield line("scaling", f"{case}, {name}", "second-order per-graph step", "ms", ms, (smallest, base))


def _side(
    batch: GraphBatch, schema: Schema, encoder_config: EncoderConfig, config: L2PConfig, options: Options
) -> Side:
    objective = L2P(config)
    encoder = build_encoder(schema, encoder_config, 0).to(options.device)
    if not batch.extras:
        batch = replace(batch, extras=objective.prepare(batch, 0, 0))
    batch = batch.to(options.device)

    def work() -> float:
        encoder.zero_grad()
        objective.losses(encoder, batch, 0, 0).total.backward()
        finish(options.device)
        return 1.0

    return Side("step", work)


def synthetic_graphs(graphs: int, nodes: int, seed: int = 0) -> GraphBatch:
    """Return featureless graphs of ``nodes`` nodes: a random tree with 10 % more edges (about the density of molecules)."""
    rng = np.random.default_rng(seed)
    child = np.arange(1, nodes)
    parts = []
    for g in range(graphs):
        chords = rng.integers(0, nodes, (nodes // 10, 2))
        pairs = np.concatenate([np.stack([child, rng.integers(0, child)], 1), np.sort(chords, 1)[:, ::-1]])
        pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
        parts.append(pairs + g * nodes)
    edges = torch.from_numpy(np.concatenate(parts)).t().contiguous()
    ends = np.cumsum([0, *map(len, parts)])
    return GraphBatch(
        graph_id=torch.arange(graphs),
        node_ptr=torch.arange(graphs + 1) * nodes,
        edge_ptr=torch.from_numpy(ends),
        edges=edges,
        node_cat=torch.zeros(graphs * nodes, 0, dtype=torch.int32),
        node_dense=torch.zeros(graphs * nodes, 0),
        edge_cat=torch.zeros(edges.shape[1], 0, dtype=torch.int32),
        edge_dense=torch.zeros(edges.shape[1], 0),
    )
