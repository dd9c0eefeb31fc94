"""Prometheus endpoint of commands without Ray: a registry and an HTTP server in the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from distgnn.config import MetricsConfig
from distgnn.errors import RequestError
from distgnn.monitor.sink import METRICS, NULL_SINK, Metric, MetricsSink

_ClientMetric = Counter | Gauge | Histogram


class PrometheusSink:
    """Metrics sink that stores values in a prometheus_client registry, with the label ``run``.

    Args:
        run: Value of the label.
    """

    def __init__(self, run: str) -> None:
        self.registry = CollectorRegistry()
        self._run = run
        self._metrics: dict[str, _ClientMetric] = {}

    def note(self, name: str, value: float, **labels: str) -> None:
        """See :class:`~distgnn.monitor.sink.MetricsSink`."""
        metric = self._metrics.get(name) or self._create(METRICS[name])
        child = metric.labels(run=self._run, **labels)
        if isinstance(child, Counter):
            child.inc(value)
        elif isinstance(child, Gauge):
            child.set(value)
        else:
            child.observe(value)

    def _create(self, metric: Metric) -> _ClientMetric:
        """Create a metric at its first value, so that metrics that a command never records are not exported."""
        arguments = metric.name, metric.help, ("run", *metric.labels)
        if metric.kind == "histogram":
            created = Histogram(*arguments, registry=self.registry, buckets=metric.buckets)
        else:
            created = (Counter if metric.kind == "counter" else Gauge)(*arguments, registry=self.registry)
        self._metrics[metric.name] = created
        return created


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
    sink = PrometheusSink(run)
    try:
        server, thread = start_http_server(config.port, config.host, sink.registry)
    except OSError as error:
        raise RequestError(
            f"metrics.port={config.port}: cannot serve at {config.host} ({error.strerror}); choose another port or host"
        ) from error
    try:
        yield sink
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
