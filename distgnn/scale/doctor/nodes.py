"""The nodes of a cluster, asked one by one: what they say about themselves, their clocks, and how fast two of them sum."""

from __future__ import annotations

import os
import socket
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
from distgnn.storage.retry import VARIABLE

PATIENCE_SECONDS = "5"
_ANSWER_SECONDS = 120.0
_NUMBERS, _ROUNDS = 1 << 20, 10


@dataclass(frozen=True)
class Node:
    """A live node as Ray counts it. name: its address, with a piece of its id where several share one. store: bytes."""

    name: str
    identity: str
    store: float
    gpus: float


def live_nodes() -> list[Node]:
    """Of the cluster that this process has joined."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    shared = Counter(node["NodeManagerAddress"] for node in alive)
    return [_node(node, shared[node["NodeManagerAddress"]] > 1) for node in alive]


def _node(node: dict[str, Any], shared: bool) -> Node:
    tail = f" ({node['NodeID'][:6]})" if shared else ""
    resources = node["Resources"]
    return Node(
        node["NodeManagerAddress"] + tail,
        node["NodeID"],
        resources.get("object_store_memory", 0.0),
        resources.get("GPU", 0.0),
    )


def ask(nodes: list[Node], questions: Questions) -> tuple[list[Facts], dict[str, str]]:
    """(facts of the nodes that answer, why the others do not, by name)."""
    patience = os.environ.get(VARIABLE, PATIENCE_SECONDS)
    asked = {node.name: on(node, _gather).remote(questions, node.name, patience) for node in nodes}
    found, silent = list[Facts](), dict[str, str]()
    end = time.monotonic() + _ANSWER_SECONDS
    for name, answer in asked.items():
        try:
            found.append(ray.get(answer, timeout=max(end - time.monotonic(), 1.0)))
        except GetTimeoutError:
            silent[name] = f"no answer in {_ANSWER_SECONDS:.0f} s"
        except RayTaskError as error:
            silent[name] = f"{type(error.cause).__name__}: {error.cause}"
        except RayError as error:
            silent[name] = str(error)
    return found, silent


def clock_offsets(nodes: list[Node]) -> dict[str, float]:
    """Seconds that each node's clock is ahead of this one's, to within half the time its answer took."""
    found = {}
    for node in nodes:
        before = time.time()
        there = cast(float, ray.get(on(node, _clock).remote(), timeout=_ANSWER_SECONDS))
        found[node.name] = there - (before + time.time()) / 2
    return found


def all_reduce_speed(nodes: list[Node], gpu: bool) -> float:
    """Bytes a second at which two processes, on two nodes where there are two, sum 4 MB. WorkError where they cannot."""
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
    """``task`` (or actor), to run on that node and no other."""
    return task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.identity, soft=False), **options)


@ray.remote(num_cpus=0)
def _gather(questions: Questions, name: str, patience: str) -> Facts:
    os.environ.setdefault(VARIABLE, patience)
    return gather(questions, name, ray.get_runtime_context().get_temp_dir())


@ray.remote(num_cpus=0)
def _clock() -> float:
    return time.time()


@ray.remote(num_cpus=0)
class _Peer:
    """One of two processes that sum."""

    def address(self) -> str:
        """Where the other one finds this one."""
        with socket.socket() as free:
            free.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"

    def measure(self, rank: int, address: str) -> float:
        """Seconds of one sum."""
        device = torch.device("cuda" if ray.get_gpu_ids() else "cpu")
        numbers = torch.ones(_NUMBERS, device=device)
        with joined(rank, 2, f"tcp://{address}", device) as group:
            group.all_reduce(numbers)
            group.barrier()
            start = time.perf_counter()
            for _ in range(_ROUNDS):
                group.all_reduce(numbers)
            float(numbers[0])  # a GPU is done only when it is asked
            return (time.perf_counter() - start) / _ROUNDS
