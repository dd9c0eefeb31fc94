"""The examination: every check in turn, here or on the cluster of RAY_ADDRESS. Nothing it meets ends it but Ctrl-C."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ray
from ray.exceptions import RayError

from distgnn.config import DoctorConfig, PretrainConfig, TrainConfig
from distgnn.corpus import inspect
from distgnn.doctor import checks, storage_checks
from distgnn.doctor.checks import Check
from distgnn.doctor.facts import Facts, Questions, gather
from distgnn.errors import RequestError, WorkError
from distgnn.scale.doctor.nodes import PATIENCE_SECONDS, Node, all_reduce_speed, ask, clock_offsets, live_nodes
from distgnn.scale.pool import start_ray
from distgnn.scale.train.preflight import share
from distgnn.storage.retry import VARIABLE

HERE = "this machine"


def examine(config: DoctorConfig) -> Iterator[Check]:
    """The checks, as they are done: of this machine, and of every node where RAY_ADDRESS names a cluster."""
    os.environ.setdefault(VARIABLE, PATIENCE_SECONDS)
    address = os.environ.get("RAY_ADDRESS", "")
    yield checks.check_token(os.environ, Path.home(), remote=bool(address))
    ours, problem = not ray.is_initialized(), _join(address)
    if problem:
        yield Check("cluster", "fail", problem)
    try:
        yield from _examine(config, live_nodes() if ray.is_initialized() else [])
    finally:
        if ours and ray.is_initialized():
            ray.shutdown()


def _join(address: str) -> str:
    """Join the cluster, if there is one; returns why that failed."""
    if not address:
        return ""
    try:
        start_ray(0)
    except (RequestError, RayError, ConnectionError, RuntimeError, ValueError) as error:
        return " ".join(str(error).split())[:400]
    return ""


def _examine(config: DoctorConfig, nodes: list[Node]) -> Iterator[Check]:
    seen, problem = _leave(config.out)
    if problem:
        yield Check("out", "fail", f"on {HERE}: {problem}")
    try:
        questions = Questions("" if problem else config.out, config.corpus, seen)
        here = gather(questions, HERE, tempfile.gettempdir())
        facts, silent = ask(nodes, questions)
    finally:
        if seen:
            storage_checks.clear(config.out, seen)
    for name, reason in silent.items():
        yield Check("nodes", "fail", f"{name}: {' '.join(reason.split())[:300]}")
    if nodes and not silent:
        yield Check("nodes", "ok", f"{len(nodes)} answer")
    yield from _machines(config, here, facts, nodes)
    yield from _storage(config, [here, *facts])
    yield _clocks([here, *facts], [node for node in nodes if node.name not in silent])
    if config.network:
        yield _network(nodes, config.device)


def _leave(out: str) -> tuple[str, str]:
    """(name of a probe that every node must see, why there is none)."""
    try:
        return (storage_checks.leave(out), "") if out else ("", "")
    except (RequestError, WorkError) as error:
        return "", str(error)


def _machines(config: DoctorConfig, here: Facts, facts: list[Facts], nodes: list[Node]) -> Iterator[Check]:
    """Of the cluster's nodes, or of this machine, which a local Ray would take as a whole."""
    yield checks.check_versions(here, facts)
    total = ray.cluster_resources() if nodes else {"CPU": float(os.cpu_count() or 1), "GPU": float(here.gpus)}
    if nodes or config.workers > 1:
        yield check_cpus(config, total.get("CPU", 0.0), total.get("GPU", 0.0))
    stores = {node.name: node.store for node in nodes}
    if nodes:
        yield checks.check_object_store(stores)
        yield checks.check_shm(facts, stores)
    yield checks.check_disk(facts or [here])
    counted = {node.name: node.gpus for node in nodes} or {HERE: float(here.gpus)}
    yield checks.check_gpus(counted, facts or [here], config.device)


def _storage(config: DoctorConfig, facts: list[Facts]) -> Iterator[Check]:
    out = {found.node: found.out for found in facts if found.out is not None}
    if out:
        yield checks.check_storage("out", f"{config.out}: written, read, replaced and deleted", out)
    corpus = {found.node: found.corpus for found in facts if found.corpus is not None}
    if corpus:
        verdict = checks.check_storage("corpus", f"{config.corpus}: manifest read", corpus)
        yield verdict
        if verdict.status == "ok" and config.shards:
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
        return Check("clock", "fail", f"a node does not tell its time ({' '.join(str(error).split())[:200]})")
    storage = {f"the storage of out, seen from {f.node}": f.out.ahead for f in facts if f.out and not f.out.problem}
    return checks.check_clock(offsets | storage)


def _network(nodes: list[Node], device: str) -> Check:
    if not nodes:
        return Check("network", "warn", "no cluster to measure; set RAY_ADDRESS")
    try:
        gpu = device != "cpu" and sum(node.gpus for node in nodes) >= 2
        speed = all_reduce_speed(nodes, gpu)
    except WorkError as error:
        return Check(
            "network",
            "fail",
            f"two processes cannot sum ({error}); open all ports between nodes, or set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME",
        )
    where = f"{nodes[0].name} and {nodes[1].name}" if len(nodes) > 1 else "two processes of one node"
    return Check("network", "ok", f"{speed / 1e6:.0f} MB/s of gradients summed between {where}")


def check_cpus(config: DoctorConfig, cpus: float, gpus: float) -> Check:
    """Whether the training processes fit beside the reading, by the arithmetic that distgnn pretrain goes by."""
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
