"""Jobs on a real cluster with token authentication, shared by all tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from distgnn.checkpoint.format import load_checkpoint
from distgnn.corpus.inspect import verify
from tests.helpers.clusters import token_cluster

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.ray, pytest.mark.slow]
QUICK = ["--encoder.layers=1", "--encoder.width=8", "--train.max-steps=4", "--train.streams=2", "--train.device=cpu"]
WHERE = """
import json, os, sys, distgnn
from distgnn.scale.pool import ordered_map
def where(_): return distgnn.__file__
files = sorted(name for _, _, names in os.walk(".") for name in names)
workers = list(ordered_map(2)(where, [1]))
print(json.dumps({"files": files, "driver": distgnn.__file__, "workers": workers, "mark": os.environ["MARK"]}))
sys.exit(3)
"""
SLEEPY = """
import signal, sys, time
def stop(*_):
    time.sleep(4); print("checkpoint written", flush=True); sys.exit(130)
signal.signal(signal.SIGTERM, stop)
print("asleep", flush=True)
time.sleep(100)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    with token_cluster() as variables:
        yield variables


def client(cluster: dict[str, str], **changes: str) -> dict[str, str]:
    """The environment of a client that has the token."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    ours = {name: value for name, value in cluster.items() if name.startswith("RAY_")}
    return {**kept, **ours, **changes}


def start(cluster: dict[str, str], *words: str, **changes: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "distgnn.cli", "submit", *words]
    return subprocess.Popen(
        command, env=client(cluster, **changes), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_a_wrong_token_and_a_missing_one_are_one_line(cluster: dict[str, str], tmp_path: Path) -> None:
    wrong = start(cluster, "doctor", RAY_AUTH_TOKEN="f" * 64)
    missing = start(cluster, "doctor", RAY_AUTH_TOKEN="", RAY_AUTH_MODE="disabled", HOME=str(tmp_path))
    for process, message in ((wrong, "rejects the token"), (missing, "requires a token")):
        code, out, err = end(process)
        assert (code, out) == (2, ""), err
        assert message in err
        assert err.count("\n") == 1
        assert "f" * 64 not in err


def test_jobs_that_work_and_one_that_fails(cluster: dict[str, str], tmp_path: Path) -> None:
    """Two Ray tasks build a corpus, so workers import the uploaded code; output is streamed; exit codes are returned."""
    corpus = str(tmp_path / "corpus")
    words = f"corpus build motifs --graphs 256 --unit-rows 32 --workers 2 --out {corpus}"
    built, failing = start(cluster, *words.split()), start(cluster, "corpus", "verify", "/nowhere")
    code, out, err = end(built)
    assert code == 0, out + err
    assert "256 graphs" in out
    assert verify(corpus).ok
    code, out, _ = end(failing)
    assert code == 2
    assert "distgnn: error: /nowhere: no corpus here" in out
    code, out, err = end(
        start(cluster, "--json", "pretrain", "--corpus", corpus, "--out", str(tmp_path), "--name", "run", *QUICK)
    )
    assert code == 0, out + err
    assert "finished: run" in out, "the job's own output"
    assert json.loads(out.splitlines()[-1])["status"] == "succeeded"
    assert load_checkpoint(str(tmp_path / "run")).step == 4


def test_every_job_through_rays_own_command(cluster: dict[str, str], tmp_path: Path) -> None:
    """``ray job submit --working-dir . -- python jobs/X.py``: from nothing to an evaluated model, on two workers."""
    encoder = "--encoder.layers 1 --encoder.width 8"
    tune = "--epochs 1 --seeds 1 --split.method random --split.fractions 0.4 0.3 0.3 --save-models"
    road = [
        f"build_corpus.py motifs --graphs 256 --unit-rows 32 --out {tmp_path}/corpus",
        f"pretrain.py --corpus {tmp_path}/corpus --out {tmp_path} --name run --workers 2 {' '.join(QUICK)}",
        f"finetune.py --corpus {tmp_path}/corpus --checkpoint {tmp_path}/run --out {tmp_path}/tuned --workers 2 {tune}",
        f"evaluate.py --model {tmp_path}/tuned --corpus {tmp_path}/corpus --out {tmp_path}/asked",
        f"transfer.py --data {tmp_path}/corpus --out {tmp_path}/transfer --epochs 1 --seeds 1 --pretrain-epochs 1"
        f" --methods fixed --schemes scratch --corpus.split.method random {encoder.replace('--', '--corpus.')}",
    ]
    for words in road:
        code, out = through_ray(cluster, *f"job submit --working-dir . -- python jobs/{words}".split())
        assert code == 0, out
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("tuned", "asked")]
    tuned = {(run["method"], run["seed"]): run["scores"]["test"] for run in results[0]["runs"]}
    assert {(model["method"], model["seed"]): model["scores"]["test"] for model in results[1]["models"]} == tuned
    assert (tmp_path / "transfer" / "results.json").is_file()


def through_ray(cluster: dict[str, str], *words: str) -> tuple[int, str]:
    """(exit code, output) of Ray's own command, in the checkout."""
    ray = str(Path(sys.executable).parent / "ray")
    done = subprocess.run(
        [ray, *words], env=client(cluster), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_a_folder_of_the_user(cluster: dict[str, str], tmp_path: Path) -> None:
    """Its scripts run; distgnn is uploaded too, but no git-ignored files; the exit code is that of the job."""
    for name, text in (("jobs/where.py", WHERE), (".gitignore", "data/\n"), ("data/big", "x"), ("mine.py", "")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    code, out, err = end(
        start(cluster, "--working-dir", str(tmp_path), "--env", "MARK=here", "--", "python", "jobs/where.py")
    )
    assert code == 3, out + err
    results = json.loads(next(line for line in out.splitlines() if line.startswith("{")))
    assert results["files"] == [".gitignore", "mine.py", "where.py"]
    assert results["mark"] == "here"
    for place in (results["driver"], *results["workers"]):
        assert "py_modules_files" in place, "not what happens to be installed there"


def test_a_stopped_job_has_time_for_a_checkpoint(cluster: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "sleepy.py").write_text(SLEEPY)
    process = start(cluster, "--working-dir", str(tmp_path), "--", "python", "sleepy.py")
    assert process.stdout is not None
    assert process.stderr is not None
    name = next(line for line in process.stderr if "submitted" in line).split()[-1]
    assert next(line for line in process.stdout if "asleep" in line)
    assert through_ray(cluster, "job", "stop", "--no-wait", name)[0] == 0
    code, out, err = end(process)
    assert code == 130, out + err
    assert "checkpoint written" in out


def test_ctrl_c_leaves_the_job(cluster: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "sleepy.py").write_text(SLEEPY)
    process = start(cluster, "--working-dir", str(tmp_path), "--", "python", "sleepy.py")
    assert process.stdout is not None
    next(line for line in process.stdout if "asleep" in line)
    time.sleep(0.2)
    process.send_signal(2)
    code, _, err = end(process)
    assert code == 130
    name = err.split("ray job stop ")[1].split()[0]
    assert "RUNNING" in through_ray(cluster, "job", "status", name)[1]
    assert through_ray(cluster, "job", "stop", "--no-wait", name)[0] == 0


def test_the_doctor_as_a_job(cluster: dict[str, str], tmp_path: Path) -> None:
    code, out, err = end(start(cluster, "doctor", "--out", str(tmp_path), "--workers", "2"))
    assert code == 0, out + err
    assert "ok   token" in out
    assert "ok   nodes" in out
