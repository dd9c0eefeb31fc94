"""Metrics from processes of a Ray cluster, through Ray: each node's agent shows them to Prometheus as ray_<name>."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from ray.util.metrics import Counter, Gauge, Histogram

from distgnn.monitor.sink import METRICS, Metric

_Shown = Counter | Gauge | Histogram
_NOTHING = sys.float_info.min


@dataclass(frozen=True)
class RaySink:
    """Notes values of ``run``; can be sent to workers, each of which shows its own, told apart by the label WorkerId."""

    run: str
    _metrics: dict[str, _Shown] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __reduce__(self) -> tuple[type[RaySink], tuple[str]]:
        return RaySink, (self.run,)

    def note(self, name: str, value: float, **labels: str) -> None:
        """See Meter."""
        shown = self._metrics.get(name) or self._make(METRICS[name])
        if isinstance(shown, Counter):
            shown.inc(max(value, _NOTHING), labels)  # Ray refuses to add 0, which would make the series appear
        elif isinstance(shown, Gauge):
            shown.set(value, labels)
        else:
            shown.observe(value, labels)

    def _make(self, metric: Metric) -> _Shown:
        keys = ("run", *metric.labels)
        if metric.kind == "histogram":
            made = Histogram(metric.name, metric.help, list(metric.buckets), keys)
        else:
            made = (Counter if metric.kind == "counter" else Gauge)(metric.name, metric.help, keys)
        made.set_default_tags({"run": self.run})
        self._metrics[metric.name] = made
        return made
