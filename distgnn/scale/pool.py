"""Ordered map over worker processes: in this process for one worker, as Ray tasks for more."""

from __future__ import annotations

import logging
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from distgnn.corpus.writer import Mapper
from distgnn.errors import RequestError, WorkError
from distgnn.scale.address import check_address
from distgnn.scale.private import node_groups

_PENDING_PER_WORKER = 2
_COUNTED = ("CPU", "GPU")


def ordered_map(workers: int) -> Mapper:
    """Return a lazy map that yields results in the order of its inputs.

    With several workers, at most ``2 * workers`` results are pending, so an infinite iterable is consumed only as needed. The
    function is put into the object store once.

    Args:
        workers: Number of parallel Ray tasks, each with one torch thread; 1 maps in this process without Ray.

    Returns:
        The map. It raises RequestError and WorkError of the function unchanged, and WorkError if a Ray worker is lost.

    Raises:
        RequestError: If ``workers`` is less than 1.
    """
    if workers < 1:
        raise RequestError(f"workers must be at least 1, found {workers}")
    return map if workers == 1 else _RayMap(workers)


def start_ray(cpus: int) -> None:
    """Connect to Ray (this process's own, or RAY_ADDRESS), or start a local instance with ``cpus`` CPUs.

    Raises:
        RequestError: If RAY_ADDRESS is set and nothing listens there.
    """
    if ray.is_initialized():
        return
    # Only the first error is raised; Ray would log the others.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    address = os.environ.get("RAY_ADDRESS", "")
    if address:
        check_address(address, "RAY_ADDRESS")
        _connect(address)
        return
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def configured_resources() -> dict[str, float]:
    """Most CPUs and GPUs of the cluster by its configuration; infinite if a type of nodes has no maximum.

    Ray's own autoscalers do not publish their configuration to jobs; the environment variable DISTGNN_CLUSTER_MAX
    (``CPU=32,GPU=8``) does.

    Raises:
        RequestError: If that variable cannot be read.
    """
    most = _declared(os.environ.get("DISTGNN_CLUSTER_MAX", ""))
    for resources, count in node_groups():
        for name, amount in resources.items():
            if amount:
                most[name] = most.get(name, 0.0) + amount * (count if count >= 0 else math.inf)
    return most


def possible_nodes() -> list[dict[str, float]]:
    """CPUs and GPUs of each node of the running cluster: of those that are up, and of those that its autoscaler may add.

    One more node is counted of a type without a maximum. What only DISTGNN_CLUSTER_MAX tells, without the size of a node, is
    counted as one node.
    """
    nodes = [_sizes(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    for resources, most in node_groups():
        group = _sizes(resources)
        up = nodes.count(group)
        nodes += [group] * (1 if most < 0 else most - up)
    known = {name: sum(node[name] for node in nodes) for name in _COUNTED}
    rest = {name: max(amount - known[name], 0.0) for name, amount in possible_resources().items()}
    return [*nodes, rest] if any(rest.values()) and not any(map(math.isinf, rest.values())) else nodes


def possible_resources() -> dict[str, float]:
    """CPUs and GPUs of the running cluster, those included that its autoscaler may add (see :func:`configured_resources`).

    Whether workers and trials compute on GPUs follows from them.
    """
    up, most = _sizes(ray.cluster_resources()), _sizes(configured_resources())
    return {name: max(up[name], most[name]) for name in _COUNTED}


def cpu_share(workers: int, cpus: float) -> float:
    """CPUs of each of ``workers`` that share ``cpus``: at most 1, in hundredths; 0 if there are too few."""
    return math.floor(100 * min(1.0, cpus / workers)) / 100


def shared_cpus(workers: int, cpus: float, name: str) -> float:
    """CPUs of each of ``workers``; see :func:`cpu_share`.

    Args:
        workers: Number of training processes.
        cpus: CPUs that the cluster has or may get.
        name: Name of the option that sets it, for the error message.

    Raises:
        RequestError: If there are too few.
    """
    share = cpu_share(workers, cpus)
    if not share:
        raise RequestError(
            f"{name}={workers} need {workers / 100:g} CPUs, a hundredth each, but the Ray cluster has {cpus:g}; lower {name}, or"
            " set DISTGNN_CLUSTER_MAX=CPU=N on its nodes if its autoscaler may add some"
        )
    return share


def _sizes(resources: Mapping[str, float]) -> dict[str, float]:
    return {name: resources.get(name, 0.0) for name in _COUNTED}


def _declared(text: str) -> dict[str, float]:
    parts = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(name.strip() in _COUNTED and amount.strip().isdecimal() for name, _, amount in parts):
        raise RequestError(
            f"DISTGNN_CLUSTER_MAX={text!r}: give the most CPUs and GPUs of the cluster, such as CPU=32,GPU=8"
        )
    return {name.strip(): float(amount) for name, _, amount in parts}


def _connect(address: str) -> None:
    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RequestError(
            f"RAY_ADDRESS={address}: no Ray answers there; start it, or correct or unset RAY_ADDRESS ({reason})"
        ) from error


class _RayMap:
    """Map for more than one worker; starts Ray on first use."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def __call__(self, function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        start_ray(self.workers)
        pending: deque[Any] = deque()
        try:
            yield from self._results(ray.put(function), jobs, pending)
        finally:
            for result in pending:
                ray.cancel(result)

    def _results(self, function: Any, jobs: Iterable[Any], pending: deque[Any]) -> Iterator[Any]:
        running: list[Any] = []
        for job in jobs:
            if len(running) == self.workers:
                running = ray.wait(running, num_returns=1, fetch_local=False)[1]
            pending.append(_call.remote(function, job))
            running.append(pending[-1])
            if len(pending) == _PENDING_PER_WORKER * self.workers:
                yield _get(pending.popleft())
        while pending:
            yield _get(pending.popleft())


@ray.remote(num_cpus=1)
def _call(function: Callable[[Any], Any], job: Any) -> Any:
    torch.set_num_threads(1)
    return function(job)


def _get(result: Any) -> Any:
    try:
        return ray.get(result)
    except RayTaskError as error:
        if isinstance(error.cause, RequestError | WorkError):
            raise type(error.cause)(str(error.cause)) from error
        raise
    except RayError as error:
        raise WorkError(
            f"a Ray worker was lost ({' '.join(str(error).split())[:300]}); use fewer workers or more memory"
        ) from error
