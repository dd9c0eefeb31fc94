"""Killed processes: lost work is restarted, no step is repeated, and the losses equal those of an uninterrupted run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from distgnn.config import PretrainConfig
from distgnn.pretraining.history import read_history, read_progress
from distgnn.pretraining.run import Run, new_start
from distgnn.scale.pool import start_ray
from distgnn.scale.train.pretrain import pretrain_on_ray
from distgnn.storage.folder import open_folder
from jobs.benches.drill import drill, train_workers
from tests.helpers.corpora import motifs
from tests.helpers.training import losses, small, train_small

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside Ray itself


@pytest.fixture
def raylet() -> Iterator[int]:
    """Process id of the raylet of a local Ray."""
    start_ray(2)
    yield ray._private.worker._global_node.all_processes["raylet"][0].process.pid  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
    ray.shutdown()


class Killer(threading.Thread):
    """Kills a process once the run has reached ``step``. before: its progress at that time. failed: error of the kill."""

    def __init__(self, run: Run, step: int, kill: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.run_, self.step, self.kill = run, step, kill
        self.before: dict[str, Any] = {}

    def run(self) -> None:
        while self.before.get("step", -1) < self.step:
            time.sleep(0.05)
            if self.run_.folder.size("progress.json") is not None:
                self.before = read_progress(self.run_.folder)
        self.kill()


def assert_undisturbed(run: Run, config: PretrainConfig, tolerance: float = 1e-5) -> None:
    """Assert that every step occurs once, in order, with the losses of an uninterrupted run in one process."""
    steps = [row["step"] for row in read_history(run.folder) if "loss" in row]
    assert steps == list(range(1, len(steps) + 1))
    alone = train_small(replace(config, name="alone", workers=1, min_workers=0))
    assert losses(run) == pytest.approx(losses(alone), rel=tolerance)


@pytest.mark.ray
@pytest.mark.slow
def test_a_worker_killed(corpus: str, tmp_path: Path, raylet: int) -> None:
    config = small(corpus, tmp_path, max_steps=60, epochs=99, checkpoint_every=5, validate_every=0)
    start = new_start(replace(config, workers=2, max_failures=1))
    run = start.run
    killer = Killer(run, 12, lambda: os.kill(max(train_workers({raylet})), signal.SIGKILL))
    killer.start()
    assert pretrain_on_ray(start) == "finished"
    assert killer.before["step"] >= 12
    assert read_progress(run.folder)["started"] > killer.before["started"]  # a second group of ranks
    assert_undisturbed(run, config)


@pytest.fixture(scope="module")
def drilled() -> dict[str, Any]:
    """Lines of the recovery bench: kills of a worker, a raylet and the driver on S3, by metric."""
    words = [sys.executable, "jobs/bench.py", "recovery", "--quick", "--json"]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    bench = subprocess.Popen(words, cwd=ROOT, env=quiet, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, said = bench.communicate(timeout=540)
    except subprocess.TimeoutExpired:
        bench.send_signal(signal.SIGINT)  # so that it ends its servers
        out, said = bench.communicate(timeout=60)
    assert bench.returncode == 0, said[-3000:]
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return {line["metric"]: line["value"] for line in lines}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("what", ["a worker", "a raylet", "the driver"])
def test_kills_in_a_cluster_on_s3(drilled: dict[str, Any], what: str) -> None:
    assert drilled[f"SIGKILL of {what} to the first new step"] > 0


@pytest.mark.ray
@pytest.mark.slow
def test_kills_do_not_change_the_losses(drilled: dict[str, Any]) -> None:
    assert drilled["largest difference of a step's loss to an undisturbed run"] == 0


@pytest.mark.ray
@pytest.mark.slow
def test_a_new_node_costs_few_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No checkpoint but the one before the resize."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    motifs(tmp_path / "corpus", graphs=2000)
    words = f"--corpus {tmp_path}/corpus --out {tmp_path} --name run --train.device cpu --workers 2 --min-workers 1"
    words += " --encoder.layers 3 --encoder.width 64 --train.epochs 1000 --train.validate-every 0 --train.log-seconds 0"
    words += " --recovery.resize-seconds 5"
    with drill(f"{tmp_path}/run", ["pretrain", *words.split()], nodes=1, log=tmp_path / "driver.log") as run:
        run.start()
        before = run.wait_step(30)
        assert before["checkpoint"] == ""
        run.add_node()
        run.recovered(0.0, before)
        after = run.snapshot()
        assert after["first"] >= 30
        assert after["lost"] < 10
        run.wait_step(after["first"] + 5)
        run.stop()
    assert [row["step"] for row in read_history(open_folder(f"{tmp_path}/run"))][:30] == list(range(1, 31))
