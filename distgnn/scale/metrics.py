"""Metrics of processes in a Ray cluster, exported by Ray as ray_<name>."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from ray.util.metrics import Counter, Gauge, Histogram

from distgnn.monitor.sink import METRICS, Metric

_RayMetric = Counter | Gauge | Histogram
_SMALLEST = sys.float_info.min


@dataclass(frozen=True)
class RaySink:
    """Metrics sink that uses ``ray.util.metrics``. It can be pickled; each process exports its own series (label WorkerId).

    Attributes:
        run: Value of the label ``run``.
    """

    run: str
    _metrics: dict[str, _RayMetric] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __reduce__(self) -> tuple[type[RaySink], tuple[str]]:
        return RaySink, (self.run,)

    def note(self, name: str, value: float, **labels: str) -> None:
        """See :class:`~distgnn.monitor.sink.MetricsSink`."""
        metric = self._metrics.get(name) or self._create(METRICS[name])
        if isinstance(metric, Counter):
            metric.inc(max(value, _SMALLEST), labels)  # Ray rejects an increment of 0, which creates the series
        elif isinstance(metric, Gauge):
            metric.set(value, labels)
        else:
            metric.observe(value, labels)

    def _create(self, metric: Metric) -> _RayMetric:
        keys = ("run", *metric.labels)
        if metric.kind == "histogram":
            created = Histogram(metric.name, metric.help, list(metric.buckets), keys)
        else:
            created = (Counter if metric.kind == "counter" else Gauge)(metric.name, metric.help, keys)
        created.set_default_tags({"run": self.run})
        self._metrics[metric.name] = created
        return created
