"""Measurements on the nodes of a Ray cluster: facts of each node, clock offsets and all-reduce bandwidth."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, cast

import ray
import torch
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from distgnn.distributed import joined
from distgnn.doctor.facts import Facts, Questions, gather
from distgnn.errors import WorkError
from distgnn.scale.address import rendezvous
from distgnn.storage.retry import VARIABLE

RETRY_SECONDS = "5"
"""Default of the retry time for storage during an examination."""
_ANSWER_SECONDS = 120.0
_NUMBERS, _ROUNDS = 1 << 20, 10


@dataclass(frozen=True)
class Node:
    """A live node of a Ray cluster.

    Attributes:
        name: Address; if several nodes share it, followed by the start of the id.
        identity: Id of the node.
        store: Bytes of its object store.
        gpus: Number of its GPUs.
    """

    name: str
    identity: str
    store: float
    gpus: float


def live_nodes() -> list[Node]:
    """Return the live nodes of the cluster to which this process is connected."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    shared = Counter(node["NodeManagerAddress"] for node in alive)
    return [_node(node, shared[node["NodeManagerAddress"]] > 1) for node in alive]


def _node(node: dict[str, Any], shared: bool) -> Node:
    suffix = f" ({node['NodeID'][:6]})" if shared else ""
    resources = node["Resources"]
    return Node(
        node["NodeManagerAddress"] + suffix,
        node["NodeID"],
        resources.get("object_store_memory", 0.0),
        resources.get("GPU", 0.0),
    )


def gather_facts(nodes: list[Node], questions: Questions) -> tuple[list[Facts], dict[str, str]]:
    """Gather the facts of every node.

    Args:
        nodes: The nodes.
        questions: What to examine.

    Returns:
        The facts of the nodes that answer, and the error of each other node by name.
    """
    retry_seconds = os.environ.get(VARIABLE, RETRY_SECONDS)
    pending = {node.name: on(node, _gather).remote(questions, node.name, retry_seconds) for node in nodes}
    found, errors = list[Facts](), dict[str, str]()
    end = time.monotonic() + _ANSWER_SECONDS
    for name, reference in pending.items():
        try:
            found.append(ray.get(reference, timeout=max(end - time.monotonic(), 1.0)))
        except GetTimeoutError:
            errors[name] = f"no answer in {_ANSWER_SECONDS:.0f} s"
        except RayTaskError as error:
            errors[name] = f"{type(error.cause).__name__}: {error.cause}"
        except RayError as error:
            errors[name] = str(error)
    return found, errors


def clock_offsets(nodes: list[Node]) -> dict[str, float]:
    """Return by how many seconds each node's clock is ahead of the local one; the error is at most half the round trip.

    Raises:
        RayError: A node does not answer.
    """
    offsets = {}
    for node in nodes:
        before = time.time()
        remote = cast(float, ray.get(on(node, _clock).remote(), timeout=_ANSWER_SECONDS))
        offsets[node.name] = remote - (before + time.time()) / 2
    return offsets


def all_reduce_speed(nodes: list[Node], gpu: bool) -> float:
    """Measure the bandwidth of an all-reduce of 4 MB between two processes, on different nodes if there are two.

    Args:
        nodes: The nodes, at least one.
        gpu: Whether to use NCCL on one GPU each, rather than Gloo.

    Returns:
        Bytes per second.

    Raises:
        WorkError: The processes cannot communicate.
    """
    pair: list[Any] = [on(node, _Peer, num_gpus=int(gpu)).remote() for node in (nodes * 2)[:2]]
    try:
        address = ray.get(pair[0].address.remote(), timeout=_ANSWER_SECONDS)
        times = ray.get([peer.measure.remote(rank, address) for rank, peer in enumerate(pair)], timeout=_ANSWER_SECONDS)
    except RayError as error:
        raise WorkError(" ".join(str(getattr(error, "cause", error)).split())[:300]) from error
    finally:
        for peer in pair:
            ray.kill(peer)
    return 4 * _NUMBERS / max(times)


def on(node: Node, task: Any, **options: Any) -> Any:
    """Return ``task`` (or an actor class) with a scheduling strategy that places it on ``node`` only."""
    return task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.identity, soft=False), **options)


@ray.remote(num_cpus=0)
def _gather(questions: Questions, name: str, retry_seconds: str) -> Facts:
    os.environ.setdefault(VARIABLE, retry_seconds)
    return gather(questions, name, ray.get_runtime_context().get_temp_dir())


@ray.remote(num_cpus=0)
def _clock() -> float:
    return time.time()


@ray.remote(num_cpus=0)
class _Peer:
    """One of the two processes of the all-reduce."""

    def address(self) -> str:
        """Return the address where the two meet."""
        return rendezvous()

    def measure(self, rank: int, address: str) -> float:
        """Return the mean seconds of one all-reduce."""
        device = torch.device("cuda" if ray.get_gpu_ids() else "cpu")
        numbers = torch.ones(_NUMBERS, device=device)
        with joined(rank, 2, address, device) as group:
            group.all_reduce(numbers)
            group.barrier()
            start = time.perf_counter()
            for _ in range(_ROUNDS):
                group.all_reduce(numbers)
            float(numbers[0])  # waits for the GPU
            return (time.perf_counter() - start) / _ROUNDS
