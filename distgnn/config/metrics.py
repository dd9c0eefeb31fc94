"""Config of metrics for Prometheus and experiment loggers. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass

from distgnn.config.base import OpenConfig, check
from distgnn.config.fields import Options, registered, runtime

_MOST = 65_535


@dataclass(frozen=True)
class MetricsConfig(OpenConfig):
    """Prometheus metrics of this process. Processes in a Ray cluster need no port: their metrics are exported by Ray."""

    port: int = runtime(0)
    """Port of the Prometheus endpoint while the command runs; 0 = no endpoint."""
    host: str = runtime("127.0.0.1")
    """Address of the endpoint; 0.0.0.0 = reachable from other machines (without authentication)."""

    options: Options = registered("logger")
    """Options of experiment loggers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(0 <= self.port <= _MOST, f"metrics.port must lie in 0..{_MOST}, found {self.port}")
        check(bool(self.host), "metrics.host must not be empty; use 127.0.0.1 for this machine only")
