"""Knobs of metrics. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass

from distgnn.config.base import OpenConfig, check
from distgnn.config.fields import Options, registered, runtime

_MOST = 65_535


@dataclass(frozen=True)
class MetricsConfig(OpenConfig):
    """Metrics of this process for Prometheus. Processes in a Ray cluster need no port: theirs come with Ray's own metrics."""

    port: int = runtime(0)
    """Serve metrics for Prometheus at this port while the command runs; 0 = do not."""
    host: str = runtime("127.0.0.1")
    """Address to serve them at; 0.0.0.0 lets other machines read them (without a password)."""

    options: Options = registered("logger")
    """Options of experiment loggers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(0 <= self.port <= _MOST, f"metrics.port must lie in 0..{_MOST}, found {self.port}")
        check(bool(self.host), "metrics.host must not be empty; 127.0.0.1 is this machine alone")
