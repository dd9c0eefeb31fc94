"""Fault injection into a pre-training run: a Ray cluster of several raylets on this machine, an S3 server, and SIGKILL.

The driver is a separate process that runs the command line, as under `ray job submit`. The head node has no CPU and the other
nodes have one each, so that every rank is on its own node and the driver's node has none.
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
_POLL_SECONDS, _TIMEOUT_SECONDS = 0.25, 300.0
"""Each look is a request to the S3 server. The times that are measured are those that the run records."""
_OBJECT_STORE = 100 << 20


@dataclass
class Drill:
    """A pre-training run on a cluster started by :func:`drill`. Methods that add nodes must be called in the main thread.

    Attributes:
        cluster: The cluster.
        folder: Folder of the run.
        words: Arguments of its command line.
        log: File of the driver's output.
        driver: Process of the driver; None before :meth:`start`.
        nodes: Nodes without the head.
        _seconds: CPU seconds by process id and time of start, since a process outlives the raylet that started it.
    """

    cluster: Cluster
    folder: Folder
    words: list[str]
    log: Path
    driver: subprocess.Popen[bytes] | None = None
    nodes: list[Any] = field(default_factory=list)
    _seconds: dict[tuple[int, str], float] = field(default_factory=dict)

    def add_node(self) -> Any:
        """Add a node with one CPU."""
        node = self.cluster.add_node(num_cpus=1, object_store_memory=_OBJECT_STORE)
        self.nodes.append(node)
        return node

    def start(self, *more: str) -> None:
        """Start the driver with the further arguments ``more``; it resumes the run if there is one."""
        exists = self.folder.size("config.json") is not None
        words = ["pretrain", "--resume", self.folder.uri] if exists else self.words
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": self.cluster.address}
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "distgnn.cli", *words, *more]
            self.driver = subprocess.Popen(command, stdout=log, stderr=log, env=variables)

    def kill_worker(self) -> None:
        """Kill a training worker that is not the main process."""
        os.kill(max(self.workers()), signal.SIGKILL)

    def kill_raylet(self, node: Any = None) -> None:
        """Kill the raylet of ``node``; by default, of a node that runs a rank."""
        node = node or self.busy_node()
        self.nodes.remove(node)
        os.kill(_raylet(node), signal.SIGKILL)

    def announce(self, node: Any, seconds: int) -> None:
        """Drain a node with a deadline in ``seconds``, as after a preemption notice of a cloud provider."""
        words = ["--address", self.cluster.address, "--node-id", node.node_id, "--reason-message", "drill"]
        words += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--deadline-remaining-seconds", str(seconds)]
        command = [str(Path(sys.executable).with_name("ray")), "drain-node", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill_driver(self) -> None:
        """Kill the driver and wait for its process to end."""
        if self.driver is None:
            return
        self.driver.kill()
        self.driver.wait()

    def stop(self) -> int:
        """Send SIGINT to the driver; return its exit code."""
        if self.driver is None:
            return 0
        self.driver.send_signal(signal.SIGINT)
        return self.driver.wait(_TIMEOUT_SECONDS)

    def finish(self) -> int:
        """Wait until the driver ends; return its exit code."""
        return self.driver.wait(_TIMEOUT_SECONDS) if self.driver else 0

    def workers(self) -> list[int]:
        """Return the process ids of the live training workers."""
        return train_workers({_raylet(node) for node in self.nodes})

    def busy_node(self) -> Any:
        """Return a node that runs a rank."""
        raylets = {_parent(Path(f"/proc/{pid}")) for pid in self.workers()}
        return next(node for node in self.nodes if _raylet(node) in raylets)

    def snapshot(self) -> Snapshot:
        """Return the progress of the run; empty before the first snapshot."""
        with suppress(RequestError, WorkError):
            if self.folder.size(NAME) is not None:
                return read_progress(self.folder)
        return {}

    def wait_step(self, step: int) -> Snapshot:
        """Wait until training has reached ``step``."""
        return self._wait(lambda now: now.get("step", -1) >= step, f"step {step}")

    def wait_checkpoint(self, before: Snapshot) -> Snapshot:
        """Wait for a checkpoint other than that of ``before``."""
        return self._wait(lambda now: now.get("checkpoint", "") not in ("", before["checkpoint"]), "checkpoint")

    def recovered(self, killed: float, before: Snapshot) -> float:
        """Wait for the first snapshot of the ranks started after ``before``.

        Args:
            killed: Time of the failure (time.time()).
            before: Snapshot before the failure.

        Returns:
            Seconds from the failure to that snapshot.
        """
        now = self._wait(lambda now: now.get("started", 0.0) > before["started"], "new group of ranks")
        return now["updated"] - killed

    def _wait(self, ready: Any, what: str) -> Snapshot:
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            now = self.snapshot()
            if ready(now):
                return now
            self.cpu_seconds()
            if self.driver and self.driver.poll() not in (None, 0):
                break
            time.sleep(_POLL_SECONDS)
        raise SystemExit(f"no {what} within {_TIMEOUT_SECONDS:.0f} s:\n{self.log.read_text()[-3000:]}")

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that all processes of the drill have spent, also those that have ended since they were seen."""
        stats = dict(_stat(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdecimal())
        below = {os.getpid()} | {pid for pid, start in self._seconds if stats.get(pid, [])[19:20] == [start]}
        found = below
        while found:
            found = {pid for pid, fields in stats.items() if fields and int(fields[1]) in below} - below
            below |= found
        for pid in below - {os.getpid()}:
            if fields := stats.get(pid):
                self._seconds[pid, fields[19]] = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
        return sum(self._seconds.values())

    def first_step(self) -> int:
        """Return the first step of the current ranks."""
        return self.snapshot()["first"]

    def losses(self) -> dict[int, float]:
        """Return the training loss by step."""
        return {row["step"]: row["loss"] for row in read_history(self.folder) if "loss" in row}


@contextmanager
def drill(uri: str, words: list[str], nodes: int, log: Path) -> Iterator[Drill]:
    """Context manager that starts a cluster for a run; to be used in the main thread.

    Args:
        uri: Folder of the run.
        words: Arguments of the command line that starts it.
        nodes: Number of nodes besides the head.
        log: File of the driver's output.

    Yields:
        The run, not started yet.
    """
    with environment(RAY_AUTH_MODE="disabled", **HEARTBEATS):
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": _OBJECT_STORE},
        )
        run = Drill(cluster, open_folder(uri), words, log)
        try:
            for _ in range(nodes):
                run.add_node()
            yield run
        finally:
            run.kill_driver()
            with suppress(AssertionError):  # a killed raylet counts as a zombie
                cluster.shutdown()


def train_workers(raylets: set[int]) -> list[int]:
    """Return the process ids of the training workers whose parent is one of ``raylets``."""
    found = [(int(path.name), _parent(path)) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return sorted(pid for pid, parent in found if parent in raylets and b"TrainWorker" in _title(pid))


def _stat(pid: int) -> tuple[int, list[str]]:
    """Fields of /proc/PID/stat after the name; none if the process has ended."""
    try:
        return pid, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return pid, []


def _raylet(node: Any) -> int:
    return node.all_processes["raylet"][0].process.pid


def _parent(process: Path) -> int:
    fields = _stat(int(process.name))[1]
    return int(fields[1]) if fields else 0


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
