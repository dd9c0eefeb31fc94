"""What all tests share: a quiet process, a small corpus, ranks that start fast."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import boto3
import pytest
import torch

from distgnn.models.registry import REGISTERED
from tests.corpora import motifs

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """300 motif graphs in 19 units of 16 (the last one shorter)."""
    folder = tmp_path_factory.mktemp("corpus") / "motifs"
    motifs(folder)
    return str(folder)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on a moto server of our own."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert server.stderr is not None
    address = next(line.split("Running on ")[1].split()[0] for line in server.stderr if "Running on http" in line)
    variables = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_REGION": "us-east-1",
    }
    for name, value in (variables | {"AWS_DEFAULT_REGION": "us-east-1"}).items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="corpora")
    yield "s3://corpora/motifs"
    server.terminate()
    server.wait()
    server.stderr.close()


@pytest.fixture(autouse=True)
def _free_names() -> Iterator[None]:
    """No test sees the encoders another one registered."""
    yield
    REGISTERED.clear()
