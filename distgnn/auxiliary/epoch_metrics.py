"""Metrics of multi-task training for the metrics sink: means over the steps of each epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from distgnn.auxiliary.step import StepRecord
from distgnn.monitor.sink import MetricsSink

_BY_TASK = {"distgnn_transfer_task_weight": "weights", "distgnn_transfer_gradient_cosine": "cosines"}


def record_epoch(sink: MetricsSink, names: Sequence[str], method: str, records: Sequence[StepRecord]) -> None:
    """Send the means of an epoch to the metrics sink; values that the method does not have are omitted.

    Args:
        sink: The metrics sink.
        names: Names of the K + 1 tasks, the target first.
        method: Name of the weighting method.
        records: Records of the steps.
    """
    sink.note("distgnn_transfer_steps_total", len(records), method=method)
    for name, field in _BY_TASK.items():
        for task, values in zip(names, zip(*(getattr(record, field) for record in records), strict=True), strict=True):
            _note_mean(sink, name, values, method=method, task=task)
    _note_mean(sink, "distgnn_transfer_meta_loss", [record.meta_loss for record in records], method=method)


def _note_mean(sink: MetricsSink, name: str, values: Sequence[float], **labels: str) -> None:
    known = [value for value in values if not math.isnan(value)]
    if known:
        sink.note(name, sum(known) / len(known), **labels)
