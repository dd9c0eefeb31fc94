"""Parallel reading of corpus units through Ray Data, in the order of the plan."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import ray
import torch
from ray.data import Dataset, TaskPoolStrategy

from distgnn.corpus.payload import decode, encode
from distgnn.corpus.plan import Plan, UnitRef
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.stream import Prepare, read_unit
from distgnn.errors import RequestError, WorkError
from distgnn.graph.batch import GraphBatch
from distgnn.monitor.sink import NULL_SINK, MetricsSink
from distgnn.pretraining.metrics import StorageMetrics

_WINDOW = 20_000
_UNITS_PER_TASK = 8
_UNRESERVED_TASKS = 2
_BLOCK_BYTES = 8 << 20
_ERRORS: dict[str, type[Exception]] = {"RequestError": RequestError, "WorkError": WorkError}


@dataclass(frozen=True)
class _ReadUnits:
    """Function of the Ray Data tasks: returns one row per unit, with its data or the error of reading it."""

    reader: CorpusReader
    plan: Plan
    prepare: Prepare
    sink: MetricsSink

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        torch.set_num_threads(1)
        storage = StorageMetrics(self.sink)
        for row in rows.to_pylist():
            yield self._row(UnitRef(**row))
            storage.note()

    def _row(self, read: UnitRef) -> pa.Table:
        data, description, error, kind = b"", "", "", ""
        try:
            data, description = encode(read_unit(self.reader, self.plan, self.prepare, read))
        except (RequestError, WorkError) as failure:
            error, kind = str(failure), "RequestError" if isinstance(failure, RequestError) else "WorkError"
        columns = {"data": [data], "description": [description], "error": [error], "kind": [kind]}
        types = [("data", pa.large_binary())] + [(name, pa.string()) for name in ("description", "error", "kind")]
        return pa.table(columns, schema=pa.schema(types))


def ray_units(
    reader: CorpusReader,
    plan: Plan,
    prepare: Prepare,
    reads: Iterable[UnitRef],
    cpus: float = 1.0,
    sink: MetricsSink = NULL_SINK,
) -> Iterator[GraphBatch]:
    """Read units in order with Ray Data tasks ahead of the consumer; bitwise equal to ``local_units``. Ray must be running.

    Args:
        reader: Reader of the corpus.
        plan: The plan of the run.
        prepare: Transform of the objective.
        reads: The units.
        cpus: CPUs reserved by each task, which training must leave free. 0 reserves none, so that reading continues when
            training holds all CPUs; at most two tasks run at a time then.
        sink: Receives the storage errors of the tasks.

    Raises:
        RequestError: As raised by reading, at the position of the unit that caused it.
        WorkError: Likewise.
    """
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    pending = iter(reads)
    while window := list(islice(pending, _WINDOW)):
        blocks = -(-len(window) // _UNITS_PER_TASK)
        dataset = _dataset(window, blocks).map_batches(
            _ReadUnits(reader, plan, prepare, sink),
            batch_size=_UNITS_PER_TASK,
            batch_format="pyarrow",
            zero_copy_batch=True,
            num_cpus=cpus,
            compute=TaskPoolStrategy(None if cpus else min(_UNRESERVED_TASKS, blocks)),
        )
        for row in dataset.iter_rows():
            yield _unit(row)


def _dataset(window: list[UnitRef], blocks: int) -> Dataset:
    # from_arrow would run tasks that reserve one CPU each, which may never be free.
    dataset = ray.data.from_items([read._asdict() for read in window], override_num_blocks=blocks)
    context = dataset.context
    context.execution_options.preserve_order = True
    context.target_max_block_size = _BLOCK_BYTES
    context.enable_progress_bars = False
    return dataset


def _unit(row: dict[str, Any]) -> GraphBatch:
    if row["kind"]:
        raise _ERRORS[row["kind"]](row["error"])
    return decode(row["data"], row["description"])
