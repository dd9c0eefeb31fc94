"""Preflight checks of a Ray cluster, which reject runs that would hang or fail late."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Literal

import ray
from pyarrow import fs as pafs

from distgnn.config import PretrainConfig
from distgnn.corpus.manifest import NAME as MANIFEST
from distgnn.distributed import uses_gpus
from distgnn.doctor.checks import check_object_store
from distgnn.errors import RequestError
from distgnn.pretraining.run import CONFIG, Run
from distgnn.scale.doctor.nodes import Node, live_nodes, on
from distgnn.scale.pool import configured_resources, cpu_share, possible_resources
from distgnn.scale.train.stream import READING_CPUS, spare_cpus
from distgnn.storage.folder import open_folder

Reading = Literal["auto", "ray", "rank"]
_SMALLEST_SHARE = 1 / 64


@dataclass(frozen=True)
class Resources:
    """Resources of a training process.

    Attributes:
        cpus: CPUs reserved by the process.
        gpu: Whether it reserves a GPU.
        reading: Who reads the corpus; "auto" is decided whenever a group of workers starts.
    """

    cpus: float
    gpu: bool
    reading: Reading = "auto"


def preflight(run: Run) -> Resources:
    """Check the cluster and choose the resources of the workers. Ray must be running.

    Args:
        run: The run, whose config.json is written.

    Raises:
        RequestError: If the cluster has too few resources, or a node cannot access a local path.
    """
    most, configured = possible_resources(), configured_resources().get("CPU", 0.0)
    resources = share(run.config, most["CPU"], most["GPU"])
    _check_reading(run.config, resources, configured)
    if resources.reading == "auto" and _never_spare(run.config.workers * resources.cpus, configured):
        resources = replace(resources, reading="rank")
    nodes = live_nodes()
    _check_paths(run, nodes)
    store = check_object_store({node.name: node.store for node in nodes})
    if store.status != "ok":
        sys.stderr.write(f"distgnn: warning: {store.name}: {store.message}\n")
    return resources


def share(config: PretrainConfig, cpus: float, gpus: float) -> Resources:
    """Choose the CPUs and GPUs of each worker.

    A fixed number of workers leaves one CPU for reading=ray.

    Args:
        config: Config of the run.
        cpus: CPUs of the cluster, those included that its autoscaler may add.
        gpus: GPUs, likewise.

    Raises:
        RequestError: If they do not suffice; the message shows the calculation.
    """
    least, device = config.min_workers or config.workers, config.train.device
    name = "min_workers" if config.min_workers else "workers"
    gpu = uses_gpus(device, "train.device", gpus, least, name)
    if config.min_workers:
        return Resources(_elastic_cpus(config, cpus), gpu, config.reading)
    return Resources(_fixed_cpus(config, cpus), gpu, config.reading)


def _fixed_cpus(config: PretrainConfig, cpus: float) -> float:
    workers, wanted = config.workers, config.cpus_per_worker
    kept = READING_CPUS if config.reading == "ray" else 0.0
    free = cpus - kept
    each = wanted or cpu_share(workers, free)
    if each <= 0 or workers * each > free + 1e-9:
        reading = f" + {kept:g} CPU for reading=ray" if kept else ""
        raise RequestError(
            f"workers={workers} x cpus_per_worker={wanted:g}{reading} = {workers * (wanted or 0.01) + kept:g} CPUs, but the Ray"
            f" cluster has {cpus:g}; lower workers or cpus_per_worker (0 = share what there is)"
            + (" or use reading=rank" if kept else "")
        )
    return each


def _elastic_cpus(config: PretrainConfig, cpus: float) -> float:
    """Return one CPU, or the largest of 1/2, 1/4, ... with which min_workers fit the cluster.

    Ray counts the workers that fit a node by floor division of floats, which is exact for such fractions only.
    """
    least, wanted = config.min_workers, config.cpus_per_worker
    if (wanted / _SMALLEST_SHARE) % 1:
        raise RequestError(
            f"cpus_per_worker={wanted:g} with min_workers={least}: Ray miscounts elastic workers unless each has a whole number of"
            " CPUs or a half, quarter, eighth ... of one; use such a number (0 = choose)"
        )
    each = wanted or 1.0
    while not wanted and each > _SMALLEST_SHARE and least * each > cpus:
        each /= 2
    if least * each > cpus:
        raise RequestError(
            f"min_workers={least} x cpus_per_worker={each:g} = {least * each:g} CPUs, but the Ray cluster has {cpus:g}; lower"
            " min_workers or cpus_per_worker (0 = choose)"
        )
    return each


def _check_reading(config: PretrainConfig, resources: Resources, configured: float) -> None:
    """Refuse reading=ray where no CPU is left for it on the nodes that read, those included that the autoscaler may add."""
    least = config.min_workers or config.workers
    used = least * resources.cpus
    spare = max(spare_cpus(least, resources.cpus), configured - used)
    if config.reading == "ray" and spare < READING_CPUS:
        raise RequestError(
            f"reading=ray: {least} workers x {resources.cpus:g} CPUs leave {max(spare, 0):g} of the {spare + used:g} CPUs of the"
            f" nodes that read (not the head, if there are others), and a reader needs {READING_CPUS:g}; lower cpus_per_worker or"
            " use reading=rank"
        )


def _never_spare(used: float, most: float) -> bool:
    """Whether all workers fit the nodes that are up, without a CPU beside them, and the autoscaler may add none.

    Then nothing is started for Ray Data, which otherwise costs a process and its imports at each start of the workers.
    """
    spare = spare_cpus(0, 0.0) - used
    return 0 <= spare < READING_CPUS and most - used < READING_CPUS


def _check_paths(run: Run, nodes: list[Node]) -> None:
    """Check with one task per node that local paths are on a shared file system."""
    needed = {"corpus": (run.config.corpus, MANIFEST), "out": (run.folder.uri, CONFIG)}
    local = {name: file for name, file in needed.items() if _is_local(file[0])}
    if len(nodes) < 2 or not local:
        return
    results = [on(node, _missing).remote(local) for node in nodes]
    for node, missing in zip(nodes, ray.get(results), strict=True):
        for name in missing:
            raise RequestError(
                f"{name}={getattr(run.config, name)}: node {node.name} of the Ray cluster does not see it;"
                " use a shared file system or an s3:// URI"
            )


def _is_local(uri: str) -> bool:
    return isinstance(open_folder(uri).filesystem, pafs.LocalFileSystem)


@ray.remote(num_cpus=0)
def _missing(files: dict[str, tuple[str, str]]) -> list[str]:
    """Return the names of the files (folder, file) that do not exist on this node."""
    return [name for name, (folder, file) in files.items() if open_folder(folder).size(file) is None]
