"""Reading of corpus units by Ray Data: one dataset for all ranks, in the order of the plan.

The steps of a run are divided into rounds of a fixed number of steps. A block of the dataset is one row: the units that one rank
needs first in one round. Blocks are numbered round by round and rank by rank, so splitting the ordered stream into as many parts
as there are ranks gives each rank its own. Ray documents no order of a split, so every rank compares what it gets with the plan.

A task computes its units from the number of its block. Numbers come from another task that yields them one by one, so nothing is
put into the object store for units that are far ahead.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
import ray
import torch
from ray.data import DataIterator, Dataset, ExecutionOptions, ExecutionResources

from distgnn.checkpoint.format import newest, step_of
from distgnn.corpus.manifest import Manifest
from distgnn.corpus.payload import decode, encode
from distgnn.corpus.plan import Plan, RankReads, UnitRef
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.stream import Prepare, read_unit, threaded_units
from distgnn.errors import RequestError, WorkError
from distgnn.graph.batch import GraphBatch
from distgnn.monitor.sink import NULL_SINK, MetricsSink
from distgnn.pretraining.metrics import StorageMetrics
from distgnn.scale.train.datasets import Numbers, ReadBlock, one_row, window_name, window_number
from distgnn.scale.train.placement import HEAD
from distgnn.storage.folder import open_folder

_UNITS_PER_BLOCK, _UNITS_AHEAD, _UNITS_PER_WINDOW = 8, 16, 100_000
_ROUNDS_BY_RANK = 2
"""Rounds of a start that a rank reads itself, in which Ray Data starts its tasks."""
_PATIENCE_SECONDS, _WAITS = 2.0, 32
"""Least seconds that a rank waits for a block, and the number of Ray Data's last intervals from which it takes more."""
_CLOSE_SECONDS = 5.0
"""Longest wait for the thread that receives blocks, when a rank ends. Where the readers are lost, Ray does not let it go."""
_LATE_ROUNDS = 3
"""Late blocks in a row after which a rank waits for none until Ray Data has caught up."""
READING_CPUS = 1.0
"""CPUs that a task of Ray Data reserves."""
_ERRORS: dict[str, type[Exception]] = {"RequestError": RequestError, "WorkError": WorkError}
_SCHEMA = pa.schema([
    ("round", pa.int64()), ("unit", pa.list_(pa.int64())), ("data", pa.list_(pa.large_binary())),
    ("description", pa.list_(pa.string())), ("error", pa.string()), ("kind", pa.string()),
])  # fmt: skip


@dataclass(frozen=True)
class Rounds:
    """Division of the steps of a run into rounds, for a number of ranks.

    Attributes:
        plan: The plan of the run.
        total: Number of its steps.
        world_size: Number of ranks.
    """

    plan: Plan
    total: int
    world_size: int

    @property
    def steps(self) -> int:
        """Steps of a round, in which the largest rank starts about eight units."""
        streams = -(-self.plan.streams // self.world_size)
        return max(1, self.plan.unit_rows * max(1, _UNITS_PER_BLOCK // streams) // self.plan.per_stream)

    def reads(self, number: int, rank: int) -> Iterator[UnitRef]:
        """Units that ``rank`` needs first in a round."""
        first = number * self.steps
        stop = min(first + self.steps, self.total)
        return self.plan.reads(first, stop, rank, self.world_size, continued=first > 0)

    def of_window(self, window: int, first: int) -> range:
        """Rounds of a window that begin at step ``first`` or later."""
        size = window_steps(self.plan)
        low, high = max(window * size, first), min((window + 1) * size, self.total)
        return range(-(-low // self.steps), -(-high // self.steps))


def window_steps(plan: Plan) -> int:
    """Steps of a window, the part of a run that is one execution of Ray Data."""
    return max(1, _UNITS_PER_WINDOW * plan.unit_rows // (plan.streams * plan.per_stream))


@dataclass(frozen=True)
class UnitSource:
    """What the tasks of a run read, and how.

    Attributes:
        run: URI of the run's folder; a group of workers starts from its newest checkpoint.
        reader: Reader of the corpus.
        plan: The plan.
        prepare: Transform of the objective.
        total: Number of steps.
        sink: Receives the storage errors of the tasks.
        cpus: CPUs that each task reserves.
    """

    run: str
    reader: CorpusReader
    plan: Plan
    prepare: Prepare
    total: int
    sink: MetricsSink = NULL_SINK
    cpus: float = 1.0

    def datasets(self) -> dict[str, Callable[[], Dataset]]:
        """Datasets of the windows, for Ray Train; ``UnitConfig`` completes those that are used."""
        return {window_name(window): one_row for window in range(-(-self.total // window_steps(self.plan)))}


def split_window(name: str, dataset: Dataset, source: UnitSource, world_size: int) -> list[DataIterator]:
    """Return each rank's part of the dataset of a window, with bounded read-ahead."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rounds = Rounds(source.plan, source.total, world_size)
    place: dict[str, Any] = {"label_selector": _off_the_head()}
    found = newest(open_folder(source.run))
    first = handover(rounds, step_of(found) if found else 0)
    window = rounds.of_window(window_number(name), first)
    numbers = dataset.map_batches(Numbers(window, world_size), batch_format="pyarrow", num_cpus=0, **place)
    reader, digest = source.reader, source.reader.manifest.digest()
    read = ray.put(BlockReader(rounds, reader.uri, reader.with_labels, digest, source.prepare, source.sink))
    dataset = numbers.map_batches(ReadBlock(read), batch_size=1, batch_format="pyarrow", num_cpus=source.cpus, **place)
    context = dataset.context
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # each row is a block
    context.execution_no_progress_timeout_s = -1  # a rank may pause: a validation, a debugger
    ahead = world_size * _UNITS_AHEAD * _unit_bytes(reader.manifest)
    limits = ExecutionResources.for_limits(object_store_memory=2 * ahead)  # Ray gives a stage half of it
    context.execution_options = ExecutionOptions(preserve_order=True, resource_limits=limits)
    return dataset.streaming_split(world_size, equal=False)


def _unit_bytes(manifest: Manifest) -> int:
    """Estimate of the bytes of a unit with extras: ids and features of nodes and edges, and as much again for the extras."""
    schema = manifest.schema
    nodes, edges = (sum(getattr(shard, name) for shard in manifest.shards) for name in ("nodes", "edges"))
    widths = [sum(f.size * 4 if f.kind == "dense" else 1 for f in part) for part in (schema.node, schema.edge)]
    values = nodes * (1 + widths[0]) + edges * (4 + widths[1])
    return 2 * values * manifest.unit_rows // max(manifest.graphs, 1) + 256 * manifest.unit_rows


def _off_the_head() -> dict[str, str] | None:
    """Selector that keeps tasks off the head, and off nodes without CPUs (such as one for drivers), if there are others.

    The head runs the control plane, and zero CPUs keep no task off a node.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    kept = [node["NodeID"] for node in nodes if HEAD in node["Resources"] or not node["Resources"].get("CPU")]
    return {"ray.io/node-id": f"!in({', '.join(kept)})"} if 0 < len(kept) < len(nodes) else None


def spare_cpus(workers: int, each: float) -> float:
    """CPUs that ``workers`` of ``each`` CPUs leave for reading, on nodes other than the head if there are others."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    others = [resources for resources in nodes if HEAD not in resources] or nodes
    return sum(resources.get("CPU", 0.0) for resources in others) - workers * each


@lru_cache(maxsize=2)
def _reader(uri: str, labels: bool, digest: str) -> CorpusReader:
    """The reader of this process, which keeps footers between tasks."""
    torch.set_num_threads(1)
    reader = CorpusReader(uri, labels)
    if reader.manifest.digest() != digest:
        raise RequestError(f"{uri}: the corpus has changed since the run started; restore it or start a new run")
    return reader


@dataclass(frozen=True)
class BlockReader:
    """Reads the units of a block, up to the first error, which takes its place in the row."""

    rounds: Rounds
    uri: str
    labels: bool
    digest: str
    prepare: Prepare
    sink: MetricsSink

    def __call__(self, blocks: pa.Table) -> pa.Table:
        """Return the units of the one block in ``blocks``."""
        (block,) = blocks.to_pylist()
        units, data, descriptions, error, kind = [], [], [], "", ""
        storage = StorageMetrics(self.sink)
        try:
            reader = _reader(self.uri, self.labels, self.digest)
            for read in self.rounds.reads(block["round"], block["rank"]):
                units.append(read.unit)
                unit, description = encode(read_unit(reader, self.rounds.plan, self.prepare, read))
                data.append(unit)
                descriptions.append(description)
        except (RequestError, WorkError) as failure:
            error, kind = str(failure), "RequestError" if isinstance(failure, RequestError) else "WorkError"
        storage.note()
        row = [block["round"], units, data, descriptions, error, kind]
        return pa.table([[value] for value in row], schema=_SCHEMA)


class _Arrivals:
    """Blocks of a rank, received by a thread, which waits until the one before has been taken.

    It drops blocks that the rank has read itself, so that Ray Data catches up with a rank that is ahead of it.
    """

    def __init__(self, source: Iterator[DataIterator]) -> None:
        self._changed = threading.Condition()
        self._next: dict[str, Any] | BaseException | None = None
        self._waits = deque[float](maxlen=_WAITS)
        self._wanted, self._closed = 0, False
        self._source = source
        self._thread = threading.Thread(target=self._receive, name="distgnn-arrivals", daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        last: BaseException = EOFError("it ended")
        try:
            for part in self._source:
                if self._closed:
                    return
                whole: Any = None  # each block is a batch
                batches: Iterable[Any] = part.iter_batches(batch_size=whole, batch_format="pyarrow", prefetch_batches=0)
                for table in self._timed(batches):
                    for row in table.to_pylist():
                        self._put(row)
                    if self._closed:
                        return
        except (Exception, SystemExit) as error:  # noqa: BLE001 - raised where the block was due; Ray exits when it is shut down
            last = error
        self._put(last)

    def _timed(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Note how long each batch is waited for. The time until the rank takes it does not count."""
        asked = time.monotonic()
        for batch in batches:
            with self._changed:
                self._waits.append(time.monotonic() - asked)
            yield batch
            asked = time.monotonic()

    def _patience(self) -> float:
        """Seconds that a block may take: twice the longest interval of the last ones, an outlier left out where there are enough.

        The longest, since tasks that end together give their blocks together, and none until the next ones end.
        """
        waits = sorted(self._waits)
        longest = waits[-1 - len(waits) // _WAITS] if waits else 0.0
        return max(_PATIENCE_SECONDS, 2 * longest)

    def _put(self, item: dict[str, Any] | BaseException) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._due(self._next) or not self._due(item))
            if self._due(item):
                self._next = item
                self._changed.notify_all()

    def _due(self, item: dict[str, Any] | BaseException | None) -> bool:
        return item["round"] >= self._wanted if isinstance(item, dict) else item is not None

    def take(self, number: int, wait: bool) -> dict[str, Any] | None:
        """Block of round ``number``; None if it has not arrived, with ``wait`` in due time. Earlier ones are dropped."""
        with self._changed:
            self._want(number)
            self._changed.wait_for(lambda: self._due(self._next), self._patience() if wait else 0)
            block = self._next if self._due(self._next) else None
            if isinstance(block, BaseException):
                reason = " ".join(str(block).split())[:200]
                raise WorkError(f"reading with Ray Data failed ({reason}); resume with --reading rank") from block
            self._want(number + 1)
        return block if block and block["round"] == number else None

    def _want(self, number: int) -> None:
        self._wanted = number
        self._changed.notify_all()

    def close(self) -> None:
        """End the thread, which leaves Ray with its next block: a call of Ray that outlives the interpreter crashes."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(_CLOSE_SECONDS)


def ray_units(
    reader: CorpusReader,
    plan: Plan,
    prepare: Prepare,
    reads: RankReads,
    window: Callable[[str], DataIterator],
    sink: MetricsSink = NULL_SINK,
) -> Iterator[GraphBatch]:
    """Read the units of ``reads`` in order, bitwise equal to those of ``local_units``.

    The rank reads the first rounds itself, and further ones until Ray Data has caught up. So it does when a block is late: by
    more than the intervals of the blocks before explain, as when the node of the reading tasks is lost.

    Args:
        reader: Reader of the corpus.
        plan: The plan of the run.
        prepare: Transform of the objective.
        reads: The units, up to the last step of the run.
        window: Returns this rank's part of the dataset of that name.
        sink: Counts the rounds that the rank reads itself because they are late.

    Raises:
        RequestError: As raised by reading, at the position of the unit that caused it.
        WorkError: Likewise, or if units arrive in another order than that of the plan.
    """
    rounds = Rounds(plan, reads.stop, reads.world_size)
    current, stop = reads.start // rounds.steps, -(-reads.stop // rounds.steps)
    size = window_steps(plan)
    windows = range(handover(rounds, reads.start) // size, -(-reads.stop // size))
    arrivals, late = _Arrivals(window(window_name(number)) for number in windows), _LATE_ROUNDS
    try:
        first = plan.reads(reads.start, min((current + 1) * rounds.steps, reads.stop), reads.rank, reads.world_size)
        yield from threaded_units(reader, plan, prepare, first)
        for number in range(current + 1, stop):
            block = arrivals.take(number, wait=late < _LATE_ROUNDS)
            late = 0 if block else late + 1
            if block is None:
                if number >= current + _ROUNDS_BY_RANK:
                    _note_late(sink, late)
                yield from threaded_units(reader, plan, prepare, rounds.reads(number, reads.rank))
            else:
                yield from _units(block, rounds, reads.rank)
    finally:
        arrivals.close()


def _note_late(sink: MetricsSink, late: int) -> None:
    """Count a late round, and warn (once a process, as warnings are by default) when a rank no longer waits for Ray Data."""
    sink.note("distgnn_late_rounds_total", 1)
    if late == _LATE_ROUNDS:
        text = "Ray Data is late: this rank reads its units itself until Ray Data has caught up; is a node lost, or storage slow?"
        warnings.warn(text, RuntimeWarning, stacklevel=2)


def handover(rounds: Rounds, first: int) -> int:
    """First step of the first round that Ray Data reads for a group that starts from step ``first``."""
    return (first // rounds.steps + _ROUNDS_BY_RANK) * rounds.steps


def _units(block: dict[str, Any], rounds: Rounds, rank: int) -> Iterator[GraphBatch]:
    expected = [read.unit for read in rounds.reads(block["round"], rank)]
    if block["unit"] != expected[: len(block["unit"])] or (not block["kind"] and block["unit"] != expected):
        raise WorkError(
            f"round {block['round']}: Ray Data gave rank {rank} of {rounds.world_size} the units {block['unit'][:4]} where the plan"
            f" has {expected[:4]}; resume with --reading rank and report this"
        )
    for data, description in zip(block["data"], block["description"], strict=True):
        yield decode(data, description)
    if block["kind"]:
        raise _ERRORS[block["kind"]](block["error"])
