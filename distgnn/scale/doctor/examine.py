"""Runs all checks of the doctor command, on this machine and on every node of the cluster of RAY_ADDRESS.

Errors become failed checks, so one failure does not prevent the other checks.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray.exceptions import RayError

from distgnn.config import DoctorConfig, PretrainConfig, TrainConfig
from distgnn.corpus import inspect
from distgnn.doctor import checks, storage_checks
from distgnn.doctor.checks import Check
from distgnn.doctor.facts import Facts, Questions, gather
from distgnn.errors import RequestError, WorkError
from distgnn.scale.doctor.nodes import RETRY_SECONDS, Node, all_reduce_speed, clock_offsets, gather_facts, live_nodes
from distgnn.scale.pool import possible_resources, start_ray
from distgnn.scale.train.preflight import share
from distgnn.storage.retry import VARIABLE

_LOCAL = "this machine"


def examine(config: DoctorConfig) -> Iterator[Check]:
    """Run the checks.

    Args:
        config: What to check.

    Yields:
        Each check as soon as it is done.
    """
    with _short_retries():
        yield from _checks(config, os.environ.get("RAY_ADDRESS", ""))


@contextmanager
def _short_retries() -> Iterator[None]:
    """Context manager that retries storage requests for a short time, unless the user has set a time."""
    given = VARIABLE in os.environ
    os.environ.setdefault(VARIABLE, RETRY_SECONDS)
    try:
        yield
    finally:
        if not given:
            os.environ.pop(VARIABLE, None)


def _checks(config: DoctorConfig, address: str) -> Iterator[Check]:
    yield checks.check_token(os.environ, Path.home(), remote=bool(address))
    started, problem = not ray.is_initialized(), _connect(address)
    if problem:
        yield Check("cluster", "fail", problem)
    try:
        yield from _examine(config, live_nodes() if ray.is_initialized() else [])
    finally:
        if started and ray.is_initialized():
            ray.shutdown()


def _connect(address: str) -> str:
    """Connect to the cluster at ``address`` if it is set; return the error message, empty on success."""
    if not address:
        return ""
    try:
        start_ray(0)
    except (RequestError, RayError, ConnectionError, RuntimeError, ValueError) as error:
        return " ".join(str(error).split())[:400]
    return ""


def _examine(config: DoctorConfig, nodes: list[Node]) -> Iterator[Check]:
    seen, problem = _publish_probe(config.out)
    if problem:
        yield Check("out", "fail", f"on {_LOCAL}: {problem}")
    try:
        questions = Questions("" if problem else config.out, config.corpus, seen)
        local = gather(questions, _LOCAL, tempfile.gettempdir())
        facts, errors = gather_facts(nodes, questions)
    finally:
        if seen:
            storage_checks.delete_probe(config.out, seen)
    for name, reason in errors.items():
        yield Check("nodes", "fail", f"{name}: {' '.join(reason.split())[:300]}")
    if nodes and not errors:
        yield Check("nodes", "ok", f"{len(nodes)} answer")
    yield from _machines(config, local, facts, nodes)
    yield from _storage(config, [local, *facts])
    yield _clocks([local, *facts], [node for node in nodes if node.name not in errors])
    if config.network:
        yield _network(nodes, config.device)


def _publish_probe(out: str) -> tuple[str, str]:
    """Publish a probe folder that every node must see; return (its name, error message), one or both empty."""
    try:
        return (storage_checks.publish_probe(out), "") if out else ("", "")
    except (RequestError, WorkError) as error:
        return "", str(error)


def _machines(config: DoctorConfig, local: Facts, facts: list[Facts], nodes: list[Node]) -> Iterator[Check]:
    """Check the nodes of the cluster; without a cluster, this machine with all its CPUs and GPUs."""
    yield checks.check_versions(local, facts)
    total = possible_resources() if nodes else {"CPU": float(os.cpu_count() or 1), "GPU": float(local.gpus)}
    if nodes or config.workers > 1:
        yield check_cpus(config, total["CPU"], total["GPU"])
    stores = {node.name: node.store for node in nodes}
    if nodes:
        yield checks.check_object_store(stores)
        yield checks.check_shm(facts, stores)
    yield checks.check_disk(facts or [local])
    counted = {node.name: node.gpus for node in nodes} or {_LOCAL: float(local.gpus)}
    yield checks.check_gpus(counted, facts or [local], config.device)


def _storage(config: DoctorConfig, facts: list[Facts]) -> Iterator[Check]:
    out = {found.node: found.out for found in facts if found.out is not None}
    if out:
        yield checks.check_storage("out", f"{config.out}: written, read, replaced and deleted", out)
    corpus = {found.node: found.corpus for found in facts if found.corpus is not None}
    if corpus:
        check = checks.check_storage("corpus", f"{config.corpus}: manifest read", corpus)
        yield check
        if check.status == "ok" and config.shards:
            yield checks.check_shards(config.shards, _sample(config))


def _sample(config: DoctorConfig) -> list[str]:
    try:
        return inspect.sample(config.corpus, config.shards)
    except (RequestError, WorkError) as error:
        return [str(error)]


def _clocks(facts: list[Facts], nodes: list[Node]) -> Check:
    try:
        offsets = clock_offsets(nodes)
    except RayError as error:
        return Check("clock", "fail", f"reading the clock of a node failed ({' '.join(str(error).split())[:200]})")
    storage = {f"the storage of out, seen from {f.node}": f.out.ahead for f in facts if f.out and not f.out.problem}
    return checks.check_clock(offsets | storage)


def _network(nodes: list[Node], device: str) -> Check:
    if not nodes:
        return Check("network", "warn", "no cluster to measure; set RAY_ADDRESS")
    try:
        gpu = device != "cpu" and sum(node.gpus for node in nodes) >= 2
        speed = all_reduce_speed(nodes, gpu)
    except WorkError as error:
        hint = "open all ports between nodes, or set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME"
        return Check("network", "fail", f"an all-reduce between two processes failed ({error}); {hint}")
    where = f"{nodes[0].name} and {nodes[1].name}" if len(nodes) > 1 else "two processes on one node"
    return Check("network", "ok", f"{speed / 1e6:.0f} MB/s in an all-reduce between {where}")


def check_cpus(config: DoctorConfig, cpus: float, gpus: float) -> Check:
    """Check that the training workers fit the resources beside the reading tasks, as ``distgnn pretrain`` does.

    Args:
        config: Number of workers and their CPUs.
        cpus: CPUs of the cluster.
        gpus: GPUs of the cluster.
    """
    train = TrainConfig(streams=config.workers, device=config.device)
    try:
        wanted = PretrainConfig(
            "corpus",
            workers=config.workers,
            min_workers=config.min_workers,
            cpus_per_worker=config.cpus_per_worker,
            train=train,
        )
        found = share(wanted, cpus, gpus)
    except RequestError as error:
        return Check("cpus", "fail", str(error))
    on = "GPU" if found.gpu else "CPU"
    return Check(
        "cpus",
        "ok",
        f"workers={config.workers} x {found.cpus:g} CPU fit {cpus:g} CPUs, {gpus:g} GPUs; they compute on {on}",
    )
