"""Prometheus endpoint of commands without Ray: a registry and an HTTP server in the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from distgnn.config import MetricsConfig
from distgnn.errors import RequestError
from distgnn.monitor.sink import METRICS, NULL_SINK, Metric, MetricsSink

_Shown = Counter | Gauge | Histogram


class PrometheusSink:
    """Metrics sink that stores values in a prometheus_client registry, with the label ``run``.

    Args:
        run: Value of the label.
    """

    def __init__(self, run: str) -> None:
        self.registry = CollectorRegistry()
        self._run = run
        self._metrics: dict[str, _Shown] = {}

    def note(self, name: str, value: float, **labels: str) -> None:
        """See :class:`~distgnn.monitor.sink.MetricsSink`."""
        shown = self._metrics.get(name) or self._make(METRICS[name])
        child = shown.labels(run=self._run, **labels)
        if isinstance(child, Counter):
            child.inc(value)
        elif isinstance(child, Gauge):
            child.set(value)
        else:
            child.observe(value)

    def _make(self, metric: Metric) -> _Shown:
        """Create the metric on its first value, so that metrics a command never records are not exported."""
        words = metric.name, metric.help, ("run", *metric.labels)
        if metric.kind == "histogram":
            made = Histogram(*words, registry=self.registry, buckets=metric.buckets)
        else:
            made = (Counter if metric.kind == "counter" else Gauge)(*words, registry=self.registry)
        self._metrics[metric.name] = made
        return made


@contextmanager
def serve_metrics(config: MetricsConfig, run: str, otherwise: MetricsSink = NULL_SINK) -> Iterator[MetricsSink]:
    """Context manager that serves metrics over HTTP at ``config.host:config.port``.

    Args:
        config: Options; no server is started if the port is 0.
        run: Value of the label ``run``.
        otherwise: The sink to use without a server.

    Yields:
        The sink.

    Raises:
        RequestError: If the server cannot listen at the address.
    """
    if not config.port:
        yield otherwise
        return
    meter = PrometheusSink(run)
    try:
        server, thread = start_http_server(config.port, config.host, meter.registry)
    except OSError as error:
        raise RequestError(
            f"metrics.port={config.port}: cannot serve at {config.host} ({error.strerror}); choose another port or host"
        ) from error
    try:
        yield meter
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
