"""An S3 server of our own (moto) for benchmarks and drills, and environment variables for a while."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import boto3

_BUCKET = "drill"
_POLL_SECONDS, _PATIENCE_SECONDS = 0.05, 300.0


@contextmanager
def s3_server() -> Iterator[str]:
    """The URI of an empty bucket on a moto server of our own; the environment points to it meanwhile."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    keys = {"AWS_ACCESS_KEY_ID": "drill", "AWS_SECRET_ACCESS_KEY": "drill"}
    region = {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
    try:
        with environment(AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}", **keys, **region):
            _wait_for_port(port)
            boto3.client("s3").create_bucket(Bucket=_BUCKET)
            yield f"s3://{_BUCKET}"
    finally:
        server.kill()
        server.wait()


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(_POLL_SECONDS)
    raise SystemExit("the S3 server did not start")


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
