"""A Prometheus server for tests, on loopback with temporary configuration and storage."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FETCHED = ROOT / ".cache/prometheus/usr/bin"
REASON = "no Prometheus here: apt-get install prometheus, or 'make prometheus' puts Debian's into .cache"
_SECONDS = 20.0


def find(name: str) -> str:
    """Return the path of prometheus or promtool, from PATH or from ``make prometheus``; empty if there is none."""
    return shutil.which(name) or shutil.which(name, path=str(FETCHED)) or ""


def free_port() -> int:
    """Return an unused port of loopback."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class Prometheus:
    """A server that scrapes ``targets`` (host:port) several times a second; ``rules``: a file of alert rules."""

    def __init__(self, folder: Path, targets: list[str], rules: Path) -> None:
        self._folder, self._port = folder, free_port()
        settings = {
            "global": {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "test", "static_configs": [{"targets": targets}]}],
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prometheus.yml").write_text(json.dumps(settings))  # JSON is YAML

    def __enter__(self) -> Prometheus:
        command = [
            find("prometheus"),
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=warn",
        ]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "GOMAXPROCS": "1"})
        self._wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=_SECONDS)

    def _wait(self) -> None:
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=1).close()
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
            else:
                return
        raise AssertionError((self._folder / "log").read_text())

    def wait_for_scrapes(self) -> None:
        """Wait until every target has been scraped once; Prometheus begins about 5 s after its start."""
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            targets = self.ask("targets")["activeTargets"]
            if targets and all(target["health"] != "unknown" for target in targets):
                return
            time.sleep(0.1)
        raise AssertionError((self._folder / "log").read_text())

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the field ``data`` of an answer of the HTTP API."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:
            return json.load(answer)["data"]

    def series(self, query: str, since: float) -> list[dict[str, Any]]:
        """What ``query`` gave each second from ``since`` (time.time()) to now, as a Grafana panel asks."""
        arguments = {"query": query, "start": str(since), "end": str(time.time()), "step": "1"}
        return list(self.ask("query_range", **arguments)["result"])
