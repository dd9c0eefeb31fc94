"""Bench l2p_step: a second-order per-graph L2P step against other ways to take it, on ragged molecules and protein networks.

With ghost norm against one adaptation for the whole batch (batch_shared, the released code) and plain link prediction
(plain_link). With layer norm, the only one a graph can have on its own, against a loop over graphs (loop) and torch.func.vmap
over padded graphs (vmap); both are checked to give the same loss first. Reading and padding lie outside the clock.
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
from .throughput import throughput_lines
from .vmap import vmap_step

CONFIG = L2PConfig()
KINDS: tuple[Any, ...] = ("gin", "gcn", "sage", "gat")
GROUPS: dict[Any, tuple[str, ...]] = {
    "ghost": ("per_graph", "batch_shared", "plain_link"),
    "layer": ("per_graph", "loop", "vmap"),
}


@dataclass(frozen=True)
class Setting:
    """uri: of the corpus. encoder: what is trained. batches: how many different ones of 64 graphs. device: where."""

    uri: str
    encoder: EncoderConfig
    batches: int
    device: str

    def load(self) -> tuple[Encoder, list[GraphBatch]]:
        """The encoder, and the batches with their tasks, on the device."""
        schema = read_manifest(open_folder(self.uri)).schema
        batches = step_batches(self.uri, L2P(CONFIG).prepare, self.batches)
        return build_encoder(schema, self.encoder, 0).to(self.device), [batch.to(self.device) for batch in batches]


def losses_of(side: str, encoder: Encoder, batch: GraphBatch) -> Callable[[], Iterable[Tensor]]:
    """A side's loss of ``batch``, in parts that add up; what a loader would do is done before it returns."""
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
    """One forward and backward; returns 1, the steps it did."""
    encoder.zero_grad()
    for loss in losses():
        loss.backward()
    finish(encoder.device)
    return 1.0


def check_same_work(encoder: Encoder, batch: GraphBatch) -> None:
    """Raise AssertionError unless loop and vmap give the loss of the per-graph step."""
    ours, *others = (
        sum(float(part.detach()) for part in losses_of(side, encoder, batch)()) for side in GROUPS["layer"]
    )
    for total in others:
        torch.testing.assert_close(total, ours, rtol=1e-4, atol=1e-4)


def peak_of(setting: Setting, side: str) -> float:
    """Peak memory (MB) of a side's step on the batch with most nodes, after a step on its first graphs that loads libraries."""
    torch.set_num_threads(1)  # speed does not matter here
    encoder, batches = setting.load()
    largest = max(batches, key=lambda batch: batch.num_nodes)
    first = slice_graphs(largest, 0, 4)
    step(encoder, losses_of(side, encoder, first))
    losses = losses_of(side, encoder, largest)
    return peak_mb(lambda: step(encoder, losses), setting.device)


def compared(setting: Setting, name: str, runs: int) -> Iterator[dict[str, Any]]:
    """Times of the sides that the setting's norm allows."""
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
    """Peak memory of the same sides."""
    names = GROUPS[setting.encoder.norm]
    ask = peak_of if torch.device(setting.device).type == "cuda" else lambda *words: apart(peak_of, *words)
    peaks = {side: [ask(setting, side)] for side in names}
    case = case_name(name, setting.encoder)
    for baseline in names[1:]:
        yield line("l2p_step", case, "peak memory of a step", "MB", peaks["per_graph"], (baseline, peaks[baseline]))


def case_name(data: str, encoder: EncoderConfig) -> str:
    """What a line is about."""
    return f"{data}, {encoder.kind} {encoder.layers}x{encoder.width}, {encoder.norm} norm"


def bench_l2p_step(options: Options) -> Iterator[dict[str, Any]]:
    """Every encoder on both kinds of graphs; when quick, loop and vmap for the first encoder only, and memory on molecules."""
    torch.set_num_threads(os.cpu_count() or 1)
    base = EncoderConfig(layers=2, width=32) if options.quick else EncoderConfig()
    runs, count = (3, 2) if options.quick else (7, 4)
    with molecules(2048) as (made, uri), proteins() as other:
        for name, folder in [(made, uri), *([other] if other else [])]:
            for kind in KINDS:
                whole = kind == KINDS[0] or not options.quick
                for norm in list(GROUPS)[: 2 if whole else 1]:
                    setting = Setting(folder, replace(base, kind=kind, norm=norm), count, options.device)
                    yield from compared(setting, name, runs)
                    if not options.quick or (whole and name == made):
                        yield from memory_lines(setting, name)
        if torch.device(options.device).type == "cuda":
            yield from throughput_lines(uri, made, EncoderConfig(), options.device, (64, 256, 1024, 4096))
