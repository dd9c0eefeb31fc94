"""Cluster capacity: the resources of a trial and how many trials fit. A trial that can never fit is refused at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from distgnn.config import TuneConfig
from distgnn.errors import RequestError

_DRIVER_CPUS = 0.1
_SLACK = 1e-6


@dataclass(frozen=True)
class NodeResources:
    """CPUs and GPUs of one node of the cluster."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Capacity:
    """Resources of a trial on a cluster.

    Args:
        cpus: CPUs of the process that runs the trial.
        gpus: GPUs of that process.
        concurrency: Number of trials at a time.
    """

    cpus: float
    gpus: float
    concurrency: int


def capacity_of(config: TuneConfig, nodes: list[NodeResources]) -> Capacity:
    """Compute what the trials of a sweep get on a cluster.

    A trial of one process must fit on one node. A trial of several workers reserves next to nothing itself: its workers are
    counted, so that all trials that run at a time can be placed together.

    Args:
        config: The sweep.
        nodes: The nodes of the cluster, those included that its autoscaler may add.

    Raises:
        RequestError: No trial fits, or fewer than ``config.concurrency``.
    """
    if "cuda" in config.devices and not config.gpus_per_trial and config.workers_per_trial == 1:
        raise RequestError("device=cuda: trials get no GPU; give gpus_per_trial (a fraction shares one)")
    gpus = _totals(nodes)[1]
    if "auto" in config.devices and not config.gpus_per_trial and gpus:
        raise RequestError(
            f"gpus_per_trial=0: the trials would train on CPUs, but the Ray cluster has {gpus:g} GPUs, those included that it may"
            " add; give gpus_per_trial (a fraction shares one), or choose device=cpu"
        )
    if config.workers_per_trial > 1:
        return _of_several_workers(config, nodes)
    most = sum(_trials_on(config, node) for node in nodes)
    if not most:
        largest = max(nodes, key=lambda node: (node.gpus, node.cpus))
        raise RequestError(
            f"cpus_per_trial={config.cpus_per_trial:g} and gpus_per_trial={config.gpus_per_trial:g}: a trial fits no node; the"
            f" largest of the Ray cluster's {len(nodes)} has {largest.cpus:g} CPUs and {largest.gpus:g} GPUs; lower them"
        )
    return Capacity(config.cpus_per_trial, config.gpus_per_trial, _concurrency(config, most, nodes))


def _trials_on(config: TuneConfig, node: NodeResources) -> int:
    by_cpu = math.floor(node.cpus / config.cpus_per_trial + _SLACK)
    return min(by_cpu, _by_gpu(config.gpus_per_trial, node.gpus)) if config.gpus_per_trial else by_cpu


def _by_gpu(wanted: float, gpus: float) -> int:
    """Count trials by GPU. Ray takes a fraction from a single GPU."""
    if wanted >= 1:
        return math.floor(gpus / wanted + _SLACK)
    return math.floor(gpus) * math.floor(1 / wanted + _SLACK)


def _of_several_workers(config: TuneConfig, nodes: list[NodeResources]) -> Capacity:
    workers, each, gpus = config.workers_per_trial, config.cpus_per_trial, config.gpus_per_trial
    if gpus not in (0, 1):
        raise RequestError(f"gpus_per_trial={gpus:g}: workers_per_trial above 1 take whole GPUs, one each; give 1 or 0")
    cpus, devices = _totals(nodes)
    need = _DRIVER_CPUS + workers * each
    slots = sum(math.floor(node.cpus / each + _SLACK) for node in nodes)
    most = min(math.floor(cpus / need + _SLACK), slots // workers)
    if gpus:
        most = min(most, math.floor(devices / workers))
    if not most:
        raise RequestError(
            f"workers_per_trial={workers} x cpus_per_trial={each:g} + {_DRIVER_CPUS:g} for the"
            f" trial = {need:g} CPUs and {workers * gpus:g} GPUs, but the Ray cluster has {cpus:g} and {devices:g}; lower"
            " workers_per_trial or cpus_per_trial"
        )
    return Capacity(_DRIVER_CPUS, 0.0, _concurrency(config, most, nodes))


def _concurrency(config: TuneConfig, most: int, nodes: list[NodeResources]) -> int:
    if config.concurrency > most:
        cpus, gpus = _totals(nodes)
        raise RequestError(
            f"concurrency={config.concurrency} x (cpus_per_trial={config.cpus_per_trial:g}, gpus_per_trial="
            f"{config.gpus_per_trial:g}, workers_per_trial={config.workers_per_trial}): the Ray cluster has {cpus:g} CPUs and"
            f" {gpus:g} GPUs, enough for {most}; lower concurrency (0 = as many as fit)"
        )
    return config.concurrency or most


def _totals(nodes: list[NodeResources]) -> tuple[float, float]:
    return sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
