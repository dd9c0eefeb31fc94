"""Benchmark l2p_step: a second-order per-graph L2P step against its baselines, on molecules and protein networks.

With ghost norm, the baselines are one adaptation for the batch (batch_shared, the released code) and plain link prediction
(plain_link). With layer norm, which does not depend on other graphs, they are a loop over graphs (loop) and torch.func.vmap over
padded graphs (vmap); their losses are checked for equality first. Reading and padding are not timed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

from distgnn.config import EncoderConfig
from distgnn.corpus.manifest import read_manifest
from distgnn.graph.batch import GraphBatch, slice_graphs
from distgnn.models.encoder import Encoder, build_encoder
from distgnn.objectives.l2p.objective import L2P, L2PConfig
from distgnn.storage.folder import open_folder

from .data import molecules, proteins, step_batches
from .dense import densify
from .l2p_sides import batch_shared_step, graphs_with_tasks, link_step, loop_losses
from .measure import Options, Side, finish, line, measure
from .memory import apart, peak_mb
from .vmap import vmap_step

CONFIG = L2PConfig.paper()
KINDS: tuple[Any, ...] = ("gin", "gcn", "sage", "gat")
GROUPS: dict[Any, tuple[str, ...]] = {
    "ghost": ("per_graph", "batch_shared", "plain_link"),
    "layer": ("per_graph", "loop", "vmap"),
}


@dataclass(frozen=True)
class Setting:
    """Setting of a measurement.

    Attributes:
        uri: URI of the corpus.
        encoder: Config of the encoder.
        batches: Number of different batches of 64 graphs.
        device: Device of the computation.
    """

    uri: str
    encoder: EncoderConfig
    batches: int
    device: str

    def load(self) -> tuple[Encoder, list[GraphBatch]]:
        """Return the encoder and the batches with their tasks, on the device."""
        schema = read_manifest(open_folder(self.uri)).schema
        batches = step_batches(self.uri, L2P(CONFIG).prepare, self.batches)
        return build_encoder(schema, self.encoder, 0).to(self.device), [batch.to(self.device) for batch in batches]


def losses_of(side: str, encoder: Encoder, batch: GraphBatch) -> Callable[[], Iterable[Tensor]]:
    """Return a function that computes the loss of a method in summands; work of a data loader is done before it is called."""
    if side == "loop":
        graphs = graphs_with_tasks(batch)
        return lambda: loop_losses(encoder, graphs, CONFIG)
    if side == "vmap":
        dense = densify(encoder, batch, CONFIG)
        return lambda: [vmap_step(encoder, dense, CONFIG)]
    if side == "batch_shared":
        return lambda: [batch_shared_step(encoder, batch, CONFIG)]
    if side == "plain_link":
        return lambda: [link_step(encoder, batch)]
    objective = L2P(CONFIG)
    return lambda: [objective.losses(encoder, batch, 0, 0).total]


def step(encoder: Encoder, losses: Callable[[], Iterable[Tensor]]) -> float:
    """Do one forward and backward pass; return the number of steps, 1."""
    encoder.zero_grad()
    for loss in losses():
        loss.backward()
    finish(encoder.device)
    return 1.0


def check_same_work(encoder: Encoder, batch: GraphBatch) -> None:
    """Raise AssertionError unless loop and vmap give the loss of the per-graph step."""
    expected, *others = (
        sum(float(part.detach()) for part in losses_of(side, encoder, batch)()) for side in GROUPS["layer"]
    )
    for total in others:
        torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-4)


def peak_of(setting: Setting, side: str) -> float:
    """Return the peak memory (MB) of a step on the batch with most nodes, after a warm-up step on its first graphs."""
    torch.set_num_threads(1)
    encoder, batches = setting.load()
    largest = max(batches, key=lambda batch: batch.num_nodes)
    first = slice_graphs(largest, 0, 4)
    step(encoder, losses_of(side, encoder, first))
    losses = losses_of(side, encoder, largest)
    return peak_mb(lambda: step(encoder, losses), setting.device)


def compared(setting: Setting, name: str, runs: int) -> Iterator[dict[str, Any]]:
    """Measure the step and the baselines that the norm of the setting supports."""
    encoder, batches = setting.load()
    names = GROUPS[setting.encoder.norm]
    if "loop" in names:
        check_same_work(encoder, batches[0])
    sides = []
    for side in names:
        losses = cycle([losses_of(side, encoder, batch) for batch in batches])
        sides.append(Side(side, lambda losses=losses: step(encoder, next(losses))))
    ms = {side: [1e3 * s for s in values] for side, values in measure(sides, runs).items()}
    case = case_name(name, setting.encoder)
    for baseline in names[1:]:
        yield line("l2p_step", case, "second-order per-graph step", "ms", ms["per_graph"], (baseline, ms[baseline]))
    yield line("l2p_step", case, "per-graph L2P", "graphs/s", [64e3 / t for t in ms["per_graph"]])


def memory_lines(setting: Setting, name: str) -> Iterator[dict[str, Any]]:
    """Measure the peak memory of the same methods."""
    names = GROUPS[setting.encoder.norm]
    measured = peak_of if torch.device(setting.device).type == "cuda" else lambda *words: apart(peak_of, *words)
    peaks = {side: [measured(setting, side)] for side in names}
    case = case_name(name, setting.encoder)
    for baseline in names[1:]:
        yield line("l2p_step", case, "peak memory of a step", "MB", peaks["per_graph"], (baseline, peaks[baseline]))


def case_name(data: str, encoder: EncoderConfig) -> str:
    """Return the name of a case."""
    return f"{data}, {encoder.kind} {encoder.layers}x{encoder.width}, {encoder.norm} norm"


def bench_l2p_step(options: Options) -> Iterator[dict[str, Any]]:
    """Measure all encoders on both corpora. With ``quick``: loop and vmap for the first encoder only, memory on molecules only."""
    torch.set_num_threads(os.cpu_count() or 1)
    base = EncoderConfig(layers=2, width=32) if options.quick else EncoderConfig()
    runs, count = (3, 2) if options.quick else (7, 4)
    with molecules(2048) as (case, uri), proteins() as other:
        for name, folder in [(case, uri), *([other] if other else [])]:
            for kind in KINDS:
                complete = kind == KINDS[0] or not options.quick
                for norm in list(GROUPS)[: 2 if complete else 1]:
                    setting = Setting(folder, replace(base, kind=kind, norm=norm), count, options.device)
                    yield from compared(setting, name, runs)
                    if not options.quick or (complete and name == case):
                        yield from memory_lines(setting, name)
