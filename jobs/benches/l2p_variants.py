"""Benchmark l2p_variants: the cost of a step under the options of L2P, against the same loss without inner steps (s=t=0).

Besides its time, each variant has the cosine of its outer gradient with the one of order 2 where all layers of psi adapt, and
with the one of order 2 where the same layers adapt. All variants run interleaved in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from statistics import median
from typing import Any

import torch
from torch import Tensor

from distgnn.config import EncoderConfig
from distgnn.corpus.manifest import read_manifest
from distgnn.graph.batch import GraphBatch
from distgnn.models.encoder import Encoder, build_encoder
from distgnn.models.norm import statistics
from distgnn.objectives.l2p.objective import L2P, L2PConfig
from distgnn.storage.folder import open_folder

from .data import molecules, proteins, step_batches
from .measure import Options, Side, finish, line, measure

JOINT = L2PConfig(node_steps=0, graph_steps=0)
EXACT = L2PConfig(adapted_layers=0)
VARIANTS: dict[str, L2PConfig] = {
    "paper, order 2": L2PConfig.paper(),
    "paper, order 1": L2PConfig.paper(order=1),
    "all layers, order 2": EXACT,
    "all layers, order 1": replace(EXACT, order=1),
    "last 2 layers, order 2": L2PConfig(adapted_layers=2),
    "last 2 layers, order 1": L2PConfig(adapted_layers=2, order=1),
    "last layer, order 2 (default)": L2PConfig(),
    "last layer, order 1": L2PConfig(order=1),
}
SIZES = ((3, 64), (5, 300))
_TRAINED = 30


def _step(encoder: Encoder, config: L2PConfig, batch: GraphBatch) -> float:
    encoder.zero_grad()
    L2P(config).losses(encoder, batch, 0, 0).total.backward()
    finish(encoder.device)
    return 1.0


def _work(encoder: Encoder, config: L2PConfig, batches: list[GraphBatch]) -> Callable[[], float]:
    order = cycle(batches)
    return lambda: _step(encoder, config, next(order))


def gradient(encoder: Encoder, config: L2PConfig, batch: GraphBatch) -> Tensor:
    """Return the flat outer gradient."""
    total = L2P(config).losses(encoder, batch, 0, 0).total
    return torch.cat(
        [grad.flatten() for grad in torch.autograd.grad(total, list(encoder.parameters()), materialize_grads=True)]
    )


def cosines(encoder: Encoder, batches: list[GraphBatch], **reference: Any) -> dict[str, list[float]]:
    """Return for each variant and batch the cosine with the gradient under the changed options ``reference``."""
    found: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for batch in batches:
        known: dict[L2PConfig, Tensor] = {}
        for name, config in VARIANTS.items():
            other = replace(config, **reference)
            known |= {each: gradient(encoder, each, batch) for each in (config, other) if each not in known}
            found[name].append(float(torch.cosine_similarity(known[config], known[other], dim=0)))
    return found


def _train(encoder: Encoder, batches: list[GraphBatch]) -> None:
    """Take steps with the default options, so that cosines are those of training and not of the initial weights alone."""
    optimiser = torch.optim.Adam(encoder.parameters(), lr=1e-3)
    for batch in batches:
        _step(encoder, L2PConfig(), batch)
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), float(batch.num_graphs))
        optimiser.step()
        statistics(encoder)


def lines(uri: str, case: str, config: EncoderConfig, options: Options, runs: int) -> Iterator[dict[str, Any]]:
    """Measure all variants on one corpus."""
    schema = read_manifest(open_folder(uri)).schema
    encoder = build_encoder(schema, config, 0).to(options.device)
    count = 4 if options.quick else _TRAINED
    batches = [batch.to(options.device) for batch in step_batches(uri, L2P(JOINT).prepare, count)]
    few = batches[: 1 if options.quick else 4]
    angles = {}
    for when in ("initial weights", f"after {count} steps"):
        angles[f"cosine with order 2 of all layers, {when}"] = cosines(encoder, few[:2], order=2, adapted_layers=0)
        angles[f"cosine with order 2 of the same layers, {when}"] = cosines(encoder, few[:2], order=2)
        if when == "initial weights":
            _train(encoder, batches)
    sides = [Side(name, _work(encoder, variant, few)) for name, variant in {"s=t=0": JOINT, **VARIANTS}.items()]
    ms = {side: [1e3 * second for second in values] for side, values in measure(sides, runs).items()}
    place = f"{case}, {config.kind} {config.layers}x{config.width}"
    for name in VARIANTS:
        yield line("l2p_variants", f"{place}, {name}", "step", "ms", ms[name], ("s=t=0", ms["s=t=0"])) | {
            "paired_ratio": median(a / b for a, b in zip(ms[name], ms["s=t=0"], strict=True))
        }
        for metric, found in angles.items():
            yield line("l2p_variants", f"{place}, {name}", metric, "", found[name])


def bench_l2p_variants(options: Options) -> Iterator[dict[str, Any]]:
    """Measure the variants at both sizes on molecules, and at the smaller one on proteins."""
    torch.set_num_threads(1)
    runs = 3 if options.quick else 9
    with molecules(2048) as (case, uri), proteins() as other:
        for layers, width in SIZES[: 1 if options.quick else 2]:
            yield from lines(uri, case, EncoderConfig(layers=layers, width=width), options, runs)
        if other and not options.quick:
            yield from lines(other[1], other[0], EncoderConfig(layers=3, width=64), options, runs)
