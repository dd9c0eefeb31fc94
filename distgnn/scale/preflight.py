"""Questions to the cluster before a run: what Ray would hang on, or fail on late, is refused here with the arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

import ray
from pyarrow import fs as pafs
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from distgnn.config import PretrainConfig
from distgnn.corpus.storage import open_folder
from distgnn.engine.run import Run
from distgnn.errors import RequestError

_READING_CPUS = 1.0


@dataclass(frozen=True)
class Resources:
    """What each training process reserves."""

    cpus: float
    gpu: bool


def preflight(run: Run) -> Resources:
    """What the workers of ``run`` get from the Ray that is up; raises RequestError where the cluster cannot carry the run."""
    total = ray.cluster_resources()
    resources = share(run.config, total.get("CPU", 0.0), total.get("GPU", 0.0))
    _check_paths(run)
    return resources


def share(config: PretrainConfig, cpus: float, gpus: float) -> Resources:
    """CPUs and GPUs of each worker, leaving a CPU for reading; raises RequestError with the sum that does not add up."""
    workers, wanted = config.workers, config.cpus_per_worker
    free = cpus - _READING_CPUS
    each = wanted or math.floor(100 * min(1.0, free / workers)) / 100
    if each <= 0 or workers * each > free + 1e-9:
        need = workers * (wanted or 0.01) + _READING_CPUS
        raise RequestError(
            f"workers={workers} x cpus_per_worker={wanted:g} + {_READING_CPUS:g} CPU for reading = {need:g} CPUs, but the Ray"
            f" cluster has {cpus:g}; lower workers or cpus_per_worker (0 = share what there is)"
        )
    if config.train.device == "cuda" and gpus < workers:
        raise RequestError(
            f"train.device=cuda: workers={workers} need {workers} GPUs, but the Ray cluster has {gpus:g}"
        )
    return Resources(each, config.train.device != "cpu" and gpus >= workers)


def _check_paths(run: Run) -> None:
    """Every node must see local paths (a shared file system); one small task a node looks."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    needed = {"corpus": f"{run.config.corpus}/corpus.json", "out": f"{run.folder.uri}/config.json"}
    local = {name: uri for name, uri in needed.items() if _is_local(uri)}
    if len(nodes) < 2 or not local:
        return
    looks = [
        _missing.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(local)
        for node in nodes
    ]
    for node, missing in zip(nodes, ray.get(looks), strict=True):
        for name in missing:
            raise RequestError(
                f"{name}={getattr(run.config, name)}: node {node['NodeManagerAddress']} of the Ray cluster does not see it;"
                " use a shared file system or an s3:// URI"
            )


def _is_local(uri: str) -> bool:
    return isinstance(open_folder(uri).filesystem, pafs.LocalFileSystem)


@ray.remote(num_cpus=0)
def _missing(files: dict[str, str]) -> list[str]:
    """Names of the files that this node does not see."""
    split = {name: uri.rpartition("/") for name, uri in files.items()}
    return [name for name, (folder, _, file) in split.items() if open_folder(folder).size(file) is None]
