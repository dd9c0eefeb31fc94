"""A fire drill: a real Ray cluster of several raylets on this machine, an S3 server, one pre-training run, and SIGKILL.

The driver is the command line in a process of its own, as under `ray job submit`. Nodes have one CPU each but the head, which has
none; so each rank sits on a node of its own, and the driver's node holds none. Everything is ended by process id.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from distgnn.errors import RequestError, WorkError
from distgnn.pretraining.history import NAME, Snapshot, read_history, read_progress
from distgnn.storage.folder import Folder, open_folder

from .server import environment

HEARTBEATS = {
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
_POLL_SECONDS, _PATIENCE_SECONDS = 0.05, 300.0
_OBJECT_STORE = 100 << 20


@dataclass
class Drill:
    """A run in ``folder`` on a cluster that :func:`drill` has started. words: what its command line says."""

    cluster: Cluster
    folder: Folder
    words: list[str]
    log: Path
    driver: subprocess.Popen[bytes] | None = None
    nodes: list[Any] = field(default_factory=list)

    def add_node(self) -> Any:
        """One more node of one CPU. Call it in the main thread."""
        node = self.cluster.add_node(num_cpus=1, object_store_memory=_OBJECT_STORE)
        self.nodes.append(node)
        return node

    def start(self, *more: str) -> None:
        """Start the driver, or, where there is a run, a driver that resumes it; ``more``: further words."""
        began = self.folder.size("config.json") is not None
        words = ["pretrain", "--resume", self.folder.uri] if began else self.words
        quiet = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": self.cluster.address}
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "distgnn.cli", *words, *more]
            self.driver = subprocess.Popen(command, stdout=log, stderr=log, env=quiet)

    def kill_worker(self) -> None:
        """SIGKILL for a training worker that does not lead."""
        os.kill(max(self.workers()), signal.SIGKILL)

    def kill_raylet(self, node: Any = None) -> None:
        """SIGKILL for the raylet of a node that holds a rank, or of ``node``."""
        node = node or self.busy_node()
        self.nodes.remove(node)
        os.kill(_raylet(node), signal.SIGKILL)

    def announce(self, node: Any, seconds: int) -> None:
        """Tell Ray that a node will be taken away in ``seconds``, as a cloud's notice would."""
        words = ["--address", self.cluster.address, "--node-id", node.node_id, "--reason-message", "drill"]
        words += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--deadline-remaining-seconds", str(seconds)]
        command = [str(Path(sys.executable).with_name("ray")), "drain-node", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill_driver(self) -> None:
        """SIGKILL for the driver; waits until Ray has ended its workers."""
        if self.driver is None:
            return
        self.driver.kill()
        self.driver.wait()

    def stop(self) -> int:
        """Ctrl-C; returns the driver's exit code."""
        if self.driver is None:
            return 0
        self.driver.send_signal(signal.SIGINT)
        return self.driver.wait(_PATIENCE_SECONDS)

    def finish(self) -> int:
        """Wait for the driver's end; returns its exit code."""
        return self.driver.wait(_PATIENCE_SECONDS) if self.driver else 0

    def workers(self) -> list[int]:
        """Process ids of the training workers that are alive."""
        return train_workers({_raylet(node) for node in self.nodes})

    def busy_node(self) -> Any:
        """A node that holds a rank."""
        workers = {_parent(Path(f"/proc/{pid}")) for pid in self.workers()}
        return next(node for node in self.nodes if _raylet(node) in workers)

    def snapshot(self) -> Snapshot:
        """The run's progress; empty before there is any."""
        with suppress(RequestError, WorkError):
            if self.folder.size(NAME) is not None:
                return read_progress(self.folder)
        return {}

    def wait_step(self, step: int) -> Snapshot:
        """Wait until training is at ``step`` or beyond."""
        return self._wait(lambda now: now.get("step", -1) >= step, f"step {step}")

    def wait_checkpoint(self, before: Snapshot) -> Snapshot:
        """Wait until there is another checkpoint than ``before`` told of."""
        return self._wait(lambda now: now.get("checkpoint", "") not in ("", before["checkpoint"]), "a checkpoint")

    def recovered(self, killed: float, before: Snapshot) -> float:
        """Seconds from ``killed`` (time.time()) until the ranks that came after those of ``before`` had made a step."""
        now = self._wait(lambda now: now.get("started", 0.0) > before["started"], "a new group of ranks")
        return now["updated"] - killed

    def _wait(self, ready: Any, what: str) -> Snapshot:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            now = self.snapshot()
            if ready(now):
                return now
            if self.driver and self.driver.poll() not in (None, 0):
                break
            time.sleep(_POLL_SECONDS)
        raise SystemExit(f"the drill waited in vain for {what}:\n{self.log.read_text()[-3000:]}")

    def first_step(self) -> int:
        """The step at which the ranks there are now began."""
        return self.snapshot()["first"]

    def losses(self) -> dict[int, float]:
        """Training loss by step, of every step there is."""
        return {row["step"]: row["loss"] for row in read_history(self.folder) if "loss" in row}


@contextmanager
def drill(uri: str, words: list[str], nodes: int, log: Path) -> Iterator[Drill]:
    """A cluster of a head and ``nodes`` nodes, and the run in ``uri`` that ``words`` start. Call it in the main thread."""
    with environment(RAY_AUTH_MODE="disabled", **HEARTBEATS):
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": _OBJECT_STORE},
        )
        made = Drill(cluster, open_folder(uri), words, log)
        try:
            for _ in range(nodes):
                made.add_node()
            yield made
        finally:
            made.kill_driver()
            with suppress(AssertionError):  # a raylet we killed counts as a zombie
                cluster.shutdown()


def train_workers(raylets: set[int]) -> list[int]:
    """Process ids of the training workers under these raylets."""
    found = [(int(path.name), _parent(path)) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return sorted(pid for pid, parent in found if parent in raylets and b"TrainWorker" in _title(pid))


def _raylet(node: Any) -> int:
    return node.all_processes["raylet"][0].process.pid


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
