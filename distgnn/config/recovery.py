"""Config of recovery from lost workers and nodes under Ray Train. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass

from distgnn.config.base import check
from distgnn.config.fields import runtime


@dataclass(frozen=True)
class RecoveryConfig:
    """Timing of restarts of the workers.

    Two fields stand for environment variables of Ray Train. A field that differs from its default replaces the variable, also for
    the workers: processes that Ray has started in advance with another environment are then not reused.

    How soon the loss of a node is detected is a setting of the cluster, in the environment of its head node:
    RAY_health_check_period_ms=1000 RAY_health_check_timeout_ms=2000 RAY_health_check_failure_threshold=3 instead of
    Ray's defaults 3000, 10000 and 5 reduce it from 15 to about 3 seconds.
    """

    poll_seconds: float = runtime(0.5)
    """Interval of worker health checks in seconds (RAY_TRAIN_HEALTH_CHECK_INTERVAL_S)."""
    start_seconds: float = runtime(10.0)
    """Seconds to wait for the resources of a worker group before retrying; an elastic group retries with the number of
    workers available then (RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S).
    """
    settle_seconds: float = runtime(20.0)
    """Seconds to wait after workers are lost until Ray has detected which nodes are lost, so that the next group is not
    scheduled on them. Ray Train's controller does nothing else meanwhile.
    """
    resize_seconds: float = runtime(30.0)
    """Interval in seconds of checks for new nodes; elastic workers are then restarted on all nodes
    (elastic_resize_monitor_interval_s of ScalingConfig).
    """

    def __post_init__(self) -> None:
        for name in ("poll_seconds", "start_seconds", "resize_seconds"):
            value = getattr(self, name)
            check(value > 0, f"recovery.{name} must be more than 0, found {value}")
        check(self.settle_seconds >= 0, f"recovery.settle_seconds must not be negative, found {self.settle_seconds}")
