"""Room for trials: what each of them takes from the cluster and how many go on at a time. What can never fit is refused at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ray.tune import PlacementGroupFactory

from distgnn.config import TuneConfig
from distgnn.errors import RequestError

READING_CPUS = 1.0
"""Beside the workers of a trial that several processes train, for their reading (see preflight)."""
_TENTH = 0.1
_SLACK = 1e-6


@dataclass(frozen=True)
class Node:
    """What one node of the cluster has."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Room:
    """cpus, gpus: of the process that a trial runs in. concurrency: trials at a time."""

    cpus: float
    gpus: float
    concurrency: int

    @property
    def bundle(self) -> PlacementGroupFactory:
        """For Ray Tune."""
        return PlacementGroupFactory([{"CPU": self.cpus, **({"GPU": self.gpus} if self.gpus else {})}])

    @property
    def options(self) -> dict[str, Any]:
        """For a Ray task."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus}


def room(config: TuneConfig, nodes: list[Node]) -> Room:
    """What trials of ``config`` get of ``nodes``; raises RequestError with the sum that does not add up.

    Trials of one process must fit a node each. Those of several hold next to nothing themselves; their workers are what is
    counted, with one CPU for reading, so that as many trials as go on can always be placed together.
    """
    if "cuda" in config.devices and not config.gpus_per_trial and config.workers_per_trial == 1:
        raise RequestError("device=cuda: trials get no GPU; give gpus_per_trial (a fraction shares one)")
    if config.workers_per_trial > 1:
        return _nested(config, nodes)
    most = sum(_fitting(config, node) for node in nodes)
    if not most:
        largest = max(nodes, key=lambda node: (node.gpus, node.cpus))
        raise RequestError(
            f"cpus_per_trial={config.cpus_per_trial:g} and gpus_per_trial={config.gpus_per_trial:g}: a trial fits no node; the"
            f" largest of the Ray cluster's {len(nodes)} has {largest.cpus:g} CPUs and {largest.gpus:g} GPUs; lower them"
        )
    return Room(config.cpus_per_trial, config.gpus_per_trial, _concurrency(config, most, nodes))


def _fitting(config: TuneConfig, node: Node) -> int:
    by_cpu = math.floor(node.cpus / config.cpus_per_trial + _SLACK)
    return min(by_cpu, _by_gpu(config.gpus_per_trial, node.gpus)) if config.gpus_per_trial else by_cpu


def _by_gpu(wanted: float, gpus: float) -> int:
    """Ray gives a fraction from one GPU only."""
    if wanted >= 1:
        return math.floor(gpus / wanted + _SLACK)
    return math.floor(gpus) * math.floor(1 / wanted + _SLACK)


def _nested(config: TuneConfig, nodes: list[Node]) -> Room:
    workers, each, gpus = config.workers_per_trial, config.cpus_per_trial, config.gpus_per_trial
    if gpus not in (0, 1):
        raise RequestError(f"gpus_per_trial={gpus:g}: workers_per_trial above 1 take whole GPUs, one each; give 1 or 0")
    cpus, devices = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    need = _TENTH + workers * each + READING_CPUS
    slots = sum(math.floor(node.cpus / each + _SLACK) for node in nodes)
    most = min(math.floor(cpus / need + _SLACK), slots // workers)
    if gpus:
        most = min(most, math.floor(devices / workers))
    if not most:
        raise RequestError(
            f"workers_per_trial={workers} x cpus_per_trial={each:g} + {READING_CPUS:g} CPU for reading + {_TENTH:g} for the trial ="
            f" {need:g} CPUs and {workers * gpus:g} GPUs, but the Ray cluster has {cpus:g} and {devices:g}; lower"
            " workers_per_trial or cpus_per_trial"
        )
    return Room(_TENTH, 0.0, _concurrency(config, most, nodes))


def _concurrency(config: TuneConfig, most: int, nodes: list[Node]) -> int:
    if config.concurrency > most:
        cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
        raise RequestError(
            f"concurrency={config.concurrency} x (cpus_per_trial={config.cpus_per_trial:g}, gpus_per_trial="
            f"{config.gpus_per_trial:g}, workers_per_trial={config.workers_per_trial}): the Ray cluster has {cpus:g} CPUs and"
            f" {gpus:g} GPUs, room for {most}; lower concurrency (0 = as many as fit)"
        )
    return config.concurrency or most
