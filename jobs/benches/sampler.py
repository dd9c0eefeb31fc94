"""Benchmark sampler: keyed sampling on arrays against a per-node sampler on Python dictionaries, and costs of large networks."""

from __future__ import annotations

import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from distgnn.graph.keyed import below, draw, key
from distgnn.network.csr import Edges, both_ways, with_messages
from distgnn.network.manifest import NetworkManifest
from distgnn.network.network import Network, Relation
from distgnn.network.sample import sample_block
from distgnn.network.sources.kgrec import KgrecConfig, build_kgrec
from distgnn.network.sources.synthetic import SyntheticNetworkConfig, build_synthetic
from distgnn.network.store import load_network, save_network

from .data import data_root
from .measure import Options, Side, line, measure

_HOPS, _FAN_OUT, _SEEDS = 2, 10, 1024
_REAL = {"last-fm": ("kgrec/last-fm", "htr"), "book-crossing": ("kgrec/book-crossing-full", "hrt")}
Messages = list[tuple[int, int]]
Adjacency = dict[int, Messages]
Draw = Callable[[Messages, int], Messages]
Draws = Callable[[int], Draw]


def _numpy_choice(seed: int) -> Draw:
    state = np.random.RandomState(seed)
    return lambda messages, count: [messages[i] for i in state.choice(len(messages), count, replace=False)]


DRAWS: dict[str, Draws] = {
    "python_dictionaries": lambda seed: random.Random(seed).sample,
    "numpy_choice": _numpy_choice,
}
"""Functions that sample messages of a node without replacement, by name; each is created from a seed."""


def bench_sampler(options: Options) -> Iterator[dict[str, Any]]:
    """Measure sampling around 1,024 seeds per call, 2 hops, 10 messages per node, and building of synthetic networks."""
    runs = 3 if options.quick else 9
    for name, network in real_networks():
        yield from sampling_lines(name, network, runs)
    for nodes, edges in ((100_000, 1_000_000), *(() if options.quick else ((10_000_000, 50_000_000),))):
        case = f"synthetic, {nodes:,} nodes"
        with tempfile.TemporaryDirectory() as folder:
            yield from size_lines(case, SyntheticNetworkConfig(out=folder, nodes=nodes, edges=edges))
            yield from sampling_lines(case, load_network(folder), runs, dictionaries=nodes <= 1_000_000)


def real_networks() -> Iterator[tuple[str, Network]]:
    """Yield Last-FM and Book-Crossing with all positive ratings, if DISTGNN_DATA has them."""
    for name, (folder, columns) in _REAL.items():
        path = data_root() / folder
        if path.exists():
            network = build_kgrec(KgrecConfig(input=str(path), out="", name=name, columns=columns))  # pyright: ignore[reportArgumentType]
            keep = np.flatnonzero(network.tables["rating.label"])
            user, item = (network.tables[f"rating.{end}"][keep] for end in ("user", "item"))
            yield name, with_messages(network, *both_ways(Edges(Relation("rated", "user", "item"), user, item)))


def size_lines(case: str, config: SyntheticNetworkConfig) -> Iterator[dict[str, Any]]:
    """Measure time to sample, build and store a network, bytes per message, and the peak memory of the process."""
    start = time.perf_counter()
    manifest: NetworkManifest = save_network(build_synthetic(config), config.out)
    seconds = time.perf_counter() - start
    messages = manifest.arrays["source"].shape[0]
    size = sum(file.stat().st_size for file in Path(config.out).rglob("*.npy"))
    case = f"{case}, {messages:,} messages"
    yield line("sampler", case, "sampled, built and stored", "s", [seconds])
    yield line("sampler", case, "stored", "bytes/message", [size / messages])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    yield line("sampler", case, "peak memory of the process so far", "GB", [peak])


def sampling_lines(case: str, network: Network, runs: int, dictionaries: bool = True) -> Iterator[dict[str, Any]]:
    """Measure seeds per second of sampling on arrays and on dictionaries, interleaved, on the same seeds.

    python_dictionaries samples with random.sample; numpy_choice with one NumPy call per node, as in GPT-GNN.

    Args:
        case: Name of the case.
        network: The network.
        runs: Number of runs.
        dictionaries: Whether to measure dictionaries, which need much memory.
    """
    sides = [Side("arrays", Calls(network).arrays)]
    if dictionaries:
        adjacency = as_dictionaries(network)
        sides += [Side(name, Calls(network, adjacency, draws).dictionaries) for name, draws in DRAWS.items()]
    seconds = measure(sides, runs)
    rates = {name: [1 / each for each in samples] for name, samples in seconds.items()}
    baselines = [(name, rates[name]) for name in DRAWS] if dictionaries else [None]
    for against in baselines:
        yield line("sampler", case, "blocks, 1,024 seeds a call", "seeds/s", rates["arrays"], against)


class Calls:
    """Sampling calls with new seeds each time, the same for all sides. Each call returns its number of seeds.

    Seeds are nodes that receive messages.
    """

    def __init__(self, network: Network, adjacency: Adjacency | None = None, draws: Draws | None = None) -> None:
        self.network, self.adjacency, self.draws, self.number = (
            network,
            adjacency or {},
            draws or DRAWS["numpy_choice"],
            0,
        )
        self.nodes = np.flatnonzero(np.diff(network.indptr))

    def _seeds(self) -> np.ndarray:
        self.number += 1
        return self.nodes[below(draw(key(self.number), np.arange(_SEEDS)), np.full(_SEEDS, len(self.nodes)))]

    def arrays(self) -> float:
        """Sample a block on arrays."""
        sample_block(self.network, self._seeds(), _HOPS, _FAN_OUT, self.number)
        return _SEEDS

    def dictionaries(self) -> float:
        """Sample a block on dictionaries, node by node."""
        dictionary_block(self.adjacency, self._seeds().tolist(), _HOPS, _FAN_OUT, self.draws(self.number))
        return _SEEDS


def as_dictionaries(network: Network) -> Adjacency:
    """Return the messages that each node receives, as lists of (relation, source)."""
    source = network.source.tolist()
    relation = network.relation.tolist() or [0] * len(source)
    pointer = network.indptr.tolist()
    messages = list(zip(relation, source, strict=True))
    return {node: messages[pointer[node] : pointer[node + 1]] for node in range(network.num_nodes)}


def dictionary_block(
    adjacency: Adjacency, seeds: list[int], hops: int, fan_out: int, sample: Draw
) -> tuple[np.ndarray, np.ndarray]:
    """Sample node by node.

    Args:
        adjacency: Messages of each node.
        seeds: Nodes to start from.
        hops: Number of hops.
        fan_out: Maximum number of messages per node.
        sample: Samples messages of a node.

    Returns:
        The nodes, and messages [3, m]: positions of source and target in the nodes, and relation.
    """
    place = {node: number for number, node in enumerate(dict.fromkeys(seeds))}
    frontier, found = list(place), []
    for _ in range(hops):
        following = []
        for node in frontier:
            messages = adjacency[node]
            for relation, source in sample(messages, fan_out) if len(messages) > fan_out else messages:
                if source not in place:
                    place[source] = len(place)
                    following.append(source)
                found.append((place[source], place[node], relation))
        frontier = following
    return np.array(list(place)), np.array(found).T
