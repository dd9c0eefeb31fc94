"""Table of all metrics (names, kinds, units), and the interface that records their values.

Standard library only, so every package may import it. The sink is chosen at the start of a command: prometheus_client
(:mod:`distgnn.monitor.prometheus`), Ray's metrics (:mod:`distgnn.scale.metrics`), or :data:`NULL_SINK`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name: Name in Prometheus, ending in the unit; Ray prepends "ray_".
        kind: Kind of the metric.
        help: Description.
        labels: Labels besides "run", which every metric has.
        buckets: Upper bounds of a histogram, in the unit.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_STEP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LONG_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)

_TABLE = (
    Metric("distgnn_train_graphs_total", "counter", "Graphs trained on, over all ranks."),
    Metric("distgnn_train_steps_total", "counter", "Outer steps done."),
    Metric("distgnn_train_skipped_steps_total", "counter", "Steps that were not finite and not applied."),
    Metric(
        "distgnn_train_step_seconds",
        "histogram",
        "Seconds a step computes, its communication included and waiting for data not.",
        buckets=_STEP_SECONDS,
    ),
    Metric("distgnn_train_data_wait_seconds_total", "counter", "Seconds each rank waited for data."),
    Metric(
        "distgnn_train_loss",
        "gauge",
        "Mean loss of the last interval: outer = what is trained, inner = the support loss that adaptation starts from.",
        ("loop",),
    ),
    Metric("distgnn_train_validation_loss", "gauge", "Loss of the last validation."),
    Metric("distgnn_train_adaptation_gain", "gauge", "By how much adapting to a graph lowers its loss."),
    Metric("distgnn_train_learning_rate", "gauge", "Learning rate of Adam."),
    Metric("distgnn_train_progress_ratio", "gauge", "Steps done over steps planned."),
    Metric("distgnn_world_size", "gauge", "Ranks that train."),
    Metric("distgnn_restarts_total", "counter", "Restarts of the ranks from a checkpoint."),
    Metric("distgnn_lost_steps_total", "counter", "Steps made again after restarts from a checkpoint."),
    Metric(
        "distgnn_train_reduce_seconds_total",
        "counter",
        "Seconds each rank spent in the all-reduce, most of it waiting for slower ranks.",
    ),
    Metric(
        "distgnn_late_rounds_total",
        "counter",
        "Rounds (some units) that ranks read themselves because Ray Data was late, also while it catches up after a start.",
    ),
    Metric("distgnn_storage_errors_total", "counter", "Failed storage requests, those tried again included."),
    Metric("distgnn_gpu_memory_bytes", "gauge", "Peak GPU memory of a rank; 0 without a GPU."),
    Metric("distgnn_host_memory_bytes", "gauge", "Peak resident memory of a rank."),
    Metric("distgnn_checkpoint_seconds", "histogram", "Seconds to write a checkpoint.", buckets=_LONG_SECONDS),
    Metric(
        "distgnn_checkpoint_stall_seconds",
        "histogram",
        "Seconds a checkpoint holds up training.",
        buckets=_LONG_SECONDS,
    ),
    Metric("distgnn_checkpoint_bytes", "gauge", "Size of the last checkpoint."),
    Metric("distgnn_transfer_steps_total", "counter", "Joint steps done.", ("method",)),
    Metric("distgnn_transfer_task_weight", "gauge", "Weight of a task in the loss.", ("method", "task")),
    Metric(
        "distgnn_transfer_gradient_cosine",
        "gauge",
        "Cosine of a task's gradient with the target's.",
        ("method", "task"),
    ),
    Metric("distgnn_transfer_meta_loss", "gauge", "Target loss after the look-ahead.", ("method",)),
    Metric("distgnn_jobs_total", "counter", "Jobs of a comparison that are done.", ("command",)),
    Metric(
        "distgnn_build_graphs_total", "counter", "Graphs in the corpus, those of a build that is continued included."
    ),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _TABLE}
"""All metrics by name."""


class MetricsSink(Protocol):
    """Receives the values of metrics. A call is cheap enough for every step (below 0.1 ms)."""

    def note(self, name: str, value: float, **labels: str) -> None:
        """Record a value.

        Args:
            name: Key of :data:`METRICS`.
            value: Increment of a counter, value of a gauge, or observation of a histogram. An increment of 0 creates the
                counter's series, so that an alert on its increase sees the first event.
            labels: Values of the metric's labels.
        """
        ...


class NullSink:
    """Metrics sink that discards everything."""

    def note(self, name: str, value: float, **labels: str) -> None:
        """Discard the value."""


NULL_SINK = NullSink()
