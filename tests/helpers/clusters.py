"""A real Ray cluster of one node for tests, started as on a machine: ``ray start --head``, with token authentication on."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

TOKEN = "0123456789abcdef" * 4
_STARTED_SECONDS = 60.0


def free_ports(count: int) -> list[int]:
    """Return unused ports of 127.0.0.1."""
    sockets = [socket.socket() for _ in range(count)]
    for item in sockets:
        item.bind(("127.0.0.1", 0))
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports


@contextlib.contextmanager
def token_cluster(cpus: int = 2, **environment: str) -> Iterator[dict[str, str]]:
    """What a client needs in its environment to reach a fresh cluster: RAY_API_SERVER_ADDRESS, RAY_AUTH_MODE, RAY_AUTH_TOKEN.

    GCS is the address for ray.init, METRICS the port of the metrics. The
    cluster's processes see ``environment``; all of them are gone at the end, and so is their folder.
    """
    port, dashboard, agent, grpc, client, metrics = free_ports(6)
    folder = tempfile.mkdtemp(prefix="dgn-", dir="/tmp")  # short: sockets lie in it
    words = f"start --head --block --port {port} --dashboard-port {dashboard} --dashboard-agent-listen-port {agent}"
    words += f" --dashboard-agent-grpc-port {grpc} --ray-client-server-port {client} --metrics-export-port {metrics}"
    words += f" --node-ip-address 127.0.0.1 --dashboard-host 127.0.0.1 --num-cpus {cpus} --temp-dir {folder}"
    words += " --object-store-memory 200000000 --disable-usage-stats"
    kept = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "PYTHONPATH")}
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # jobs say just "python"
    with open(Path(folder) / "start.log", "wb") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "ray"), *words.split()],
            env=kept | secret | {"PATH": path} | environment,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{dashboard}"
    try:
        _wait(f"{url}/api/version", process, Path(folder) / "start.log")
        yield {
            "RAY_API_SERVER_ADDRESS": url,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "GCS": f"127.0.0.1:{port}",
            "METRICS": str(metrics),
        }
    finally:
        _end(process, folder)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _STARTED_SECONDS
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(request, timeout=5).close()
            return
        time.sleep(0.2)
    raise RuntimeError(f"the cluster does not start: {log.read_text()[-2000:]}")


def _end(process: subprocess.Popen[bytes], folder: str) -> None:
    """End the processes of this cluster only: those whose command line or working folder contains its folder."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for _ in range(20):
        left = [pid for pid in _processes() if pid != os.getpid() and folder in _trace(pid)]
        if not left:
            break
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    if process.poll() is None:
        process.kill()
    process.wait()


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _trace(pid: int) -> str:
    """Return command line and working folder of a process; empty if it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace") + os.readlink(f"/proc/{pid}/cwd")
    return ""
