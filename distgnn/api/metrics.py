"""Metrics sinks of a command: an HTTP endpoint of this process, the metrics of Ray, or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from distgnn.config import MetricsConfig
from distgnn.loading import load_function
from distgnn.monitor.prometheus import serve_metrics
from distgnn.monitor.sink import NULL_SINK, MetricsSink
from distgnn.storage.uri import base_name


class Sinks(NamedTuple):
    """Metrics sinks of a command.

    Attributes:
        local: Sink of this process.
        workers: Sink of the processes that run the jobs, which may be this one.
    """

    local: MetricsSink
    workers: MetricsSink


@contextmanager
def open_sinks(config: MetricsConfig, out: str, on_ray: bool) -> Iterator[Sinks]:
    """Context manager that opens the metrics sinks of a command.

    Args:
        config: Options of the endpoint.
        out: Output folder; its last component is the name of the run.
        on_ray: Whether Ray processes run the jobs.

    Raises:
        RequestError: The endpoint cannot listen at its address.
    """
    run = base_name(out)
    remote: MetricsSink = load_function("distgnn.scale.metrics:RaySink")(run) if on_ray else NULL_SINK
    with serve_metrics(config, run, remote) as local:
        yield Sinks(local, remote if on_ray else local)
