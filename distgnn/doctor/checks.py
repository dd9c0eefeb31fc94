"""Checks of the doctor command: functions of facts gathered on the nodes that return a status and a remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from distgnn.doctor.facts import Facts
from distgnn.doctor.storage_checks import Probed

Status = Literal["ok", "warn", "fail"]
_MB, _GB = 1 << 20, 1 << 30
_MIN_STORE = 256 * _MB
_FULL, _NEARLY_FULL = 0.95, 0.90
_CLOCK_WARN, _CLOCK_FAIL = 5.0, 600.0
_MUST_AGREE = ("ray", "distgnn")


class Check(NamedTuple):
    """One line of the report."""

    name: str
    status: Status
    message: str


def check_versions(local: Facts, nodes: Iterable[Facts]) -> Check:
    """Check that all nodes run the same software.

    Different versions of Python, Ray or distgnn fail; others warn, because they change losses by rounding.

    Args:
        local: Facts of this machine.
        nodes: Facts of the nodes.
    """
    failures, warnings = [], []
    for facts in nodes:
        for name, expected in local.versions.items():
            found = facts.versions.get(name, "missing")
            if found == expected or (name == "python" and _minor(found) == _minor(expected)):
                continue
            required = name in (*_MUST_AGREE, "python") or found == "missing"
            (failures if required else warnings).append(f"{name} {found} on {facts.node}, {expected} on this machine")
    if failures or warnings:
        return Check(
            "versions",
            "fail" if failures else "warn",
            f"{'; '.join((failures + warnings)[:4])}; use one image (or environment) everywhere",
        )
    return Check("versions", "ok", ", ".join(f"{name} {found}" for name, found in local.versions.items()))


def _minor(version: str) -> str:
    return version.rpartition(".")[0]


def check_object_store(stores: Mapping[str, float]) -> Check:
    """Check the size in bytes of Ray's object store by node."""
    small = {node: size for node, size in stores.items() if size < _MIN_STORE}
    if small:
        node, size = min(small.items(), key=lambda item: item[1])
        return Check(
            "object store",
            "warn",
            f"{size / _MB:.0f} MB on {node}: units in transit will be spilled to disk; start Ray there with"
            f" --object-store-memory of at least {_MIN_STORE / _MB:.0f} MB",
        )
    return Check("object store", "ok", f"{min(stores.values(), default=0) / _GB:.1f} GB or more on each node")


def check_shm(nodes: Sequence[Facts], stores: Mapping[str, float]) -> Check:
    """Check that /dev/shm can hold the object store of each node; otherwise Ray places it on disk.

    Args:
        nodes: Facts of the nodes.
        stores: Bytes of the object store by node.
    """
    for facts in nodes:
        store = stores.get(facts.node, 0.0)
        if facts.shm is None or facts.shm < store:
            size = "none" if facts.shm is None else f"{facts.shm / _MB:.0f} MB"
            return Check(
                "shared memory",
                "warn",
                f"/dev/shm of {facts.node} has {size}, the object store {store / _MB:.0f} MB: Ray places it on disk, which is slow;"
                " give the container more (docker --shm-size, an emptyDir of medium Memory in Kubernetes)",
            )
    return Check("shared memory", "ok", "/dev/shm holds the object store on each node")


def check_disk(nodes: Sequence[Facts]) -> Check:
    """Check free space on the disk to which Ray spills; Ray refuses new objects when it is 95 % full."""
    used = {facts.node: 1 - facts.disk[1] / facts.disk[0] for facts in nodes}
    node, share_used = max(used.items(), key=lambda item: item[1])
    text = f"the disk of Ray's session folder on {node} is {100 * share_used:.0f} % full"
    if share_used > _FULL:
        return Check(
            "disk",
            "fail",
            f"{text}: Ray refuses new objects above 95 %; free space or start Ray with another --temp-dir",
        )
    if share_used > _NEARLY_FULL:
        return Check("disk", "warn", f"{text}: Ray stops at 95 %; free space")
    return Check("disk", "ok", text)


def check_gpus(counted: Mapping[str, float], nodes: Sequence[Facts], device: str) -> Check:
    """Check that torch can use the GPUs that Ray counts.

    Args:
        counted: Number of GPUs that Ray counts, by node.
        nodes: Facts of the nodes.
        device: The option ``device``.
    """
    for facts in nodes:
        expected = int(counted.get(facts.node, 0))
        if expected > facts.gpus:
            return Check(
                "gpus",
                "fail",
                f"Ray counts {expected} GPUs on {facts.node}, but torch can use {facts.gpus} of them; install a CUDA build of"
                " torch and a matching driver",
            )
        if expected and not facts.nccl:
            return Check("gpus", "fail", f"torch on {facts.node} has no NCCL; install a CUDA build of torch")
    total = sum(counted.values())
    if device == "cuda" and not total:
        return Check("gpus", "fail", "device=cuda, but there is no GPU; use device=cpu or auto, or add nodes with GPUs")
    return Check("gpus", "ok", f"{total:g} GPUs, NCCL {nodes[0].nccl}" if total else "none; training runs on CPUs")


def check_clock(offsets: Mapping[str, float]) -> Check:
    """Check clocks; ``offsets`` are the seconds by which each clock is ahead of the local one."""
    owner, worst = max(offsets.items(), key=lambda item: abs(item[1]), default=("", 0.0))
    text = f"the clock of {owner} is {abs(worst):.1f} s {'ahead' if worst > 0 else 'behind'}" if owner else "one clock"
    if abs(worst) > _CLOCK_FAIL:
        return Check(
            "clock", "fail", f"{text}: S3 refuses requests that are 15 minutes off; run chrony or ntpd on every node"
        )
    if abs(worst) > _CLOCK_WARN:
        return Check("clock", "warn", f"{text}; logs and metrics will be misaligned; run chrony or ntpd on every node")
    return Check("clock", "ok", f"within {max(abs(worst), 0.1):.1f} s of each other")


def check_token(environ: Mapping[str, str], home: Path, remote: bool) -> Check:
    """Check that a cluster with token authentication has a token, and that other users cannot read it.

    Args:
        environ: environment variables.
        home: home folder, where Ray looks for the token by default.
        remote: whether the cluster is not this machine.
    """
    mode = environ.get("RAY_AUTH_MODE", "").lower()
    path = Path(environ.get("RAY_AUTH_TOKEN_PATH") or home / ".ray" / "auth_token")
    present = bool(environ.get("RAY_AUTH_TOKEN")) or path.is_file()
    if mode == "token" and not present:
        return Check(
            "token", "fail", "RAY_AUTH_MODE=token, but no token is set; set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
        )
    if path.is_file() and not environ.get("RAY_AUTH_TOKEN") and path.stat().st_mode & 0o077:
        return Check("token", "warn", f"other users can read {path}; run chmod 600 on it")
    if mode == "token" or (present and not mode):
        return Check("token", "ok", "a token is set and sent")
    status: Status = "warn" if remote else "ok"
    return Check(
        "token",
        status,
        "without a token, anyone who can connect to the cluster can run code on it; set RAY_AUTH_MODE=token",
    )


def check_storage(name: str, done: str, probes: Mapping[str, Probed]) -> Check:
    """Check that storage works on every node and that all nodes read the same content.

    Args:
        name: name of the check.
        done: description of what was tried.
        probes: result of each node.
    """
    for node, probed in probes.items():
        if probed.problem:
            return Check(name, "fail", f"on {node}: {probed.problem}")
    if len({probed.found for probed in probes.values()}) > 1:
        return Check(name, "fail", "nodes read different content; use a shared file system or an s3:// URI")
    return Check(
        name, "ok", f"{done} from {len(probes)} process(es), {max(p.seconds for p in probes.values()):.2f} s at most"
    )


def check_shards(count: int, problems: Sequence[str]) -> Check:
    """Report the ``problems`` found in a sample of at most ``count`` shards of the corpus."""
    if problems:
        return Check("shards", "fail", problems[0])
    return Check("shards", "ok", f"{count} (or all) of the corpus's shards match their checksums")
