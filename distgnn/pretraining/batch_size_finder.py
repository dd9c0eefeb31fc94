"""Batch size finder: choose train.graphs_per_stream by timing training steps of doubling size.

On a GPU: the largest power of two whose step needs less than 80 % of the free memory. On a CPU, where memory is rarely the
limit: the size beyond which two doublings improve throughput by less than 5 % (at most 256).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle

import torch

from distgnn.checkpoint.training_state import TrainState, make_state
from distgnn.config import PretrainConfig
from distgnn.corpus.plan import Plan, UnitRef
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.stream import read_unit
from distgnn.distributed import ProcessGroup, choose_device
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch, concat_graphs, slice_graphs
from distgnn.pretraining.console import Display
from distgnn.pretraining.precision import matrix_products
from distgnn.pretraining.step import objective_of, outer_step

_MEMORY_SHARE = 0.8
_BETTER = 1.05
_MOST_ON_CPU = 256
_STEPS = 2
_SECONDS = 12.0


@dataclass(frozen=True)
class Trial:
    """Measurement of one step.

    Attributes:
        seconds: Duration.
        memory_share: Peak memory as a fraction of the free memory; 0 on a CPU.
    """

    seconds: float
    memory_share: float


def with_batch_size(config: PretrainConfig, reader: CorpusReader) -> PretrainConfig:
    """Return ``config`` with train.graphs_per_stream set; it is measured if it is 0. The result is saved with the run.

    Raises:
        RequestError: If ``config.workers`` is above 1 (they may train on other machines), or a step of one graph per stream
            does not fit in memory.
    """
    if config.train.graphs_per_stream:
        return config
    if config.workers > 1:
        raise RequestError(
            f"train.graphs_per_stream=0 measures this process, but workers={config.workers} train elsewhere; find the number"
            " with workers=1 on such a machine (--train.max-steps 1) and give it"
        )
    if config.objective == "none":
        return _sized(config, 1)
    device = choose_device(config.train.device)
    found = _search(config, reader, device)
    if not found:
        raise RequestError(
            f"a step of train.streams={config.train.streams} graphs does not fit {device}; lower train.streams or encoder.width"
        )
    why = "largest step below 80 % of the free memory" if device.type == "cuda" else "best throughput on this CPU"
    Display().say(f"train.graphs_per_stream={found} ({why})")
    return _sized(config, found)


def _sized(config: PretrainConfig, size: int) -> PretrainConfig:
    return replace(config, train=replace(config.train, graphs_per_stream=size))


def _search(config: PretrainConfig, reader: CorpusReader, device: torch.device) -> int:
    manifest, train = reader.manifest, config.train
    plan = Plan(manifest.graphs, manifest.unit_rows, train.streams, 1, train.seed)
    state = make_state(config, manifest.schema, device)
    state.encoder.train()
    longest = max(plan.stream_length(stream) for stream in range(plan.streams))
    prepare = objective_of(state).prepare
    graphs = _Graphs(read_unit(reader, plan, prepare, UnitRef(0, 0, unit)) for unit in cycle(range(manifest.units)))

    def trial(size: int) -> Trial | None:
        return _try(config, state, graphs.batch(plan, size).to(device), device)

    with matrix_products(train, device):
        if device.type == "cuda":
            return largest_that_fits(trial, longest)
        return fastest(trial, min(longest, _MOST_ON_CPU))


def largest_that_fits(trial: Callable[[int], Trial | None], most: int) -> int:
    """The largest power of two up to ``most`` whose step needs less than 80 % of the memory.

    Args:
        trial: Measures a step of a size; returns None if memory is exhausted.
        most: The largest size to try.

    Returns:
        The size; 0 if even one graph does not fit.
    """
    found = 0
    for size in _doubling(most):
        done = trial(size)
        if done is None or done.memory_share > _MEMORY_SHARE:
            break
        found = size
    return found


def fastest(trial: Callable[[int], Trial | None], most: int) -> int:
    """The power of two up to ``most`` beyond which two doublings improve throughput by less than 5 %, within a time limit.

    Args:
        trial: Measures a step of a size; returns None if memory is exhausted.
        most: The largest size to try.

    Returns:
        The size; 0 if even one graph does not fit.
    """
    found, best, started = 0, 0.0, time.perf_counter()
    for size in _doubling(most):
        done = trial(size)
        if done is None:
            break
        if size / done.seconds > _BETTER * best:
            found, best = size, size / done.seconds
        next_trial = 2 * (_STEPS + 1) * done.seconds
        if size >= 4 * found or time.perf_counter() - started + next_trial > _SECONDS:
            break
    return found


def _doubling(most: int) -> Iterator[int]:
    return (1 << power for power in range(most.bit_length()))


class _Graphs:
    """The first graphs of the corpus, read on demand."""

    def __init__(self, units: Iterator[GraphBatch]) -> None:
        self._units = units
        self._graphs = next(units)

    def batch(self, plan: Plan, size: int) -> GraphBatch:
        """A batch of ``size`` graphs per stream."""
        count = size * plan.streams
        while self._graphs.num_graphs < count:
            self._graphs = concat_graphs([self._graphs, next(self._units)])
        return replace(slice_graphs(self._graphs, 0, count), stream_ptr=torch.arange(0, count + 1, size))


def _try(config: PretrainConfig, state: TrainState, batch: GraphBatch, device: torch.device) -> Trial | None:
    """Measure the fastest of a few complete steps with learning rate 0; None if memory is exhausted."""
    seconds, group = float("inf"), ProcessGroup.single_process(device)
    free = _free_memory(device)
    try:
        for _ in range(_STEPS + 1):  # the first step is a warm-up
            start = time.perf_counter()
            outer_step(state, batch, config.train, group, epoch=0, lr=0.0)
            seconds = min(seconds, time.perf_counter() - start)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return None
    return Trial(seconds, torch.cuda.max_memory_allocated(device) / free if device.type == "cuda" else 0.0)


def _free_memory(device: torch.device) -> int:
    """Bytes available to this process on a GPU, including those it holds; resets the peak statistics. 1 on a CPU."""
    if device.type != "cuda":
        return 1
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
