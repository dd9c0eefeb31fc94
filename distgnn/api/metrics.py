"""Where the metrics of a command go: to a port of this process, to Ray's own metrics, or nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from distgnn.api.arguments import load_function
from distgnn.config import MetricsConfig
from distgnn.monitor.prometheus import serve_metrics
from distgnn.monitor.sink import NULL_SINK, MetricsSink
from distgnn.storage.uri import base_name


class Meters(NamedTuple):
    """here: of this process. work: of the processes that do the work, which may be this one."""

    here: MetricsSink
    work: MetricsSink


@contextmanager
def meters(config: MetricsConfig, out: str, on_ray: bool) -> Iterator[Meters]:
    """Meters of a command that writes to ``out``, whose last part names the run; ``on_ray``: Ray's processes do the work.

    Raises RequestError where the address of ``config`` cannot be had.
    """
    run = base_name(out)
    remote: MetricsSink = load_function("distgnn.scale.metrics:RaySink")(run) if on_ray else NULL_SINK
    with serve_metrics(config, run, remote) as here:
        yield Meters(here, remote if on_ray else here)
