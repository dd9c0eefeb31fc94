"""Where the workers of a group run, and what they leave on each node for reading."""

from __future__ import annotations

from collections import Counter

import ray
import torch

from distgnn.distributed import ProcessGroup

HEAD = "node:__internal_head__"
"""Resource that only the head node has."""
_DIGITS, _ROUNDING = 12, 1e-6
"""Digits of a node's id that are compared, a number below 2^48, which float64 represents; rounding errors of sums of CPUs."""


def workers_by_node(group: ProcessGroup) -> Counter[int]:
    """Number of workers of the group by node (the first digits of its id). Collective."""
    nodes = torch.zeros(group.world_size, dtype=torch.float64, device=group.device)
    nodes[group.rank] = node_number(ray.get_runtime_context().get_node_id())
    return Counter(int(node) for node in group.all_reduce(nodes).tolist())


def free_slots(workers: Counter[int], each: float, size: float) -> int:
    """Tasks of ``size`` CPUs that fit beside the workers, on nodes other than the head if there are others.

    Rests of CPUs on several nodes do not add up to a task.

    Args:
        workers: number of workers by node, see :func:`workers_by_node`.
        each: CPUs of a worker.
        size: CPUs of a task.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    others = [node for node in nodes if HEAD not in node["Resources"]] or nodes
    rests = [node["Resources"].get("CPU", 0.0) - each * workers[node_number(node["NodeID"])] for node in others]
    return sum(max(0, int((rest + _ROUNDING) // size)) for rest in rests)


def node_number(node: str) -> int:
    """Number of a node: the first digits of its id."""
    return int(node[:_DIGITS], 16)
