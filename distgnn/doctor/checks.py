"""Verdicts on what nodes say about themselves. Each check is a function of facts alone; it says what is, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from distgnn.doctor.facts import Facts
from distgnn.doctor.storage_checks import Probed

Status = Literal["ok", "warn", "fail"]
_MB, _GB = 1 << 20, 1 << 30
_LEAST_STORE = 256 * _MB
_FULL, _NEARLY_FULL = 0.95, 0.90
_CLOCK_WARN, _CLOCK_FAIL = 5.0, 600.0
_MUST_AGREE = ("ray", "distgnn")


class Check(NamedTuple):
    """A line of the report."""

    name: str
    status: Status
    message: str


def check_versions(here: Facts, nodes: Iterable[Facts]) -> Check:
    """The same software everywhere; Ray refuses other Pythons and Rays, other arithmetic moves losses by rounding."""
    wrong, odd = [], []
    for facts in nodes:
        for name, ours in here.versions.items():
            theirs = facts.versions.get(name, "missing")
            if theirs == ours or (name == "python" and _minor(theirs) == _minor(ours)):
                continue
            must = name in (*_MUST_AGREE, "python") or theirs == "missing"
            (wrong if must else odd).append(f"{name} {theirs} on {facts.node}, {ours} here")
    if wrong or odd:
        return Check(
            "versions",
            "fail" if wrong else "warn",
            f"{'; '.join((wrong + odd)[:4])}; use one image (or environment) everywhere",
        )
    return Check("versions", "ok", ", ".join(f"{name} {found}" for name, found in here.versions.items()))


def _minor(version: str) -> str:
    return version.rpartition(".")[0]


def check_object_store(stores: Mapping[str, float]) -> Check:
    """stores: bytes of Ray's object store by node."""
    small = {node: size for node, size in stores.items() if size < _LEAST_STORE}
    if small:
        node, size = min(small.items(), key=lambda item: item[1])
        return Check(
            "object store",
            "warn",
            f"{size / _MB:.0f} MB on {node}: units on their way will be spilled to disk; start Ray there with"
            f" --object-store-memory of at least {_LEAST_STORE / _MB:.0f} MB",
        )
    return Check("object store", "ok", f"{min(stores.values(), default=0) / _GB:.1f} GB or more on each node")


def check_shm(nodes: Sequence[Facts], stores: Mapping[str, float]) -> Check:
    """Whether /dev/shm holds the object store of each node; Ray would put it on disk."""
    for facts in nodes:
        store = stores.get(facts.node, 0.0)
        if facts.shm is None or facts.shm < store:
            size = "none" if facts.shm is None else f"{facts.shm / _MB:.0f} MB"
            return Check(
                "shared memory",
                "warn",
                f"/dev/shm of {facts.node} has {size}, the object store {store / _MB:.0f} MB: it lies on disk, slowly; give the"
                " container more (docker --shm-size, an emptyDir of medium Memory in Kubernetes)",
            )
    return Check("shared memory", "ok", "/dev/shm holds the object store on each node")


def check_disk(nodes: Sequence[Facts]) -> Check:
    """Room where Ray spills; it refuses new objects on a disk that is 95 % full."""
    used = {facts.node: 1 - facts.disk[1] / facts.disk[0] for facts in nodes}
    node, share_used = max(used.items(), key=lambda item: item[1])
    text = f"the disk of Ray's session folder on {node} is {100 * share_used:.0f} % full"
    if share_used > _FULL:
        return Check(
            "disk",
            "fail",
            f"{text}: Ray refuses new objects above 95 %; make room or start Ray with another --temp-dir",
        )
    if share_used > _NEARLY_FULL:
        return Check("disk", "warn", f"{text}: Ray stops at 95 %; make room")
    return Check("disk", "ok", text)


def check_gpus(counted: Mapping[str, float], nodes: Sequence[Facts], device: str) -> Check:
    """counted: GPUs that Ray counts on each node."""
    for facts in nodes:
        rays = int(counted.get(facts.node, 0))
        if rays > facts.gpus:
            return Check(
                "gpus",
                "fail",
                f"Ray counts {rays} GPUs on {facts.node}, torch there can use {facts.gpus}; install a CUDA build of torch and a"
                " driver that fits it",
            )
        if rays and not facts.nccl:
            return Check("gpus", "fail", f"torch on {facts.node} has no NCCL; install a CUDA build of torch")
    total = sum(counted.values())
    if device == "cuda" and not total:
        return Check("gpus", "fail", "device=cuda, but there is no GPU; use device=cpu or auto, or add nodes with GPUs")
    return Check("gpus", "ok", f"{total:g} GPUs, NCCL {nodes[0].nccl}" if total else "none; training runs on CPUs")


def check_clock(offsets: Mapping[str, float]) -> Check:
    """offsets: seconds that other clocks are ahead of this one, by whose they are."""
    whose, worst = max(offsets.items(), key=lambda item: abs(item[1]), default=("", 0.0))
    text = f"the clock of {whose} is {abs(worst):.1f} s {'ahead' if worst > 0 else 'behind'}" if whose else "one clock"
    if abs(worst) > _CLOCK_FAIL:
        return Check(
            "clock", "fail", f"{text}: S3 refuses requests that are 15 minutes off; run chrony or ntpd on every node"
        )
    if abs(worst) > _CLOCK_WARN:
        return Check("clock", "warn", f"{text}; logs and metrics will not line up; run chrony or ntpd on every node")
    return Check("clock", "ok", f"within {max(abs(worst), 0.1):.1f} s of each other")


def check_token(environ: Mapping[str, str], home: Path, remote: bool) -> Check:
    """Whether the cluster asks for a token, and whether there is one that others cannot read. remote: it is not this machine."""
    mode = environ.get("RAY_AUTH_MODE", "").lower()
    path = Path(environ.get("RAY_AUTH_TOKEN_PATH") or home / ".ray" / "auth_token")
    there = bool(environ.get("RAY_AUTH_TOKEN")) or path.is_file()
    if mode == "token" and not there:
        return Check(
            "token", "fail", "RAY_AUTH_MODE=token, but there is no token; set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
        )
    if path.is_file() and not environ.get("RAY_AUTH_TOKEN") and path.stat().st_mode & 0o077:
        return Check("token", "warn", f"others on this machine can read {path}; chmod 600 it")
    if mode == "token" or (there and not mode):
        return Check("token", "ok", "a token is there, and is sent")
    status: Status = "warn" if remote else "ok"
    return Check(
        "token", status, "without a token anyone who reaches the cluster can run code on it; set RAY_AUTH_MODE=token"
    )


def check_storage(name: str, done: str, probes: Mapping[str, Probed]) -> Check:
    """probes: how storage did on each node. done: what was tried, for people."""
    for node, probed in probes.items():
        if probed.problem:
            return Check(name, "fail", f"on {node}: {probed.problem}")
    if len({probed.found for probed in probes.values()}) > 1:
        return Check(name, "fail", "nodes find different things there; use a shared file system or an s3:// URI")
    return Check(
        name, "ok", f"{done} on {len(probes)} node(s), {max(p.seconds for p in probes.values()):.2f} s at most"
    )


def check_shards(asked: int, problems: Sequence[str]) -> Check:
    """problems: of the shards of the corpus that were sampled, at most ``asked``."""
    if problems:
        return Check("shards", "fail", problems[0])
    return Check("shards", "ok", f"{asked} (or all) of the corpus's shards match their checksums")
