"""The private names of Ray that distgnn uses, all of them, and what happens in a Ray without them.

- ``ray._private.state.state.get_cluster_config``, for the node types that the autoscaler may start, which those of Ray itself (as
  of 2.60) do not publish: only the nodes that are up are counted, and what DISTGNN_CLUSTER_MAX says.
- ``ControllerCallback`` and ``ResizingState`` of ``ray.train.v2._internal``, for a checkpoint before a resize: a resize costs the
  steps since the last checkpoint.
- ``DataParallelTrainer`` of ``ray.train.v2.api``, a developer API: TorchTrainer, whose controller imports torch before ranks start.
- The actor ``AutoscalingCoordinator`` (:mod:`distgnn.scale.train.recovery`), for a new count of resources after a loss: Ray
  counts every 20 s.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ray.exceptions import RayError
from ray.train import UserCallback

try:
    from ray._private.state import state
except ImportError:
    state = None
try:
    from ray.train.v2._internal.execution.callback import ControllerCallback
    from ray.train.v2._internal.execution.controller.state import ResizingState
except ImportError:
    ControllerCallback, ResizingState = UserCallback, ()
try:
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
except ImportError:
    from ray.train.torch import TorchTrainer as DataParallelTrainer

RankTrainer = DataParallelTrainer
"""Trainer of ranks on CPUs."""
ResizeHook: Any = ControllerCallback
"""Base class of callbacks with a method ``after_controller_state_update(previous_state, current_state)``."""


def is_resizing(current_state: Any) -> bool:
    """Return whether the controller of a run has decided to change the number of workers."""
    return isinstance(current_state, ResizingState)


def node_groups() -> list[tuple[dict[str, float], int]]:
    """Resources of a node of each type that the autoscaler may start, and the most nodes of that type; empty without one."""
    with suppress(RayError, AttributeError, RuntimeError):
        config = state.get_cluster_config() if state else None
        return [(dict(group.resources), group.max_count) for group in config.node_group_configs] if config else []
    return []
