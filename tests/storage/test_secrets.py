"""Keys are used and never kept: every byte that a pipeline writes or says is searched for them."""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from distgnn.cli import main
from distgnn.storage import retry
from tests.helpers.corpora import contents
from tests.helpers.servers import KEY, SECRET, S3Server
from tests.helpers.training import command

TOKEN = "session-token-of-a-test/that+is/not+real=="
QUICK = ["--encoder.layers", "1", "--encoder.width", "8", "--train.max-steps", "3", "--train.device", "cpu"]


def forms(secret: str) -> set[bytes]:
    """As it is, quoted for URLs, and in base64."""
    return {
        secret.encode(),
        urllib.parse.quote(secret, safe="").encode(),
        base64.b64encode(secret.encode()).rstrip(b"="),
    }


SECRETS = [form for secret in (KEY, SECRET, TOKEN) for form in forms(secret)]


def leaks(found: dict[str, bytes]) -> list[str]:
    """Names of what holds a secret."""
    return [name for name, data in found.items() if any(secret in data for secret in SECRETS)]


@pytest.fixture
def base(rclone: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket whose objects are files, with the keys in the environment and every path below tmp_path."""
    monkeypatch.chdir(tmp_path)
    for name, value in (rclone.variables() | {"AWS_SESSION_TOKEN": TOKEN}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DISTGNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    bucket = rclone.bucket()
    yield f"s3://{bucket}"
    shutil.rmtree(f"{rclone.folder}/{bucket}")


def stored(server: S3Server, base: str) -> dict[str, bytes]:
    return contents(Path(server.folder) / base.removeprefix("s3://"))


def test_a_pipeline_leaves_no_key(
    rclone: S3Server,
    base: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(code: int, *words: str) -> None:
        assert main(words) == code, capfd.readouterr().err

    run(0, "corpus", "build", "motifs", "--graphs", "200", "--out", f"{base}/corpus")
    run(0, "corpus", "verify", f"{base}/corpus")
    run(0, "pretrain", "--corpus", f"{base}/corpus", "--out", f"{base}/runs", "--name", "r", *QUICK)
    run(0, "status", f"{base}/runs/r")
    run(0, "push", f"{base}/runs/r", f"{base}/model")
    run(0, "pull", f"{base}/model", str(tmp_path / "home"))
    run(0, "pull", f"{base}/model")
    monkeypatch.setenv(retry.VARIABLE, "0")
    run(2, "pull", f"s3://{KEY}:{SECRET}@bucket/model")
    run(2, "corpus", "build", "motifs", "--graphs", "200", "--out", f"s3://bucket/c?secret_access_key={SECRET}")
    with monkeypatch.context() as wrong:
        wrong.setenv("AWS_SECRET_ACCESS_KEY", TOKEN)
        run(2, "corpus", "verify", f"{base}/corpus")
        wrong.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        run(1, "corpus", "verify", f"{base}/corpus")
    said = "".join(capfd.readouterr()).encode()
    everything = {**stored(rclone, base), **contents(tmp_path), "output": said}
    assert len(everything) > 15
    assert b"refused access" in said
    assert leaks(everything) == []


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_on_ray_leaves_no_key(
    rclone: S3Server, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["corpus", "build", "motifs", "--graphs", "200", "--out", f"{base}/corpus"]) == 0
    with tempfile.TemporaryDirectory(prefix="dgs-", dir="/tmp") as session:  # sockets need short paths
        monkeypatch.setenv("RAY_TMPDIR", session)
        words = ["pretrain", "--corpus", f"{base}/corpus", "--out", f"{base}/runs", "--name", "r", "--workers", "2"]
        done = subprocess.run(command(*words, *QUICK), capture_output=True, timeout=280, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        logs = contents(Path(session))
    everything = {**stored(rclone, base), **contents(tmp_path), **logs, "output": done.stdout + done.stderr}
    assert any("checksums.json" in name for name in everything)
    assert any(name.endswith(".log") for name in logs)
    assert leaks(everything) == []
