"""Knobs of how fast a run under Ray Train gets over what was lost. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass

from distgnn.config.base import check
from distgnn.config.fields import runtime


@dataclass(frozen=True)
class RecoveryConfig:
    """How fast the workers are started again.

    How fast the loss of a node is noticed is the cluster's own setting, in the environment of its head node:
    RAY_health_check_period_ms=1000 RAY_health_check_timeout_ms=2000 RAY_health_check_failure_threshold=3 instead of Ray's 3000,
    10000 and 5 make it 3 seconds or so instead of 15.
    """

    poll_seconds: float = runtime(0.5)
    """Seconds between looks at the workers (RAY_TRAIN_HEALTH_CHECK_INTERVAL_S)."""
    start_seconds: float = runtime(10.0)
    """Seconds to wait for the resources of a worker group before trying again, elastic ones with as many as there are then
    (RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S)."""
    settle_seconds: float = runtime(20.0)
    """Seconds to wait, after workers were lost, for Ray to notice which nodes went with them, so that the next group is not
    planned on nodes that are gone."""
    resize_seconds: float = runtime(30.0)
    """Seconds between looks for nodes that came; elastic workers are then started again on all of them (ScalingConfig's
    elastic_resize_monitor_interval_s)."""

    def __post_init__(self) -> None:
        for name in ("poll_seconds", "start_seconds", "resize_seconds"):
            value = getattr(self, name)
            check(value > 0, f"recovery.{name} must be more than 0, found {value}")
        check(self.settle_seconds >= 0, f"recovery.settle_seconds must not be negative, found {self.settle_seconds}")
